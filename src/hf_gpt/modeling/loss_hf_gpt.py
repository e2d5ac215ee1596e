"""Fused linear cross-entropy, chunked: the loss of a language model without materialising its logits.

The logits of a step are by far its largest tensor: tokens * vocabulary. They are needed only to be reduced to one
number a token, so they are made a slice of tokens at a time, and with each slice its gradient, which is known as soon
as the slice is: d loss / d logits = softmax(logits) - onehot(target).
"""

import torch
from torch import nn


# Bytes of a slice of logits, in float32 and as they are multiplied with the weights. On a CPU, a slice that stays near its cache is
# fastest: 512 to 1,024 tokens of 8,192 words. On an accelerator each slice has to keep all of it busy: 8,192 tokens of 50,304 words.
SLICE_BYTES = {"cpu": 2**26}
ACCELERATOR_SLICE_BYTES = 5 * 2**29
# The gradient of the weights is read and written once a slice, however few tokens are in it.
LEAST_TOKENS = 128


def slice_tokens(vocab_size: int, tokens: int, element_size: int, device_type: str) -> int:
    """Return tokens of one slice of the loss, all slices being of about the same size.

    Args:
        vocab_size (`int`): Rows of the output matrix.
        tokens (`int`): Tokens of the step.
        element_size (`int`): Bytes of a number in the products.
        device_type (`str`): `cpu`, `cuda`, ...
    """
    limit = SLICE_BYTES.get(device_type, ACCELERATOR_SLICE_BYTES) // (vocab_size * (4 + element_size))
    slices = -(-tokens // max(limit, LEAST_TOKENS))
    return max(1, -(-tokens // max(slices, 1)))


class LinearCrossEntropy(torch.autograd.Function):
    """Sum over tokens of -log softmax(hidden W^T)[target], with both gradients made in the forward pass."""

    @staticmethod
    def forward(ctx, hidden, weight, targets, ignore_index):
        # Autocast does not reach into a Function: take the type that a linear layer would have computed in.
        device_type = hidden.device.type
        # Of a device that it does not know, such as `meta`, autocast cannot even be asked.
        is_autocast = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
        dtype = torch.get_autocast_dtype(device_type) if is_autocast else hidden.dtype
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        hidden_low, weight_low = hidden.to(dtype), weight.to(dtype)
        kept = targets != ignore_index
        index = torch.where(kept, targets, 0)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = []
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        size = slice_tokens(weight.shape[0], len(targets), dtype.itemsize, device_type)
        for part in range(0, len(targets), size):
            rows = slice(part, part + size)
            chunk, target, mask = hidden_low[rows], index[rows], kept[rows].unsqueeze(-1)
            logits = nn.functional.linear(chunk, weight_low).float()
            highest = logits.amax(-1, keepdim=True)
            powers = (logits - highest).exp()
            total = powers.sum(-1, keepdim=True)
            log_likelihood = logits.gather(-1, target.unsqueeze(-1)) - highest - total.log()
            loss = loss - torch.where(mask, log_likelihood, 0.0).sum()
            # softmax = powers / total: the division is left to the small factors of each product, and so is the
            # subtraction of onehot(target), which in bfloat16 would cost the digits of the probabilities beside it.
            powers, scale = powers.to(dtype), torch.where(mask, 1.0 / total, 0.0)
            if needs_hidden:
                expected = (powers @ weight_low).float() * scale
                grad_hidden.append(expected - torch.where(mask, weight_low[target].float(), 0.0))
            if needs_weight:
                grad_weight += (powers.t() @ (chunk * scale).to(dtype)).float()
                grad_weight.index_add_(0, target, torch.where(mask, -chunk.float(), 0.0))
        ctx.save_for_backward(torch.cat(grad_hidden).to(hidden.dtype) if needs_hidden else None, grad_weight)
        ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    def backward(ctx, grad_loss):
        # A compiler traces it with gradients enabled, whatever it is traced for.
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError("The fused loss has no second derivative: set config.fused_loss=False.")
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grad_loss.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = (grad_weight * grad_loss).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None, None


def causal_lm_loss(hidden_states, weight, labels, num_items_in_batch=None, ignore_index=-100, shift_labels=None):
    """The loss of `transformers` for causal language models, -sum_i log P(x_i | x_<i) (Radford et al. 2018, equation 1).

    Args:
        hidden_states (`torch.Tensor` of shape `(batch, length, hidden_size)`): Output of the last norm.
        weight (`torch.Tensor` of shape `(vocab_size, hidden_size)`): The output matrix.
        labels (`torch.LongTensor` of shape `(batch, length)`): Token ids, not shifted; `ignore_index` is left out.
        num_items_in_batch (`int` or `torch.Tensor`, *optional*): What the sum is divided by; `None` means the number of
            labels that count.
        shift_labels (`torch.LongTensor`, *optional*): Labels that are shifted already, in place of `labels`.

    Returns:
        `torch.Tensor`: A scalar in nats per token, equal to `ForCausalLMLoss` of the logits.
    """
    if shift_labels is None:
        shift_labels = nn.functional.pad(labels, (0, 1), value=ignore_index)[..., 1:]
    targets = shift_labels.reshape(-1).to(hidden_states.device)
    total = LinearCrossEntropy.apply(hidden_states.reshape(-1, hidden_states.shape[-1]), weight, targets, ignore_index)
    if num_items_in_batch is None:
        num_items_in_batch = (targets != ignore_index).sum()
    return total / num_items_in_batch
