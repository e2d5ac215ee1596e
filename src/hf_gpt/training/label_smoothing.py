"""Label smoothing of a causal language model, whatever wraps it."""

from typing import Any

from transformers.trainer_pt_utils import LabelSmoother

from ..modeling.modeling_hf_gpt import share_of_batch


class WholeLabelSmoother(LabelSmoother):
    """transformers' own, of a causal language model always shifted, and with the loss that a model has beside its labels'.

    `Trainer` finds out at each step by the name of the class whether labels are to be shifted, and `torch.compile` and FSDP change it.

    Args:
        epsilon: The share of the uniform distribution.
        is_causal: Whether each position is compared with the next token.
    """

    def __init__(self, epsilon: float, is_causal: bool):
        super().__init__(epsilon)
        self.is_causal = is_causal

    def __call__(self, model_output: Any, labels: Any, *arguments: Any, **named: Any) -> Any:
        named["shift_labels"] = named.get("shift_labels", False) or self.is_causal
        loss = super().__call__(model_output, labels, *arguments, **named)
        # Trainer has taken the labels out: what is left comes of no label, as the language model's loss of a classifier.
        beside = model_output.get("loss") if isinstance(model_output, dict) else None
        if beside is None:
            return loss
        # A part of a step has its share of it, as of the labels.
        return loss + beside * share_of_batch(labels, named.get("num_items_in_batch"))
