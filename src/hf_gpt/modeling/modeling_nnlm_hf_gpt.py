"""The neural n-gram model, the first language model that learned features of words (Bengio et al. 2003)."""

import torch
from torch import nn
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import can_return_tuple

from .configuration_nnlm_hf_gpt import NNLMConfig


class NNLMForCausalLM(PreTrainedModel, GenerationMixin):
    """P(w_t | w_{t-n+1} .. w_{t-1}) = softmax(b + W x + U tanh(d + H x)), x the features of those words, one after the other
    (Bengio et al. 2003, equation 1). The words before the beginning of a text have features of zero.
    """

    config_class = NNLMConfig
    # There is no attention: it does not matter which one a caller asks for.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: NNLMConfig):
        super().__init__(config)
        features = config.context_size * config.embedding_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.hidden = nn.Linear(features, config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.direct = nn.Linear(features, config.vocab_size, bias=False) if config.direct_connections else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resize features and both output matrices, of which transformers knows one; its own method says what the arguments are."""
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        if self.direct is not None and self.direct.out_features != self.config.vocab_size:
            is_learned = self.direct.weight.requires_grad
            self.direct = self._get_resized_lm_head(self.direct, self.config.vocab_size, mean_resizing=mean_resizing)
            self.direct.requires_grad_(is_learned)
        return embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int = 0,
        **kwargs,
    ) -> CausalLMOutput:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*): 0 for padding, which has features of zero.
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*): Usually `input_ids`; -100 is left out.
            logits_to_keep (`int`): Only the last `logits_to_keep` positions; 0 means all.

        Returns:
            `CausalLMOutput`: `logits` of shape `(batch, length, vocab_size)`, and with `labels` the mean `loss` in nats per token.
        """
        features = self.embed_tokens(input_ids)
        if attention_mask is not None:
            features = features * attention_mask.unsqueeze(-1).to(features.dtype)
        before = features.new_zeros(features.shape[0], self.config.context_size - 1, features.shape[-1])
        windows = torch.cat((before, features), dim=1).unfold(1, self.config.context_size, 1)
        windows = windows.transpose(-1, -2).flatten(-2)[:, -logits_to_keep:]
        logits = self.lm_head(self.hidden(windows).tanh())
        if self.direct is not None:
            logits = logits + self.direct(windows)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **kwargs) -> dict:
        """Return the last words alone: nothing before them is looked at, so there is nothing to cache."""
        size = self.config.context_size
        return {
            "input_ids": input_ids[:, -size:],
            "attention_mask": None if attention_mask is None else attention_mask[:, -size:],
            "logits_to_keep": 1,
        }


# `Trainer` shifts the labels of label smoothing for a model whose name is in this table.
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.setdefault(NNLMConfig.model_type, NNLMForCausalLM.__name__)

__all__ = ["NNLMForCausalLM"]
