"""A small sound model of somebody else's, all in one file as it lies beside weights on the Hub; tests plant faults in its text."""

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


class CustomConfig(PreTrainedConfig):
    model_type = "custom"
    vocab_size: int = 64
    hidden_size: int = 32
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    tie_word_embeddings: bool = True
    eos_token_id: int = 1
    pad_token_id: int = 0


class CustomRotaryEmbedding(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size
        self.register_buffer("inv_freq", self.frequencies(), persistent=False)

    def frequencies(self):
        return 100.0 ** -(torch.arange(0, self.size, 2, dtype=torch.float32) / self.size)

    def forward(self, positions):
        angles = positions[:, None, :, None].float() * self.inv_freq.float()
        return torch.cat((angles, angles), -1)


def eager(module, query, key, value, attention_mask, scaling, **kwargs):
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    return (scores.softmax(-1) @ value).transpose(1, 2), None


class CustomAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, True
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states, mask, angles, cache, **kwargs):
        parts = self.qkv_proj(states).chunk(3, -1)
        query, key, value = (part.view(*states.shape[:2], -1, self.head_dim).transpose(1, 2) for part in parts)
        query, key = (self.rotate(part, angles) for part in (query, key))
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager)
        output, _ = attention(self, query, key, value, mask, scaling=self.head_dim**-0.5, **kwargs)
        return self.o_proj(output.reshape(*states.shape[:-1], -1))

    def rotate(self, part, angles):
        first, second = part.chunk(2, -1)
        return part * angles.cos() + torch.cat((-second, first), -1) * angles.sin()


class CustomBlock(GradientCheckpointingLayer):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.attention = CustomAttention(config, layer_idx)
        self.mlp = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states, **kwargs):
        states = states + self.attention(self.norm(states), **kwargs)
        return states + self.mlp(torch.tanh(states))


class CustomForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = CustomConfig
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.rotary = CustomRotaryEmbedding(config.hidden_size // config.num_attention_heads)
        self.layers = nn.ModuleList(CustomBlock(config, i) for i in range(config.num_hidden_layers))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.gradient_checkpointing = False
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, CustomRotaryEmbedding):
            module.inv_freq.data.copy_(module.frequencies())

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        cache=None,
        labels=None,
        use_cache=True,
        logits_to_keep=0,
        **kwargs,
    ):
        states = self.embed_tokens(input_ids)
        if use_cache and cache is None:
            cache = DynamicCache()
        if not use_cache:
            cache = None
        if position_ids is None:
            seen = cache.get_seq_length() if cache is not None else 0
            position_ids = (torch.arange(input_ids.shape[1]) + seen)[None]
        mask = create_causal_mask(self.config, states, attention_mask, cache, position_ids)
        angles = self.rotary(position_ids)
        for block in self.layers:
            states = block(states, mask=mask, angles=angles, cache=cache, **kwargs)
        logits = self.lm_head(states[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(loss, logits, cache)


MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.setdefault("custom", "CustomForCausalLM")
