"""One configuration for the whole GPT line: what differs between the generations is the value of a field."""

from typing import TYPE_CHECKING, Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils import logging


if TYPE_CHECKING:
    # transformers saves with a file what it names in such a line, and `auto_map` names the models' file.
    from .modeling_hf_gpt import GPTModel  # noqa: F401

# The version of the package, kept here because this file travels with a checkpoint and the package does not.
__version__ = "0.2.0"

logger = logging.get_logger(__name__)

# What rotary positions divide by or take the logarithm of.
POSITIVE_ROPE = ("rope_theta", "factor", "short_factor", "long_factor")

AUTO_MAP = {
    "AutoConfig": "configuration_hf_gpt.GPTConfig",
    "AutoModel": "modeling_hf_gpt.GPTModel",
    "AutoModelForCausalLM": "modeling_hf_gpt.GPTForCausalLM",
    "AutoModelForMaskedLM": "modeling_hf_gpt.GPTForMaskedLM",
    "AutoModelForSequenceClassification": "modeling_hf_gpt.GPTForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_hf_gpt.GPTForTokenClassification",
    "AutoModelForQuestionAnswering": "modeling_hf_gpt.GPTForQuestionAnswering",
    "AutoModelForMultipleChoice": "modeling_hf_gpt.GPTForMultipleChoice",
}

# What each type of feed-forward layer lacks of the modules in the plan of tensor parallelism.
ABSENT = {"mlp": ("gate_proj",), "glu": (), "moe": (".mlp.",)}


@strict
class GPTConfig(PreTrainedConfig):
    r"""Configuration of every `hf_gpt` model.

    The defaults are those of GPT-2 small (Radford et al. 2019). GPT-1, GPT-3, a modern GPT and gpt-oss are other values of
    the same fields; `hf_gpt.preset(name)` fills them in and cites the table of each paper.

    Args:
        vocab_size (`int`): Number of entries of the token embedding.
        hidden_size (`int`): Width of the residual stream, d_model in Vaswani et al. 2017.
        num_hidden_layers (`int`): Number of transformer blocks.
        num_attention_heads (`int`): Number of query heads, h in Vaswani et al. 2017, section 3.2.2.
        num_key_value_heads (`int`, *optional*): Number of key and value heads that the query heads share (grouped-query
            attention, Ainslie et al. 2023). `None` means one for each query head.
        head_dim (`int`, *optional*): Width of one head, d_k. `None` means `hidden_size // num_attention_heads`.
        intermediate_size (`int`, *optional*): Width of the feed-forward layer. `None` means `4 * hidden_size`.
        hidden_act (`str`): Activation of the feed-forward layer, a key of `transformers.activations.ACT2FN`.
        max_position_embeddings (`int`): Longest sequence that a learned position table can express; for rotary
            positions the length the model was trained for.
        norm_position (`"pre"` or `"post"`): `post` is GPT-1 (Vaswani et al. 2017, section 3.1), `pre` is GPT-2 and later.
        norm_type (`"layernorm"` or `"rmsnorm"`): Ba et al. 2016, or Zhang and Sennrich 2019.
        norm_eps (`float`): Added to the variance inside each norm.
        position_embedding_type (`"learned"` or `"rope"`): A table that is added to the token embeddings, or rotary
            positions (Su et al. 2021).
        rope_parameters (`dict`, *optional*): `rope_type`, `rope_theta` and what the type needs, as everywhere in
            transformers. `None` for learned positions.
        layer_types (`list[str]`, *optional*): `"full_attention"` or `"sliding_attention"` for each layer. `None` means
            full attention everywhere.
        sliding_window (`int`, *optional*): Number of positions, the current one included, that a
            `sliding_attention` layer sees.
        mlp_type (`"mlp"`, `"glu"` or `"moe"`): Two matrices with an activation, a gated unit of three (Shazeer 2020), or a mixture of
            experts that are such units each, of which a router chooses a few for every token (OpenAI 2025, gpt-oss).
        num_experts, num_experts_per_tok (`int`): Experts of a layer with `mlp_type="moe"`, and how many of them a token goes through.
        router_aux_loss_coef (`float`): Weight of the load-balancing loss that `GPTForCausalLM` adds to its own while training (Fedus
            et al. 2021, equation 4), which keeps a mixture from leaving most of its experts idle.
        output_router_logits (`bool`): Whether it is added while evaluating too, and the scores behind it returned, as by the mixtures
            of transformers.
        qk_norm (`bool`): Whether queries and keys are normalised head by head before the product.
        attention_sinks (`bool`): Whether each head learns the score of a key that is always there and has no value, so that it can
            look nowhere (OpenAI 2025, gpt-oss).
        use_bias (`bool`): Whether linear layers and layer norms have a bias.
        qkv_bias (`bool`, *optional*): Whether queries, keys and values have one. `None` means as `use_bias` says.
        residual_init (`"none"`, `"depth_scaled"` or `"zero"`): Standard deviation of the two matrices of each block that
            write to the residual stream: `initializer_range`, that divided by sqrt(2 * num_hidden_layers) (Radford et
            al. 2019, section 2.3), or 0.
        is_causal (`bool`): `False` lets every position see every other one: the encoder of masked language modelling.
        tie_word_embeddings (`bool`): Whether the output matrix is the token embedding.
        attention_dropout, embd_dropout, resid_dropout (`float`): Dropout of the attention weights, of the embeddings, and
            of what each block adds to the residual stream.
        initializer_range (`float`): Standard deviation of the normal distribution of the initial weights.
        embedding_initializer_range (`float`, *optional*): That of the token embeddings, where they are not the output matrix too;
            the norm in front of each block takes the scale away, so that it sets how far a step of training turns them. `None`
            means `initializer_range`.
        classifier_dropout (`float`): Dropout before the classifier of the classification heads.
        classifier_pooling (`"last"` or `"mean"`): What the heads for a whole text read: the vector of its last token (Radford et
            al. 2018, section 3.2), or the mean over all tokens, which a small model or an encoder classifies better from.
        auxiliary_lm_weight (`float`): Weight lambda of the language-model loss that `GPTForSequenceClassification` adds to its own
            while training (Radford et al. 2018, equation 5, where it is 0.5).
        fused_loss (`bool`): Whether `GPTForCausalLM` in training mode computes the loss without materialising the logits and returns
            no logits beside it: faster and far smaller, for trainers that read only the loss, as `Trainer` does. Our recipes
            turn it on while they train, unless they set it. It has no second derivative. `use_liger_kernel` of a stock
            `Trainer` knows no kernels for this family and changes nothing: this is what to set in its place.
        use_cache (`bool`): Whether `forward` returns keys and values for decoding.
        hf_gpt_version (`str`, *optional*): The version of this code that saved the checkpoint; filled in. Loading a checkpoint of
            another version logs one warning.

    Raises:
        ValueError: when fields contradict each other; the message names the fields, their values and a hint.
    """

    model_type = "hf_gpt"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]

    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.q_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.k_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }
    # By the names of transformers 5.24.
    base_model_ep_plan = {
        "layers.*.mlp.experts.gate_up_proj": "grouped_gemm",
        "layers.*.mlp.experts.gate_up_proj_bias": "grouped_gemm",
        "layers.*.mlp.experts.down_proj": "grouped_gemm",
        "layers.*.mlp.experts.down_proj_bias": "grouped_gemm",
        "layers.*.mlp.experts": "ep_dispatch_experts",
    }
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }

    vocab_size: int = 50257
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    hidden_act: str = "gelu_new"
    max_position_embeddings: int = 1024
    norm_position: Literal["pre", "post"] = "pre"
    norm_type: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_eps: float | int = 1e-5
    position_embedding_type: Literal["learned", "rope"] = "learned"
    rope_parameters: dict | None = None
    layer_types: list[str] | None = None
    sliding_window: int | None = None
    mlp_type: Literal["mlp", "glu", "moe"] = "mlp"
    num_experts: int = 0
    num_experts_per_tok: int = 0
    router_aux_loss_coef: float | int = 0.0
    output_router_logits: bool = False
    qk_norm: bool = False
    attention_sinks: bool = False
    use_bias: bool = True
    qkv_bias: bool | None = None
    residual_init: Literal["none", "depth_scaled", "zero"] = "depth_scaled"
    is_causal: bool = True
    tie_word_embeddings: bool = True
    attention_dropout: float | int = 0.0
    embd_dropout: float | int = 0.0
    resid_dropout: float | int = 0.0
    initializer_range: float | int = 0.02
    embedding_initializer_range: float | int | None = None
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    classifier_dropout: float | int = 0.0
    classifier_pooling: Literal["last", "mean"] = "last"
    auxiliary_lm_weight: float | int = 0.0
    fused_loss: bool = False
    auto_map: dict | None = None
    hf_gpt_version: str | None = None

    def __post_init__(self, **kwargs):
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None and self.num_attention_heads > 0:
            if self.hidden_size % self.num_attention_heads:
                raise ValueError(
                    f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}: "
                    "change one of them, or set head_dim."
                )
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.qkv_bias is None:
            self.qkv_bias = self.use_bias
        if self.layer_types is None:
            self.layer_types = ["full_attention"] * self.num_hidden_layers
        if self.hf_gpt_version not in (None, __version__):
            logger.warning_once(
                f"This checkpoint was saved by hf-gpt {self.hf_gpt_version}; the installed hf-gpt {__version__} loads it, not the code "
                f"beside it. If results differ, install hf-gpt=={self.hf_gpt_version}."
            )
        self.hf_gpt_version = __version__
        # Saving fills in the one class that is saved; a repository has to serve every `AutoModelFor...`.
        self.auto_map = dict(AUTO_MAP)
        # A plan may name only modules that the model has. Heads with sinks stay together, since no style of a plan splits those.
        absent = (
            ABSENT[self.mlp_type] + (() if self.qk_norm else ("_norm",)) + (("self_attn.",) if self.attention_sinks else ())
        )
        plan = type(self).base_model_tp_plan
        plan = {name: style for name, style in plan.items() if not any(part in name for part in absent)}
        # With an output matrix that is split, which may be tied to it, the table is split too; transformers adds it to other plans.
        self.base_model_tp_plan = plan or {"embed_tokens": "embedding_rowwise"}
        self.base_model_ep_plan = type(self).base_model_ep_plan if self.mlp_type == "moe" else None
        rope_parameters = self.rope_parameters
        super().__post_init__(**kwargs)
        if self.position_embedding_type == "learned":
            if rope_parameters:
                raise ValueError(
                    f"rope_parameters={rope_parameters} has no meaning with position_embedding_type='learned': leave it "
                    "out, or set position_embedding_type='rope'."
                )
            # The base class fills in rotary defaults for every config that has the field.
            self.rope_parameters = None
            # A later stage of a pipeline is given hidden states for embeddings, and would add the positions to them again.
            self.base_model_pp_plan = None
        # The strict dataclass calls it too, but wraps what it raises in an exception that is not a `ValueError`.
        self.validate_architecture()

    def validate_rope(self):
        """Raise `ValueError` for a type of rotary positions that lacks what it needs, which the base class calls a `KeyError`."""
        try:
            super().validate_rope()
        except KeyError as error:
            raise ValueError(error.args[0]) from error

    def validate_architecture(self):
        """Raise `ValueError` when fields contradict each other, before any weight is made."""
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "intermediate_size",
            "max_position_embeddings",
        ):
            value = getattr(self, name)
            if value is None or value < 1:
                raise ValueError(f"{name}={value} must be a whole number of at least 1.")
        for name in ("attention_dropout", "embd_dropout", "resid_dropout", "classifier_dropout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value} must be at least 0 and less than 1.")
        # Comparisons that a NaN fails, too.
        for name in ("auxiliary_lm_weight", "initializer_range", "embedding_initializer_range", "router_aux_loss_coef"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name}={value} must be at least 0, and finite.")
        if self.embedding_initializer_range is not None and self.tie_word_embeddings:
            raise ValueError(
                f"embedding_initializer_range={self.embedding_initializer_range} with tie_word_embeddings=True would be that of the "
                "output matrix, too: set tie_word_embeddings=False, or leave it out."
            )
        if self.pad_token_id is not None and self.pad_token_id >= self.vocab_size:
            raise ValueError(
                f"pad_token_id={self.pad_token_id} is not below vocab_size={self.vocab_size}: enlarge vocab_size, or call "
                "resize_token_embeddings before it is set."
            )
        if not 0 < self.norm_eps < float("inf"):
            raise ValueError(f"norm_eps={self.norm_eps} must be positive and finite.")
        if self.mlp_type == "moe" and not 1 <= self.num_experts_per_tok <= self.num_experts:
            raise ValueError(
                f"num_experts_per_tok={self.num_experts_per_tok} must be at least 1 and at most num_experts={self.num_experts}."
            )
        for name in ("hidden_size", "intermediate_size"):
            if self.mlp_type == "moe" and getattr(self, name) % 8:
                raise ValueError(
                    f"{name}={getattr(self, name)} with mlp_type='moe' must be a multiple of 8: kernels of experts take no other."
                )
        for name in ("num_experts", "num_experts_per_tok", "router_aux_loss_coef", "output_router_logits"):
            if self.mlp_type != "moe" and getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)} has no meaning with mlp_type={self.mlp_type!r}: leave it out, or set mlp_type='moe'."
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}: each key head serves a whole number of query heads."
            )
        if self.position_embedding_type == "rope" and self.head_dim % 2:
            raise ValueError(
                f"head_dim={self.head_dim} is odd, but position_embedding_type='rope' rotates pairs of channels: choose "
                "an even head_dim."
            )
        if self.position_embedding_type == "rope":
            known = ["default", *ROPE_INIT_FUNCTIONS]
            rope_type = self.rope_parameters.get("rope_type")
            if rope_type not in known:
                raise ValueError(f"rope_parameters has rope_type={rope_type!r}: choose one of {', '.join(known)}.")
            for name, value in self.rope_parameters.items():
                numbers = [
                    number for number in (value if isinstance(value, list) else [value]) if isinstance(number, (int, float))
                ]
                if not all(0 < number < float("inf") or (number == 0 and name not in POSITIVE_ROPE) for number in numbers):
                    least = "positive" if name in POSITIVE_ROPE else "at least 0,"
                    raise ValueError(f"rope_parameters.{name}={value} must be {least} and finite.")
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types has length {len(self.layer_types)} for num_hidden_layers={self.num_hidden_layers}: give one for "
                "each layer."
            )
        unknown = sorted(set(self.layer_types) - {"full_attention", "sliding_attention"})
        if unknown:
            raise ValueError(f"layer_types holds {unknown}: an entry is 'full_attention' or 'sliding_attention'.")
        if "sliding_attention" in self.layer_types and (self.sliding_window is None or self.sliding_window < 1):
            raise ValueError(
                f"layer_types holds 'sliding_attention' but sliding_window={self.sliding_window}: set sliding_window to the "
                "number of positions that such a layer sees."
            )
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act={self.hidden_act!r} is unknown: choose one of {', '.join(sorted(ACT2FN))}.")


__all__ = ["GPTConfig"]
