"""Several documents in one row do not see each other, whoever calls and however."""

import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import AutoModel, AutoModelForCausalLM

from hf_gpt.modeling import modeling_hf_gpt
from hf_gpt.modeling.layers_hf_gpt import CACHE_FIELD


LENGTHS = (5, 3, 7)


POSITIONS = torch.cat([torch.arange(length) for length in LENGTHS])[None]


def trunk(architecture, attention="sdpa", **overrides):
    model = randomize(AutoModel.from_config(tiny_config(architecture, **overrides)))
    model.set_attn_implementation(attention)
    return model


def token_ids(rows=2):
    return torch.randint(2, 96, (rows, sum(LENGTHS)), generator=torch.Generator().manual_seed(0))


def read_alone(model, ids):
    return torch.cat([model(part).last_hidden_state for part in ids.split(LENGTHS, dim=1)], dim=1)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "call", [{}, {"use_cache": True}, {"use_cache": False}, {"mask": True}, {"mask": True, "use_cache": True}]
)
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "encoder"])
def test_documents_in_one_row_are_read_as_if_alone(architecture, causal, attention, call):
    model, ids, call = trunk(architecture, attention, is_causal=causal), token_ids(), dict(call)
    if call.pop("mask", False):
        call["attention_mask"] = torch.ones_like(ids)
    packed = model(ids, position_ids=POSITIONS.expand(2, -1), **call).last_hidden_state
    torch.testing.assert_close(packed, read_alone(model, ids), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "causal", [pytest.param(True, id="causal"), pytest.param(False, id="encoder", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("has_mask", [False, True], ids=["", "mask of ones"])
def test_documents_are_kept_apart_inside_a_graph(has_mask, causal, attention):
    """While a graph is traced nothing can be decided by the values in it, so the mask has to hold for any."""
    model, ids = trunk("gpt3", attention, is_causal=causal), token_ids()
    masks = {"attention_mask": torch.ones_like(ids)} if has_mask else {}
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    packed = compiled(ids, position_ids=POSITIONS, **masks).last_hidden_state
    torch.testing.assert_close(packed, read_alone(model, ids), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("compiled", [False, True], ids=["", "compiled"])
def test_a_padded_row_beside_a_packed_one(architecture, compiled):
    model, ids = trunk(architecture), token_ids()
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    positions = torch.cat((POSITIONS, (mask[1:].cumsum(-1) - 1).clamp(min=0)))
    torch.compiler.reset()
    run = torch.compile(model, fullgraph=True, backend="aot_eager") if compiled else model
    packed, padded = run(ids, attention_mask=mask, position_ids=positions).last_hidden_state
    torch.testing.assert_close(packed, read_alone(model, ids[:1])[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(padded[4:], model(ids[1:, 4:]).last_hidden_state[0], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("has_mask", [False, True], ids=["", "mask of ones"])
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "encoder"])
def test_positions_that_jump_forward_are_one_document(causal, has_mask):
    """Only the last token moves, so that only its own vector changes, and it still sees all others."""
    model, ids = trunk("gpt2", "eager", is_causal=causal), token_ids(1)[:, :4]
    masks = {"attention_mask": torch.ones_like(ids)} if has_mask else {}
    outputs = model(ids, position_ids=torch.tensor([[0, 1, 2, 40]]), output_attentions=True, **masks)
    assert all((weights[..., -1, :] > 0).all() for weights in outputs.attentions)
    if causal:
        torch.testing.assert_close(outputs.last_hidden_state[:, :3], model(ids[:, :3]).last_hidden_state, rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_comes_after_a_cache_is_not_another_document():
    model, ids = trunk("gpt2"), token_ids(1)
    cache = model(ids[:, :8]).past_key_values if CACHE_FIELD == "past_key_values" else model(ids[:, :8]).cache
    after = model(ids[:, 8:], position_ids=torch.arange(8, 15)[None], **{CACHE_FIELD: cache}).last_hidden_state
    torch.testing.assert_close(after, model(ids).last_hidden_state[:, 8:], rtol=0, atol=1e-5)


class MaskWasBuiltError(Exception):
    pass


@pytest.mark.parametrize(("architecture", "length", "builds"), [("modern", 8, False), ("gpt3", 4, False), ("gpt3", 8, True)])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_no_mask_is_built_where_the_kernel_needs_none(architecture, length, builds, attention, monkeypatch):
    """Inside a compiled graph the builder of transformers makes one before torch 2.14, and the kernel loses its skip."""
    model = trunk(architecture, attention).train()

    def refuse(*arguments, **named):
        raise MaskWasBuiltError

    monkeypatch.setattr(modeling_hf_gpt, "MASKS", dict.fromkeys(modeling_hf_gpt.MASKS, refuse))
    ids = token_ids()[:, :length]
    if builds or attention == "eager":
        with pytest.raises(MaskWasBuiltError):
            model(ids)
    else:
        model(ids)


def test_padding_is_not_mistaken_for_packing():
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("gpt2")))
    ids = torch.randint(2, 96, (1, 8))
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    given = model(ids, attention_mask=mask, position_ids=positions).logits[:, 2:]
    torch.testing.assert_close(given, model(ids[:, 2:]).logits, rtol=0, atol=1e-5)
