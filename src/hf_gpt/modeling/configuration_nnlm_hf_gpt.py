"""Configuration of the neural n-gram model (Bengio et al. 2003)."""

from typing import TYPE_CHECKING

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig


if TYPE_CHECKING:
    # transformers saves with a file what it names in such a line, and `auto_map` names the model's file.
    from .modeling_nnlm_hf_gpt import NNLMForCausalLM  # noqa: F401


@strict
class NNLMConfig(PreTrainedConfig):
    r"""Configuration of a neural probabilistic language model (Bengio et al. 2003, section 2).

    Args:
        vocab_size (`int`): Number of words, |V|.
        context_size (`int`): Words that a prediction looks back at, n - 1.
        embedding_size (`int`): Width of a word's features, m.
        hidden_size (`int`): Width of the hidden layer, h.
        direct_connections (`bool`): Whether the features are connected with the output directly, too (the matrix W).
        initializer_range (`float`): Standard deviation of the normal distribution of the initial weights.
        max_position_embeddings (`int`): Longest text that a recipe may train with; the model itself knows no positions.

    Raises:
        ValueError: a size below 1; the message names the field and its value.
    """

    model_type = "hf_gpt_nnlm"

    vocab_size: int = 8192
    context_size: int = 4
    embedding_size: int = 64
    hidden_size: int = 256
    direct_connections: bool = True
    initializer_range: float | int = 0.02
    max_position_embeddings: int = 1 << 20
    tie_word_embeddings: bool = False
    use_cache: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    auto_map: dict | None = None

    def __post_init__(self, **kwargs):
        self.auto_map = {
            "AutoConfig": "configuration_nnlm_hf_gpt.NNLMConfig",
            "AutoModelForCausalLM": "modeling_nnlm_hf_gpt.NNLMForCausalLM",
        }
        super().__post_init__(**kwargs)
        for name in ("vocab_size", "context_size", "embedding_size", "hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be a whole number of at least 1.")
        # A comparison that a NaN fails, too.
        if not 0 <= self.initializer_range < float("inf"):
            raise ValueError(f"initializer_range={self.initializer_range} must be at least 0, and finite.")


__all__ = ["NNLMConfig"]
