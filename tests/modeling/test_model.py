"""The model itself: the formulas, what it refuses, what it starts from, and that it learns."""

import math

import numpy as np
import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import AutoModelForCausalLM
from transformers.loss.loss_utils import ForCausalLMLoss

import hf_gpt
from hf_gpt.modeling.layers_hf_gpt import CACHE_FIELD
from hf_gpt.modeling.loss_hf_gpt import causal_lm_loss


def test_no_position_sees_a_later_one(architecture):
    model = randomize(AutoModelForCausalLM.from_config(tiny_config(architecture)))
    ids = torch.randint(2, 96, (1, 12))
    changed = ids.clone()
    changed[0, 7] = (ids[0, 7] - 1) % 94 + 2
    before, after = model(ids).logits, model(changed).logits
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-6)
    assert (before[:, 7:] - after[:, 7:]).abs().max() > 1e-3


@pytest.mark.parametrize("fused", [False, True])
def test_a_training_pass_needs_no_numbers(fused):
    # What counts FLOPs or plans memory makes one on the meta device, which autocast does not know.
    with torch.device("meta"):
        model, ids = hf_gpt.GPTForCausalLM(tiny_config("modern", fused_loss=fused)).train(), torch.ones(2, 9, dtype=torch.long)
    model(ids, labels=ids).loss.backward()
    assert all(parameter.grad.shape == parameter.shape for parameter in model.parameters())


def test_a_sliding_layer_sees_exactly_its_window():
    config = tiny_config("gpt3", num_hidden_layers=1, layer_types=["sliding_attention"], sliding_window=4)
    model = randomize(hf_gpt.GPTModel(config))
    ids = torch.randint(2, 96, (1, 10))
    reached = []
    for position in range(10):
        changed = ids.clone()
        changed[0, position] = (ids[0, position] - 1) % 94 + 2
        difference = model(ids).last_hidden_state[0, 8] - model(changed).last_hidden_state[0, 8]
        if difference.abs().max() > 1e-5:
            reached.append(position)
    assert reached == [5, 6, 7, 8]


def test_attention_is_the_formula_of_the_paper():
    """softmax(Q K^T / sqrt(d_k)) V with a causal mask, one head after the other, in numpy."""
    config = tiny_config("gpt2", num_hidden_layers=1)
    config._attn_implementation = "eager"
    attention = randomize(hf_gpt.GPTModel(config)).layers[0].self_attn
    states = np.random.default_rng(0).normal(size=(7, 32)).astype(np.float32)
    weights = {name: parameter.detach().numpy() for name, parameter in attention.named_parameters()}
    query, key, value = (states @ weights[f"{n}_proj.weight"].T + weights[f"{n}_proj.bias"] for n in "qkv")
    heads = []
    for head in range(4):
        columns = slice(head * 8, head * 8 + 8)
        scores = query[:, columns] @ key[:, columns].T / np.sqrt(8)
        scores = np.where(np.tril(np.ones((7, 7))), scores, -np.inf)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(powers / powers.sum(-1, keepdims=True) @ value[:, columns])
    expected = np.concatenate(heads, -1) @ weights["o_proj.weight"].T + weights["o_proj.bias"]
    mask = torch.full((7, 7), torch.finfo(torch.float32).min).triu(1)[None, None]
    actual = attention(torch.tensor(states)[None], attention_mask=mask)[0][0].detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("weighting", ["mean", "items"])
@pytest.mark.parametrize("length", [9, 700])
def test_the_loss_without_logits_is_the_loss_with_them(weighting, length):
    torch.manual_seed(0)
    hidden = torch.randn(2, length, 16, requires_grad=True)
    weight = torch.randn(50, 16, requires_grad=True)
    labels = torch.randint(0, 50, (2, length))
    labels[0, :4] = -100
    items = None if weighting == "mean" else torch.tensor(37)
    losses, gradients = [], []
    for loss in (
        causal_lm_loss(hidden, weight, labels, num_items_in_batch=items),
        ForCausalLMLoss(hidden @ weight.T, labels, 50, num_items_in_batch=items),
    ):
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss * 3, (hidden, weight)))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_step_of_training_makes_no_logits_on_demand_and_evaluation_does():
    model = AutoModelForCausalLM.from_config(tiny_config("modern"))
    ids = torch.randint(2, 96, (2, 8))
    assert model.train()(ids, labels=ids).logits.shape == (2, 8, 96)
    model.config.fused_loss = True
    trained = model(ids, labels=ids)
    assert trained.logits is None
    scored = model.eval()(ids, labels=ids)
    assert trained.loss.item() == pytest.approx(scored.loss.item(), abs=1e-5)
    assert scored.logits.shape == (2, 8, 96)


def test_residual_projections_start_as_the_config_says():
    for name, expected in (("none", 0.02), ("depth_scaled", 0.02 / 2), ("zero", 0.0)):
        config = tiny_config("gpt2", hidden_size=64, residual_init=name, num_hidden_layers=2)
        model = AutoModelForCausalLM.from_config(config)
        for block in model.model.layers:
            for projection in (block.self_attn.o_proj, block.mlp.down_proj):
                assert projection.weight.std().item() == pytest.approx(expected, rel=0.1)
            assert block.self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_token_embeddings_alone_start_from_a_standard_deviation_of_their_own():
    config = tiny_config("gpt2", hidden_size=64, tie_word_embeddings=False, embedding_initializer_range=1.0)
    model = AutoModelForCausalLM.from_config(config)
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(1.0, rel=0.1)
    for others in (model.lm_head.weight, model.model.embed_positions.weight, model.model.layers[0].self_attn.q_proj.weight):
        assert others.std().item() == pytest.approx(0.02, rel=0.1)
    with pytest.raises(ValueError, match="output matrix, too: set tie_word_embeddings=False"):
        tiny_config("gpt2", embedding_initializer_range=1.0)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([[5, 96]], "input_ids holds 96, but vocab_size=96"),
        ([[-1, 5]], "input_ids holds -1"),
        ([[2] * 65], "position_ids holds 64"),
    ],
)
def test_ids_and_positions_beyond_a_table_are_named(ids, told):
    model = hf_gpt.GPTModel(tiny_config("gpt2"))
    with pytest.raises(ValueError, match=told):
        model(torch.tensor(ids))


def test_neither_ids_nor_embeddings_is_an_error():
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        hf_gpt.GPTModel(tiny_config("gpt2"))()


def test_the_published_sizes():
    published = {
        "gpt1": 117e6,
        "gpt2": 124e6,
        "gpt2-medium": 355e6,
        "gpt2-large": 774e6,
        "gpt2-xl": 1558e6,
        "gpt3-125m": 125e6,
        "gpt3-350m": 356e6,
        "gpt3-760m": 760e6,
        "gpt3-1.3b": 1316e6,
        "gpt3-2.7b": 2652e6,
        "gpt3-6.7b": 6658e6,
        "gpt3-13b": 12937e6,
        "gpt3-175b": 174604e6,
        "gpt-oss-20b": 20.91e9,
        "gpt-oss-120b": 116.83e9,
    }
    for name, expected in published.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(hf_gpt.preset(name))
        # GPT-1's paper gives no count; 117M is the customary figure for 116.5M.
        assert model.num_parameters() == pytest.approx(expected, rel=0.005), name


def test_one_batch_is_learned_by_heart(architecture):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(architecture)).train()
    ids = torch.randint(2, 96, (4, 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.5


def first_loss(name: str, tied: bool) -> tuple[float, int]:
    """Of random tokens, and the size of the vocabulary; at the preset's full width, of few layers.

    Wider than 768, the vocabulary is 2,048, which is harder: a token's own logit weighs more among fewer. Of the heads and of the
    feed-forward layer a share is built, and what it adds to the residual stream is scaled up by the square root of the rest: both
    are sums of independent terms of one variance. The whole of a layer of 12,288 would be 7 gigabytes.
    """
    torch.manual_seed(0)
    full = hf_gpt.preset(name)
    share = full.num_attention_heads // 2 if full.hidden_size > 768 else 1
    overrides = {"num_hidden_layers": 2 if share == 1 else 1, "tie_word_embeddings": tied, "max_position_embeddings": 64}
    if share > 1:
        overrides |= {"vocab_size": 2048, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": full.head_dim}
        overrides |= {"intermediate_size": full.intermediate_size // share // 8 * 8}
    model = AutoModelForCausalLM.from_config(hf_gpt.preset(name, **overrides)).eval()
    for block in model.model.layers:
        last = block.mlp.experts.down_proj if full.mlp_type == "moe" else block.mlp.down_proj.weight
        for matrix in (block.self_attn.o_proj.weight, last):
            matrix.data.mul_(share**0.5)
    ids = torch.randint(model.config.vocab_size, (2, 48))
    with torch.no_grad():
        return model(ids, labels=ids).loss.item(), model.config.vocab_size


@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["tied", "untied"])
@pytest.mark.parametrize("name", hf_gpt.list_presets())
def test_every_preset_begins_by_knowing_nothing(name, tied):
    """Within half a nat of ln V: nobody's own embedding, nor the spread of wide layers, is a guess at the next token."""
    loss, vocab_size = first_loss(name, tied)
    assert loss == pytest.approx(math.log(vocab_size), abs=0.5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_padding_token_that_texts_contain_is_learned(tied):
    """With pad = eos, the commonest line of all, what follows an end of text is still learned from its own embedding."""
    torch.manual_seed(0)
    config = tiny_config("gpt2", pad_token_id=1, eos_token_id=1, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_config(config).train()
    before = model.model.embed_tokens.weight[1].detach().clone()
    assert before.any()
    ids = torch.tensor([[1, 7, 8, 9]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (model.model.embed_tokens.weight[1] - before).abs().max() > 1e-3
    assert model(ids[:, :1]).logits[0, -1].softmax(-1)[7] > 0.9


def test_a_model_in_training_mode_goes_on_from_what_it_cached():
    """As a model that was just built is, and as stock models do."""
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("gpt2"))).train()
    ids = torch.randint(2, 96, (1, 12))
    first = model(ids[:, :6], use_cache=True)
    second = model(ids[:, 6:], **{CACHE_FIELD: getattr(first, CACHE_FIELD)})
    torch.testing.assert_close(second.logits, model(ids).logits[:, 6:], rtol=0, atol=1e-5)
