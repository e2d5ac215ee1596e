"""What the loss without logits leaves to the one with them: second derivatives, `torch.func`, heads that are more than a matrix."""

import pytest
import torch
from accelerate import cpu_offload
from tests.conftest import randomize, tiny_config
from torch import nn
from torch.func import functional_call, grad, vmap
from transformers import AutoModelForCausalLM


def token_ids(*shape):
    return torch.randint(2, 96, shape, generator=torch.Generator().manual_seed(1))


def language_model(architecture="modern", **overrides):
    return randomize(AutoModelForCausalLM.from_config(tiny_config(architecture, **overrides))).train()


def gradients_of(model, ids, **inputs):
    model.zero_grad()
    model(ids, labels=ids, **inputs).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def functional_loss(model):
    return lambda weights, ids, **inputs: functional_call(model, weights, (ids,), {"labels": ids, **inputs}).loss


def test_a_second_derivative_is_refused_where_it_would_be_wrong():
    model, ids = language_model(), token_ids(2, 8)
    # The fused attention of a CPU has no second derivative, either.
    model.set_attn_implementation("eager")
    weights = list(model.parameters())

    def product():
        first = torch.autograd.grad(model(ids, labels=ids).loss, weights, create_graph=True)
        return torch.autograd.grad(sum(gradient.square().sum() for gradient in first), weights, allow_unused=True)

    assert any(gradient.any() for gradient in product() if gradient is not None)
    model.config.fused_loss = True
    with pytest.raises(RuntimeError, match=r"no second derivative: set config\.fused_loss=False"):
        product()


@pytest.mark.parametrize("architecture", ["modern", "oss"])
def test_gradients_of_torch_func_are_those_of_a_backward_pass(architecture):
    model, ids = language_model(architecture, fused_loss=True), token_ids(2, 8)
    found = grad(functional_loss(model))(dict(model.named_parameters()), ids)
    for name, wanted in gradients_of(model, ids).items():
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("positions", [None, [[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2, 0, 1, 0, 1, 2]]], ids=["plain", "packed"])
@pytest.mark.parametrize("architecture", ["modern", "gpt2"])
def test_gradients_of_each_row_are_those_of_it_alone(architecture, positions):
    model, ids = language_model(architecture), token_ids(2, 8)
    model.set_attn_implementation("eager")
    rows = {"position_ids": torch.tensor(positions)} if positions else {}

    def loss(weights, ids, inputs):
        return functional_loss(model)(weights, ids[None], **{name: row[None] for name, row in inputs.items()})

    found = vmap(grad(loss), in_dims=(None, 0, 0))(dict(model.named_parameters()), ids, rows)
    for row in range(2):
        alone = gradients_of(model, ids[row : row + 1], **{name: values[row : row + 1] for name, values in rows.items()})
        for name, wanted in alone.items():
            torch.testing.assert_close(found[name][row], wanted, rtol=0, atol=1e-5)


def with_bias(model):
    model.set_output_embeddings(nn.Linear(32, 96))


def with_hook(model):
    model.lm_head.register_forward_hook(lambda module, inputs, output: output * 0.5)


def with_pre_hook(model):
    model.lm_head.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0.5,))


def offloaded(model):
    cpu_offload(model, execution_device=torch.device("cpu"))


@pytest.mark.parametrize("change", [with_bias, with_hook, with_pre_hook, offloaded])
def test_a_head_that_is_more_than_a_matrix_is_called(change):
    torch.manual_seed(0)
    model, ids = language_model(tie_word_embeddings=False), token_ids(2, 8)
    change(model)
    wanted = model(ids, labels=ids).loss
    model.config.fused_loss = True
    assert model(ids, labels=ids).loss.item() == pytest.approx(wanted.item(), abs=1e-5)
