"""Logits, losses and gradients equal those of the stock architectures, weights carried over by the real converter."""

import pytest
import torch
from tests.helpers.parity_references import CONFIGS, padded_mask, positions_of, random_ids, reference, to_our_names

from hf_gpt import import_checkpoint


TOLERANCE = 1e-5
SIDES = ("none", "left", "right")
CAUSAL = sorted(CONFIGS)
ROTARY = [name for name in CAUSAL if name.startswith(("llama", "qwen3"))]


def pair(name, folder, implementation, **changes):
    theirs = reference(name, **changes)
    theirs.save_pretrained(folder)
    ours = import_checkpoint(folder)
    ours.set_attn_implementation(implementation)
    return theirs, ours


def difference_of_logits(theirs, ours, side):
    ids, mask = random_ids(), padded_mask(side)
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask, position_ids=positions_of(mask)).logits
        # No positions: ours have to come from the mask.
        found = ours(ids, attention_mask=mask).logits
    assert expected.std() > 0.5
    return (expected - found)[mask.bool()].abs().max().item()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CAUSAL)
def test_logits(name, implementation, side, tmp_path):
    assert difference_of_logits(*pair(name, tmp_path, implementation), side) <= TOLERANCE


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ROTARY)
def test_logits_of_bidirectional_models(name, implementation, side, tmp_path):
    theirs, ours = pair(name, tmp_path, implementation, is_causal=False)
    assert ours.config.is_causal is False
    assert difference_of_logits(theirs, ours, side) <= TOLERANCE


@pytest.mark.parametrize("fused_loss", [True, False])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CAUSAL)
def test_gradients(name, implementation, fused_loss, tmp_path):
    theirs, ours = pair(name, tmp_path, implementation)
    ours.config.fused_loss = fused_loss
    ids, mask = random_ids(), padded_mask("left")
    # A row's first token is predicted from padding, which sees nothing: what comes of that is each implementation's own.
    labels = ids.masked_fill(mask.cumsum(-1) <= 1, -100)
    expected = theirs.train()(ids, attention_mask=mask, position_ids=positions_of(mask), labels=labels)
    found = ours.train()(ids, attention_mask=mask, labels=labels)
    assert (found.logits is None) == fused_loss
    assert abs(expected.loss.item() - found.loss.item()) <= TOLERANCE
    expected.loss.backward()
    found.loss.backward()

    parameters = dict(ours.named_parameters())
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    if name == "gpt_neo":
        compare = gpt_neo_gradients(theirs, gradients, parameters)
    else:
        compare = to_our_names(theirs, gradients, parameters)
        assert set(compare) == set(parameters)
    for key, gradient in compare.items():
        assert (gradient - parameters[key].grad).abs().max() <= TOLERANCE, key
    assert max(gradient.abs().max() for gradient in compare.values()) > 0.01


def gpt_neo_gradients(theirs, gradients, parameters):
    """Our queries are sqrt(d) times GPT-Neo's, so their gradients are that much smaller; its three biases do not exist."""
    no_bias = [key for key in parameters if key.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias"))]
    compare = to_our_names(theirs, gradients, {key: value for key, value in parameters.items() if key not in no_bias})
    head_dim = theirs.config.hidden_size // theirs.config.num_heads
    return {key: value / head_dim**0.5 if "q_proj" in key else value for key, value in compare.items()}


def test_gpt_neo_looks_back_as_far_as_we_do(tmp_path):
    """A window of 5 is the token itself and four before it: the token five back changes nothing, the one four back does."""
    theirs, ours = pair("gpt_neo", tmp_path, "eager", attention_layers=["local"] * 4, attention_types=[[["local"], 4]])
    assert ours.config.sliding_window == 5
    assert ours.config.layer_types == ["sliding_attention"] * 4
    reach = 4 * (5 - 1)
    ids = random_ids(batch=1, length=reach + 2)
    for back, moves in ((reach, True), (reach + 1, False)):
        other = ids.clone()
        other[0, -1 - back] = (other[0, -1 - back] + 1) % 61
        with torch.no_grad():
            for model in (theirs, ours):
                assert (not torch.equal(model(ids).logits[0, -1], model(other).logits[0, -1])) == moves
