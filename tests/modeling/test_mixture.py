"""Attention sinks and mixtures of experts: the formulas, one kernel like another, and the loss that keeps experts in balance."""

import copy
import io
import pickle

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.conftest import randomize, tiny_config
from transformers import AutoModelForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

import hf_gpt
from hf_gpt.modeling.experts_hf_gpt import load_balancing_loss
from hf_gpt.modeling.layers_hf_gpt import SINKS


def token_ids(*shape):
    return torch.randint(2, 96, shape, generator=torch.Generator().manual_seed(1))


def language_model(**overrides):
    return randomize(AutoModelForCausalLM.from_config(tiny_config("oss", **overrides)))


def test_a_sink_is_one_more_score_and_no_value():
    """softmax over a row's scores and its head's sink, without the sink's own weight, in plain torch."""
    model = language_model(num_hidden_layers=1, layer_types=["full_attention"])
    model.set_attn_implementation("eager")
    attention = model.model.layers[0].self_attn
    found = model(token_ids(2, 9), output_attentions=True).attentions[0]
    with torch.no_grad():
        attention.sinks.fill_(-1e4)
    without = model(token_ids(2, 9), output_attentions=True).attentions[0]
    torch.testing.assert_close(without.sum(-1), torch.ones(2, 4, 9))
    sinks = randomize(hf_gpt.GPTForCausalLM(model.config)).model.layers[0].self_attn.sinks
    # exp(score) of a row, up to one factor, which the first position shows: there is one key, and weight = exp / (exp + exp(sink)).
    share = found[..., 0, 0]
    score = (share / (1 - share)).log() + sinks
    states = model.model.layers[0].input_layernorm(model.model.embed_tokens(token_ids(2, 9)))[:, :1]
    query, key = (projection(states).view(2, 1, -1, 8).transpose(1, 2) for projection in (attention.q_proj, attention.k_proj))
    wanted = (query * key.repeat_interleave(2, dim=1)).sum(-1)[..., 0] * 8**-0.5
    torch.testing.assert_close(score, wanted, rtol=1e-3, atol=1e-4)
    # What a sink takes, it takes of all keys alike.
    torch.testing.assert_close(found / found.sum(-1, keepdim=True), without, rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("is_causal", [True, False])
def test_every_kernel_of_attention_and_of_experts_gives_the_same(is_causal):
    model, ids = randomize(hf_gpt.GPTModel(tiny_config("oss", is_causal=is_causal))), token_ids(2, 11)
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    for inputs in ({}, {"attention_mask": mask}):
        found = []
        for attention in ("eager", "sdpa"):
            for experts in ("eager", "batched_mm", "grouped_mm"):
                model.set_attn_implementation(attention)
                model.set_experts_implementation(experts)
                found.append(model(ids, **inputs).last_hidden_state[mask.bool()])
        for other in found[1:]:
            torch.testing.assert_close(other, found[0], rtol=0, atol=1e-5)


def test_a_kernel_without_sinks_is_refused_by_name():
    model = language_model()
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(ValueError, match=r"'flash_attention_2' has no attention_sinks: choose one of eager, sdpa"):
        model.model.layers[0].self_attn(torch.zeros(1, 3, 32))
    assert {"eager", "sdpa", "flex_attention"} <= set(SINKS)


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_mixture_is_the_weighted_sum_of_its_experts(use_bias):
    """Token by token and expert by expert, with inputs so large that both limits are reached."""
    torch.manual_seed(0)
    # A layer of a model: one that is built alone holds whatever was in memory.
    layer = randomize(language_model(use_bias=use_bias).model.layers[0].mlp, std=1.0)
    assert (layer.experts.down_proj_bias is None) == (layer.router.bias is None) == (not use_bias)
    layer.experts.config._experts_implementation = "grouped_mm"
    states = torch.randn(2, 5, 32)
    wanted = torch.zeros_like(states).flatten(0, 1)
    reached = 0
    for row, token in enumerate(states.flatten(0, 1)):
        scores, chosen = layer.router(token).topk(2)
        for weight, i in zip(scores.softmax(-1), chosen):
            gate, up = layer.experts.gate_up_proj[i].mv(token).chunk(2)
            if use_bias:
                first, second = layer.experts.gate_up_proj_bias[i].chunk(2)
                gate, up = gate + first, up + second
            reached += int((gate > 7).sum() > 0) + int((up.abs() > 7).sum() > 0)
            gate = gate.clamp(max=7.0)
            inner = gate * torch.sigmoid(1.702 * gate) * (up.clamp(-7.0, 7.0) + 1)
            made = layer.experts.down_proj[i].mv(inner)
            wanted[row] += weight * (made + layer.experts.down_proj_bias[i] if use_bias else made)
    assert reached > 20
    torch.testing.assert_close(layer(states).flatten(0, 1), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("padded", [False, True])
def test_the_balance_of_a_layer_is_that_of_transformers(padded):
    logits = [torch.randn(12, 5, requires_grad=True) for _ in range(3)]
    mask = (torch.arange(6) < torch.tensor([[6], [4]])).long() if padded else None
    found = load_balancing_loss(tuple(logits), 2, mask)
    wanted = sum(load_balancing_loss_func((layer,), 5, 2, mask) for layer in logits) / 3
    torch.testing.assert_close(found, wanted)
    for one, other in zip(torch.autograd.grad(found, logits), torch.autograd.grad(wanted, logits)):
        torch.testing.assert_close(one, other)


def test_layers_are_balanced_each_and_not_one_by_another():
    one_sided = torch.zeros(8, 2)
    one_sided[:, 0] = 20.0
    assert load_balancing_loss((torch.eye(2).repeat(4, 1) * 20,), 1).item() == pytest.approx(1.0, abs=1e-4)
    assert load_balancing_loss((one_sided, -one_sided), 1).item() == pytest.approx(2.0, abs=1e-4)


def test_the_loss_of_training_has_the_balance_in_it_and_that_of_an_evaluation_has_not():
    model, ids = language_model(router_aux_loss_coef=0.5), token_ids(2, 12)
    scored, trained = model(ids, labels=ids), model.train()(ids, labels=ids)
    assert scored.aux_loss is scored.router_logits is None
    assert len(trained.router_logits) == 2
    assert trained.loss.item() == pytest.approx(scored.loss.item() + 0.5 * trained.aux_loss.item(), abs=1e-4)
    trained.loss.backward()
    with_balance = model.model.layers[0].mlp.router.weight.grad.clone()
    model.zero_grad()
    model.config.router_aux_loss_coef = 0.0
    model(ids, labels=ids).loss.backward()
    assert (model.model.layers[0].mlp.router.weight.grad - with_balance).abs().max() > 1e-4


def test_the_config_asks_for_scores_as_the_keyword_does():
    model, ids = language_model(router_aux_loss_coef=0.5), token_ids(2, 12)
    plain, asked = model(ids, labels=ids), model(ids, labels=ids, output_router_logits=True)
    model.config.output_router_logits = True
    for outputs in (model(ids, labels=ids), model(ids, labels=ids, output_router_logits=None)):
        assert outputs.loss == asked.loss == plain.loss + 0.5 * asked.aux_loss
        assert len(outputs.router_logits) == len(model.model(ids).router_logits) == 2
    assert model(ids, labels=ids, output_router_logits=False).loss == plain.loss
    with pytest.raises(ValueError, match="output_router_logits=True has no meaning with mlp_type='mlp'"):
        hf_gpt.GPTConfig(output_router_logits=True)


def test_a_step_in_parts_is_balanced_as_much_as_one_at_once():
    model, ids = language_model(router_aux_loss_coef=0.5).train(), token_ids(4, 12)
    labels = ids.clone()
    labels[0, :8] = -100
    count = (labels[:, 1:] != -100).sum()
    parts = [model(ids, labels=labels, num_items_in_batch=count).loss for ids, labels in zip(ids.split(2), labels.split(2))]
    balance = [model(part).aux_loss for part in ids.split(2)]
    model.config.router_aux_loss_coef = 0.0
    plain = model(ids, labels=labels).loss
    weight = (labels[:2, 1:] != -100).sum() / count
    wanted = plain + 0.5 * (weight * balance[0] + (1 - weight) * balance[1])
    torch.testing.assert_close(sum(parts), wanted, rtol=0, atol=1e-4)


def test_a_router_with_an_adapter_is_balanced_by_its_own_scores():
    config = LoraConfig(r=2, target_modules=["router"], init_lora_weights=False)
    adapted = get_peft_model(language_model(router_aux_loss_coef=0.5), config).train()
    scores = []
    for block in adapted.get_base_model().model.layers:
        block.mlp.router.register_forward_hook(lambda module, inputs, output: scores.append(output))
    outputs = adapted(input_ids=token_ids(2, 12), labels=token_ids(2, 12))
    assert len(scores) == len(outputs.router_logits) == 2
    assert all(map(torch.equal, outputs.router_logits, scores))
    outputs.aux_loss.backward()
    assert all(parameter.grad.any() for name, parameter in adapted.named_parameters() if "lora" in name)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def saved(model):
    torch.save(model, file := io.BytesIO())
    file.seek(0)
    return torch.load(file, weights_only=False)


def with_a_copied_layer(model):
    model = copy.deepcopy(model)
    model.model.layers[0] = copy.deepcopy(model.model.layers[0])
    return model


@pytest.mark.parametrize("made", [pickled, saved, copy.deepcopy, with_a_copied_layer])
def test_a_copy_records_what_the_model_does(made):
    model, ids = language_model(router_aux_loss_coef=0.5), token_ids(2, 12)
    model.set_attn_implementation("eager")
    found = []
    for each in (model, made(model), made(made(model))):
        found.append(each(ids, labels=ids, output_router_logits=True, output_hidden_states=True, output_attentions=True))
    for outputs in found[1:]:
        assert outputs.loss == found[0].loss
        for name in ("router_logits", "hidden_states", "attentions"):
            assert len(outputs[name]) == len(found[0][name]) >= 2
            assert all(map(torch.equal, outputs[name], found[0][name]))


def test_checkpointing_that_would_lose_the_balance_is_refused():
    model, ids = language_model().train(), token_ids(2, 12)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(ValueError, match=r"router_aux_loss_coef=0.01.*use_reentrant=False"):
        model(ids, labels=ids)
