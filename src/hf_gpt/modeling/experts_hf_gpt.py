"""A mixture of experts in place of one feed-forward layer (OpenAI 2025, gpt-oss, section 2), and the loss that keeps it in balance."""

from collections import OrderedDict

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.integrations import use_experts_implementation
from transformers.utils.output_capturing import install_output_capuring_hook

from .configuration_hf_gpt import GPTConfig


class Recorded(nn.Module):
    """A layer whose output transformers records, `recorded_as` a key and the index in a tuple.

    It does so by hooks that cannot be pickled: in what is pickled their places are empty, and a copy fills them.
    """

    recorded_as: tuple[str, int]

    def __getstate__(self):
        state = super().__getstate__()
        hooks = state["_forward_hooks"].items()
        own = install_output_capuring_hook.__module__
        return {**state, "_forward_hooks": OrderedDict((key, None if hook.__module__ == own else hook) for key, hook in hooks)}

    def __setstate__(self, state):
        super().__setstate__(state)
        for key, hook in self._forward_hooks.items():
            if hook is None:
                install_output_capuring_hook(source := nn.Identity(), *self.recorded_as)
                self._forward_hooks[key] = source._forward_hooks.popitem()[1]


class GPTRouterScores(Recorded, nn.Identity):
    """Where scores are recorded: behind whatever an adapter or a quantizer makes of the router."""

    recorded_as = "router_logits", 0


# Where the inputs of the gated unit are clamped.
LIMIT = 7.0


@use_experts_implementation
class GPTExperts(nn.Module):
    """Gated units side by side, Expert_e(x) = (f(min(x W_gate, 7)) * (clamp(x W_up, -7, 7) + 1)) W_down.

    `forward` is the formula. `config._experts_implementation` may put a kernel in its place, for which W_gate and W_up are one
    parameter.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.num_experts = config.num_experts
        inner, width = config.intermediate_size, config.hidden_size
        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(self.num_experts, width, inner))
        self.gate_up_proj_bias = nn.Parameter(torch.empty(self.num_experts, 2 * inner)) if config.use_bias else None
        self.down_proj_bias = nn.Parameter(torch.empty(self.num_experts, width)) if config.use_bias else None
        self.act_fn = ACT2FN[config.hidden_act]

    def _apply_gate(self, gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return self.act_fn(gate.clamp(max=LIMIT)) * (up.clamp(-LIMIT, LIMIT) + 1)

    def forward(self, hidden_states: torch.Tensor, chosen: torch.LongTensor, weights: torch.Tensor) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(tokens, hidden_size)`)
            chosen, weights (`torch.Tensor` of shape `(tokens, num_experts_per_tok)`): Experts of each token, and what each counts.
        """
        output = torch.zeros_like(hidden_states)
        for i in range(self.num_experts):
            token, place = (chosen == i).nonzero(as_tuple=True)
            biases = (self.gate_up_proj_bias[i], self.down_proj_bias[i]) if self.has_bias else (None, None)
            inner = self._apply_gate(nn.functional.linear(hidden_states[token], self.gate_up_proj[i], biases[0]))
            made = nn.functional.linear(inner, self.down_proj[i], biases[1]) * weights[token, place, None]
            output = output.index_add(0, token, made.to(output.dtype))
        return output


class GPTMoE(nn.Module):
    """sum_e softmax(r)_e Expert_e(x) over the k experts e of the largest scores r = x W_router."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.router = nn.Linear(config.hidden_size, config.num_experts, bias=config.use_bias)
        self.scores = GPTRouterScores()
        self.experts = GPTExperts(config)
        # The decorator knows a class that has biases or has none.
        self.experts.has_bias = config.use_bias

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        tokens = hidden_states.flatten(0, -2)
        scores, chosen = self.scores(self.router(tokens)).topk(self.top_k, dim=-1)
        return self.experts(tokens, chosen, scores.softmax(-1)).view_as(hidden_states)


def load_balancing_loss(router_logits, top_k: int, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over layers of N sum_e f_e P_e, f_e being the share of tokens that go to expert e of N, and P_e the mean of its probability
    (Fedus et al. 2021, equation 4). Balanced, it is `top_k`.

    Args:
        router_logits (`tuple[torch.Tensor]`): Scores of each layer, `(tokens, num_experts)`.
        attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*): 0 for padding, which does not count.
    """
    logits = torch.stack([scores.to(router_logits[0].device) for scores in router_logits])
    probabilities = logits.softmax(-1, dtype=torch.float32)
    chosen = torch.zeros_like(probabilities).scatter(-1, logits.detach().topk(top_k, dim=-1).indices, 1.0)
    counts = torch.ones_like(probabilities[0, :, :1])
    if attention_mask is not None:
        counts = attention_mask.reshape(-1, 1).to(counts)
    used, expected = ((values * counts).sum(1) / counts.sum() for values in (chosen, probabilities))
    return logits.shape[-1] * (used * expected).sum(-1).mean()
