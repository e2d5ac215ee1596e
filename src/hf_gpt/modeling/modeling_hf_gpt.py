"""The models of the GPT line: the stack of layers, and one head for each task."""

import warnings
from collections.abc import Callable
from functools import wraps

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import (
    create_causal_mask,
    create_sliding_window_causal_mask,
    packed_sequence_mask_function,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    MaskedLMOutput,
    MoeCausalLMOutputWithPast,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import can_return_tuple, is_tracing, logging
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs, maybe_install_capturing_hooks

from .configuration_hf_gpt import GPTConfig
from .experts_hf_gpt import GPTExperts, GPTRouterScores, load_balancing_loss
from .layers_hf_gpt import (
    BLOCKS,
    CACHE_FIELD,
    NORMS,
    POSITIONS,
    RESIDUAL_STD,
    GPTAttention,
    GPTBlock,
    GPTSinkAttention,
    check_ids,
    is_transformed,
)
from .loss_hf_gpt import causal_lm_loss


logger = logging.get_logger(__name__)


def accept_past_key_values(forward: Callable) -> Callable:
    """Let `forward(cache=...)` be called as `forward(past_key_values=...)` too, by its name before transformers 5.24."""

    @wraps(forward)
    def renamed(self, *args, past_key_values: Cache | None = None, **kwargs):
        if past_key_values is not None:
            if CACHE_FIELD == "cache" and not is_tracing():
                warnings.warn("`past_key_values` is deprecated: call it `cache`.", FutureWarning, stacklevel=2)
            kwargs["cache"] = past_key_values
        return forward(self, *args, **kwargs)

    return renamed


def leave_out_cache(forward: Callable) -> Callable:
    """Let `forward` be called with `use_cache` and an empty cache, as every model is, where a cache has no meaning.

    Raises:
        ValueError: a cache that is not empty, as an adapter gives one that learns keys and values.
    """

    @wraps(forward)
    def without(self, *args, cache: Cache | None = None, past_key_values: Cache | None = None, use_cache=None, **kwargs):
        for given in (cache, past_key_values):
            if given is not None and given.get_seq_length() > 0:
                raise ValueError(
                    f"{type(self).__name__} takes no cache, and the one given has {given.get_seq_length()} tokens: leave it out."
                )
        return forward(self, *args, **kwargs)

    return without


class GPTPreTrainedModel(PreTrainedModel):
    """What all models of the family share: their config, their initial weights and what they support."""

    config_class = GPTConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["cache", "past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": GPTBlock,
        "attentions": GPTAttention,
        "router_logits": OutputRecorder(GPTRouterScores, index=0),
    }

    def __init__(self, config: GPTConfig, *args, **kwargs):
        super().__init__(config, *args, **kwargs)
        # FSDP insists that each class named here occurs in the model.
        self._no_split_modules = [BLOCKS[config.norm_position].__name__]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if getattr(module, "is_residual_projection", False):
            init.normal_(module.weight, mean=0.0, std=RESIDUAL_STD[self.config.residual_init](self.config))
        elif getattr(module, "is_token_embedding", False) and self.config.embedding_initializer_range is not None:
            init.normal_(module.weight, mean=0.0, std=self.config.embedding_initializer_range)
        elif isinstance(module, GPTSinkAttention):
            init.zeros_(module.sinks)
        elif isinstance(module, GPTExperts):
            init.normal_(module.gate_up_proj, mean=0.0, std=self.config.initializer_range)
            init.normal_(module.down_proj, mean=0.0, std=RESIDUAL_STD[self.config.residual_init](self.config))
            if module.has_bias:
                init.zeros_(module.gate_up_proj_bias)
                init.zeros_(module.down_proj_bias)

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # transformers looks for the decorator in this file, and it is in another.
        return True


class GPTModel(GPTPreTrainedModel):
    """Token embeddings, positions, blocks and the last norm: token ids in, one vector a position out."""

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_tokens.is_token_embedding = True
        self.embed_positions = POSITIONS[config.position_embedding_type](config)
        self.embed_dropout = nn.Dropout(config.embd_dropout)
        self.layers = nn.ModuleList(BLOCKS[config.norm_position](config, i) for i in range(config.num_hidden_layers))
        # The last post-norm block has normalised its output already.
        is_pre_norm = config.norm_position == "pre"
        self.norm = NORMS[config.norm_type](config.hidden_size, config) if is_pre_norm else nn.Identity()
        self.gradient_checkpointing = False
        self.post_init()
        if config.mlp_type == "moe":
            # The hooks that record scores, which cannot be set while a graph is traced.
            maybe_install_capturing_hooks(self)

    @accept_past_key_values
    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(batch, seen)`, *optional*): 1 for a token, 0 for padding on either
                side. A 4-D mask, or a dictionary of them by layer type, is used as it is.
            position_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): Positions. Where they restart in a
                row without padding, another document begins, and neither sees the other. By default tokens are counted
                from the first one that `attention_mask` keeps.
            cache (`Cache`, *optional*): Keys and values of the tokens before; `past_key_values` is its older name.
            inputs_embeds (`torch.Tensor` of shape `(batch, length, hidden_size)`, *optional*): In place of `input_ids`.

        Returns:
            `BaseModelOutputWithPast`: `last_hidden_state` of shape `(batch, length, hidden_size)`.

        Raises:
            ValueError: neither or both of `input_ids` and `inputs_embeds`; ids beyond `vocab_size`; positions beyond the
                table of a model with learned positions.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        if inputs_embeds is None:
            check_ids(input_ids, self.config.vocab_size, "input_ids", "vocab_size")
            inputs_embeds = self.embed_tokens(input_ids)

        masks = attention_mask
        if not isinstance(masks, dict):
            masks = self.make_masks(inputs_embeds, attention_mask, position_ids, cache)
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        if position_ids is None:
            position_ids = count_positions(inputs_embeds, attention_mask, cache)

        hidden_states, rotary = self.embed_positions(inputs_embeds, position_ids)
        hidden_states = self.embed_dropout(hidden_states)
        # The number in the config, which `assistant_early_exit` lowers for a while.
        for block, layer_type in zip(self.layers, self.config.layer_types[: self.config.num_hidden_layers]):
            hidden_states = block(
                hidden_states,
                attention_mask=masks[layer_type],
                rotary=rotary,
                cache=cache,
                position_ids=position_ids,
                **kwargs,
            )
        hidden_states = self.norm(hidden_states)
        # By position, since the second field has one name before transformers 5.24 and another from then on.
        return BaseModelOutputWithPast(hidden_states, cache if use_cache else None)

    def make_masks(self, inputs_embeds, attention_mask, position_ids, cache) -> dict[str, torch.Tensor | None]:
        """Return the mask of each type of layer, or `None` where the attention function needs none."""
        # The paged cache of `generate_batch`, which is no `Cache`, comes with masks and positions of its own.
        cache = cache if isinstance(cache, Cache) else None
        apart, documents = None, number_documents(position_ids, attention_mask, cache)
        if documents is not None:
            # The cache is empty, and changes no mask.
            cache, apart = None, packed_sequence_mask_function(documents.expand(len(inputs_embeds), -1))
        # `is_causal` says it all: the mask builder knows, but not in a compiled graph with torch before 2.14.
        is_plain = attention_mask is None and cache is None and documents is None
        is_plain = is_plain and self.config._attn_implementation == "sdpa"
        length, window = inputs_embeds.shape[1], self.config.sliding_window
        masks: dict[str, torch.Tensor | None] = {}
        for name in set(self.config.layer_types):
            if is_plain and (name == "full_attention" or (self.training and length <= window)):
                masks[name] = None
            else:
                # Without positions, since the builder takes a jump forward for another document.
                masks[name] = MASKS[name](self.config, inputs_embeds, attention_mask, cache, None, and_mask_function=apart)
        return masks


MASKS = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}


def number_documents(position_ids, attention_mask, cache) -> torch.LongTensor | None:
    """Return the number of each token's document, `(batch or 1, length)`, or `None` where every row is one document.

    One begins where positions do not increase, in a row without padding, and never after tokens in a cache. While a graph
    is traced, nothing can be decided by their values.
    """
    if position_ids is None or position_ids.ndim != 2 or position_ids.shape[1] == 1:
        return None
    if attention_mask is not None and attention_mask.ndim != 2:
        return None
    if cache is not None and (not isinstance(cache, DynamicCache) or cache.get_seq_length() > 0):
        return None
    begins = nn.functional.pad(position_ids.diff(dim=-1) <= 0, (1, 0))
    if attention_mask is not None:
        begins = begins & (attention_mask != 0).all(-1, keepdim=True)
    if not is_tracing(begins) and not is_transformed() and not begins.any():
        return None
    return begins.cumsum(-1)


def count_positions(inputs_embeds, attention_mask, cache) -> torch.LongTensor:
    """Return positions of shape `(batch or 1, length)`, counted from the first token that a 2-D mask keeps."""
    length, device = inputs_embeds.shape[1], inputs_embeds.device
    if isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2:
        positions = (attention_mask.to(device=device, dtype=torch.long).cumsum(-1) - 1).clamp(min=0)
        return positions[:, -length:]
    seen = cache.get_seq_length() if cache is not None else 0
    return (torch.arange(length, device=device) + seen).unsqueeze(0)


class GPTForCausalLM(GPTPreTrainedModel, GenerationMixin):
    """P(x_i | x_<i) = softmax(h_i W^T) (Radford et al. 2018, equation 2), with W the token embedding when tied."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _pp_plan = {"lm_head": (["hidden_states"], ["logits"])}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.model = GPTModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _get_name(self) -> str:
        # Of a class that FSDP derives from this one, too.
        return GPTForCausalLM.__name__

    @accept_past_key_values
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> MoeCausalLMOutputWithPast:
        """
        Args:
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*): Token ids, usually `input_ids`
                themselves: position i is compared with label i + 1. -100 is left out.
            logits_to_keep (`int` or `torch.Tensor`): Only the last `logits_to_keep` positions, or those named; 0 means all.

        Returns:
            `MoeCausalLMOutputWithPast`: `logits` of shape `(batch, length, vocab_size)`, and with `labels` the mean
            `loss` in nats per token. While training with `labels` and `config.fused_loss`, `logits` is `None`: they are
            never made as a whole. While training with `config.router_aux_loss_coef`, or with `output_router_logits=True` here or
            in the config, `loss` has the load-balancing loss in it, which is `aux_loss`, and `router_logits` are what it was made of.
        """
        if kwargs.get("output_router_logits") is None:
            is_balanced = self.training and self.config.router_aux_loss_coef > 0
            kwargs["output_router_logits"] = is_balanced or self.config.output_router_logits
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden_states = outputs.last_hidden_state[:, kept, :]
        loss = logits = None
        is_fused = self.training and self.config.fused_loss and is_plain_matrix(self.lm_head) and not is_transformed()
        if labels is not None and is_fused:
            given = {name: kwargs[name] for name in ("num_items_in_batch", "ignore_index", "shift_labels") if name in kwargs}
            loss = causal_lm_loss(hidden_states, self.lm_head.weight, labels, **given)
        else:
            logits = self.lm_head(hidden_states)
            if labels is not None:
                loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        aux_loss, router_logits = None, outputs.get("router_logits")
        if router_logits:
            is_lost = self.training and torch.is_grad_enabled() and not any(scores.requires_grad for scores in router_logits)
            if is_lost and self.model.layers[0].gradient_checkpointing:
                raise ValueError(
                    f"router_aux_loss_coef={self.config.router_aux_loss_coef}: nothing is learned from its loss while blocks are "
                    "checkpointed with use_reentrant=True. Set use_reentrant=False."
                )
            is_mask = isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2
            mask = attention_mask[:, -outputs.last_hidden_state.shape[1] :] if is_mask else None
            aux_loss = load_balancing_loss(router_logits, self.config.num_experts_per_tok, mask)
            balance = self.config.router_aux_loss_coef * aux_loss * share_of_batch(labels, **kwargs)
            if loss is not None:
                loss = loss + balance
            elif self.training:
                # Alone without labels, which `Trainer` keeps to itself for label smoothing.
                loss = balance
        return MoeCausalLMOutputWithPast(
            loss, aux_loss, logits, getattr(outputs, CACHE_FIELD), outputs.hidden_states, outputs.attentions, router_logits
        )


def is_plain_matrix(module: nn.Module) -> bool:
    """Return whether a call of a module does no more than multiply with its weight.

    An adapter or a quantizer may have put another module in its place, and hooks may move its weight or change what it returns.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module) is nn.Linear and module.bias is None and "forward" not in vars(module) and not any(hooks)


def share_of_batch(labels, num_items_in_batch=None, ignore_index=-100, shift_labels=None, **kwargs) -> float | torch.Tensor:
    """Return which share of the labels of a step are in this part of it: what is added to its loss counts that much."""
    if num_items_in_batch is None or (labels is None and shift_labels is None):
        return 1.0
    labels = labels[..., 1:] if shift_labels is None else shift_labels
    return (labels != ignore_index).sum() / num_items_in_batch


def lend_name(wrapper: nn.Module, name: str, wrapped: nn.Module) -> None:
    """Give what `torch.compile` wraps around a `GPTForCausalLM`, or around its adapter, that model's name."""
    if name == "_orig_mod":
        for module in wrapped.modules():
            if isinstance(module, GPTForCausalLM):
                wrapper._get_name = module._get_name
                return


# `Trainer` shifts the labels of label smoothing for a model whose name is in this table; for any other it teaches the identity.
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.setdefault(GPTConfig.model_type, GPTForCausalLM.__name__)
nn.modules.module.register_module_module_registration_hook(lend_name)


class GPTForMaskedLM(GPTPreTrainedModel):
    """P(x_i | all other tokens), the objective of an encoder; meant for `is_causal=False` (Devlin et al. 2019)."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        if config.is_causal:
            logger.warning_once(
                "GPTForMaskedLM with is_causal=True sees only the text to the left of a mask: set is_causal=False."
            )
        self.model = GPTModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @leave_out_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs,
    ) -> MaskedLMOutput:
        """
        Args:
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*): The id of each masked token, -100 elsewhere.

        Returns:
            `MaskedLMOutput`: `logits` of shape `(batch, length, vocab_size)`.
        """
        # The prediction for a position is compared with that position, so a cache has no meaning here.
        outputs = self.model(input_ids, attention_mask, position_ids, None, inputs_embeds, use_cache=False, **kwargs)
        logits = self.lm_head(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return MaskedLMOutput(loss, logits, outputs.hidden_states, outputs.attentions)


def token_mask(hidden_states, input_ids, attention_mask, config) -> torch.Tensor:
    """Return True for each token that is not padding, `(batch, length)`.

    A 2-D mask tells, else a padding token that is nothing else. One that ends texts, too, as set up for GPT-2, does not, as in
    `generate`: stock classifiers would drop the end of a text with its padding, though with masks the model has learned to read it.
    Where nothing tells, a single row is text throughout.

    Raises:
        ValueError: several rows without a mask, and nothing that tells.
    """
    pad, ends = config.pad_token_id, config.eos_token_id
    if isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2:
        return (attention_mask[:, -hidden_states.shape[1] :] != 0).to(hidden_states.device)
    if pad is None or pad in (ends if isinstance(ends, list) else [ends]):
        if attention_mask is None and hidden_states.shape[0] > 1:
            raise ValueError(
                f"pad_token_id={pad}{'' if pad is None else ', which ends texts, too,'} and no attention_mask: in "
                f"{hidden_states.shape[0]} rows, padding cannot be told from text. Give attention_mask, or set config.pad_token_id to "
                "a token that is for nothing else."
            )
    elif input_ids is not None:
        return input_ids != pad
    return torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)


def last_token(hidden_states, is_token) -> torch.Tensor:
    """Return the vector of each row's last token, `(batch, hidden_size)`; padding may be on either side."""
    last = (torch.arange(is_token.shape[1], device=is_token.device) * is_token).argmax(-1)
    return hidden_states[torch.arange(len(last), device=last.device), last]


def mean_of_tokens(hidden_states, is_token) -> torch.Tensor:
    """Return the mean over each row's tokens, `(batch, hidden_size)`."""
    weights = is_token.unsqueeze(-1).to(hidden_states.dtype)
    return (hidden_states * weights).sum(1) / weights.sum(1).clamp(min=1)


POOLINGS = {"last": last_token, "mean": mean_of_tokens}


class GPTForSequenceClassification(GPTPreTrainedModel):
    """P(y | x) = softmax(h_last W_y) (Radford et al. 2018, equation 3), or of the mean of h with
    `config.classifier_pooling="mean"`; one label, several labels, or a number."""

    # The losses of these heads are means already: left to scale them, Trainer would multiply by the accumulation steps.
    accepts_loss_kwargs = False

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = GPTModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        if config.auxiliary_lm_weight > 0 and not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @accept_past_key_values
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutputWithPast:
        """
        Args:
            labels (`torch.Tensor`, *optional*): `(batch,)` of ids for one label, `(batch, num_labels)` of 0 and 1 for several,
                numbers for regression; `config.problem_type` says which, or is inferred from them.

        Returns:
            `SequenceClassifierOutputWithPast`: `logits` of shape `(batch, num_labels)`. With `config.auxiliary_lm_weight`, the
            training `loss` is L_2 + lambda * L_1, the classifier's and the language model's (Radford et al. 2018, equation 5).

        Raises:
            ValueError: a batch of several rows with nothing that tells padding from text: no mask, and no `pad_token_id` that is for
                nothing else; or, while training with `config.auxiliary_lm_weight`, `inputs_embeds` in place of tokens.
        """
        outputs = self.model(input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache=use_cache, **kwargs)
        hidden_states = outputs.last_hidden_state
        is_token = token_mask(hidden_states, input_ids, attention_mask, self.config)
        pooled = POOLINGS[self.config.classifier_pooling](hidden_states, is_token)
        logits = self.score(self.dropout(pooled))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, pooled_logits=logits, config=self.config)
        if self.training and self.config.auxiliary_lm_weight > 0:
            # Alone without labels, which `Trainer` keeps to itself for label smoothing.
            auxiliary = self.config.auxiliary_lm_weight * self.language_model_loss(hidden_states, input_ids, is_token)
            loss = auxiliary if loss is None else loss + auxiliary
        return SequenceClassifierOutputWithPast(
            loss, logits, getattr(outputs, CACHE_FIELD), outputs.hidden_states, outputs.attentions
        )

    def language_model_loss(self, hidden_states, input_ids, is_token) -> torch.Tensor:
        """Return the loss of predicting each token of the input that is not padding, in nats per token.

        Raises:
            ValueError: vectors were given in place of tokens.
        """
        if input_ids is None:
            raise ValueError(
                f"auxiliary_lm_weight={self.config.auxiliary_lm_weight} with inputs_embeds: there are no tokens to predict. Give "
                "input_ids, or set config.auxiliary_lm_weight=0, as for prompt tuning."
            )
        weight = self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight
        return causal_lm_loss(hidden_states, weight, input_ids.masked_fill(~is_token, -100))


class GPTForTokenClassification(GPTPreTrainedModel):
    """One label per token, from that token's vector."""

    accepts_loss_kwargs = False

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = GPTModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @accept_past_key_values
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """
        Args:
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*): -100 is left out.

        Returns:
            `TokenClassifierOutput`: `logits` of shape `(batch, length, num_labels)`.
        """
        # A cache that nobody gave is not returned either, so that none is made unless it is asked for.
        outputs = self.model(
            input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache=bool(use_cache), **kwargs
        )
        logits = self.score(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config)
        return TokenClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)


class GPTForQuestionAnswering(GPTPreTrainedModel):
    """Where in the text an answer begins and ends: two numbers per token."""

    accepts_loss_kwargs = False

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.model = GPTModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @accept_past_key_values
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: torch.LongTensor | None = None,
        end_positions: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> QuestionAnsweringModelOutput:
        """
        Args:
            start_positions, end_positions (`torch.LongTensor` of shape `(batch,)`, *optional*): Index of the first and of the
                last token of the answer.

        Returns:
            `QuestionAnsweringModelOutput`: `start_logits` and `end_logits` of shape `(batch, length)`.
        """
        # A cache that nobody gave is not returned either, so that none is made unless it is asked for.
        outputs = self.model(
            input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache=bool(use_cache), **kwargs
        )
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(start_logits, end_logits, start_positions, end_positions)
        return QuestionAnsweringModelOutput(loss, start_logits, end_logits, outputs.hidden_states, outputs.attentions)


class GPTForMultipleChoice(GPTPreTrainedModel):
    """Each choice is read after its context and scored by one number; softmax over the choices (Radford et al. 2018,
    section 3.3)."""

    accepts_loss_kwargs = False

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.model = GPTModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    @leave_out_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs,
    ) -> MultipleChoiceModelOutput:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, choices, length)`); likewise `attention_mask`, `position_ids`.
            labels (`torch.LongTensor` of shape `(batch,)`, *optional*): Index of the right choice.

        Returns:
            `MultipleChoiceModelOutput`: `logits` of shape `(batch, choices)`.

        Raises:
            ValueError: nothing tells padding from text: no mask, and no `pad_token_id` that is for nothing else.
        """
        given = input_ids if input_ids is not None else inputs_embeds
        batch, choices = given.shape[:2]
        input_ids, attention_mask, position_ids, inputs_embeds = (
            None if tensor is None else tensor.flatten(0, 1)
            for tensor in (input_ids, attention_mask, position_ids, inputs_embeds)
        )
        outputs = self.model(input_ids, attention_mask, position_ids, None, inputs_embeds, use_cache=False, **kwargs)
        hidden_states = outputs.last_hidden_state
        is_token = token_mask(hidden_states, input_ids, attention_mask, self.config)
        pooled = POOLINGS[self.config.classifier_pooling](hidden_states, is_token)
        logits = self.score(self.dropout(pooled)).view(batch, choices)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.float(), labels.to(logits.device))
        return MultipleChoiceModelOutput(loss, logits, outputs.hidden_states, outputs.attentions)


__all__ = [
    "GPTForCausalLM",
    "GPTForMaskedLM",
    "GPTForMultipleChoice",
    "GPTForQuestionAnswering",
    "GPTForSequenceClassification",
    "GPTForTokenClassification",
    "GPTModel",
    "GPTPreTrainedModel",
]
