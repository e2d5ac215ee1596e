"""The neural n-gram model: the equation of its paper, how far it looks back, generation, and loading without the package."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.conftest import randomize
from transformers import AutoModelForCausalLM

import hf_gpt


def tiny(**fields):
    return hf_gpt.NNLMConfig(**{"vocab_size": 23, "context_size": 3, "embedding_size": 5, "hidden_size": 7, **fields})


@pytest.fixture(params=[True, False], ids=["direct", "hidden only"])
def model(request):
    return randomize(AutoModelForCausalLM.from_config(tiny(direct_connections=request.param)))


def test_it_is_the_equation_of_the_paper(model):
    """y = b + W x + U tanh(d + H x) (Bengio et al. 2003, equation 1), word by word in numpy."""
    ids = torch.tensor([[4, 9, 2, 17, 9]])
    found = model(ids).logits[0].detach().numpy()
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    for place in range(5):
        words = [int(ids[0, i]) if i >= 0 else None for i in range(place - 2, place + 1)]
        x = np.concatenate([np.zeros(5) if word is None else weights["embed_tokens.weight"][word] for word in words])
        y = weights["lm_head.bias"] + weights["lm_head.weight"] @ np.tanh(
            weights["hidden.bias"] + weights["hidden.weight"] @ x
        )
        if "direct.weight" in weights:
            y = y + weights["direct.weight"] @ x
        np.testing.assert_allclose(found[place], y, rtol=0, atol=1e-5)


def test_it_looks_back_at_its_context_and_no_further(model):
    ids = torch.randint(0, 23, (1, 9))
    reached = []
    for place in range(9):
        changed = ids.clone()
        changed[0, place] = (ids[0, place] + 1) % 23
        if not torch.equal(model(ids).logits[0, 6], model(changed).logits[0, 6]):
            reached.append(place)
    assert reached == [4, 5, 6]


def test_generation_is_a_forward_pass_a_word(model):
    ids = torch.tensor([[4, 9, 2, 17]])
    expected = ids
    for _ in range(6):
        expected = torch.cat([expected, model(expected).logits[:, -1:].argmax(-1)], -1)
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, **options), expected)
    padded, mask = torch.cat([torch.zeros(1, 2, dtype=torch.long), ids], 1), torch.tensor([[0, 0, 1, 1, 1, 1]])
    assert torch.equal(model.generate(padded, attention_mask=mask, **options)[:, 2:], expected)
    beams = model.generate(ids, num_beams=3, **options)
    assert beams.shape == expected.shape


@pytest.mark.parametrize("sizes", [{"new_num_tokens": 31}, {"pad_to_multiple_of": 8}, {"new_num_tokens": 20}], ids=str)
def test_a_vocabulary_of_another_size_leaves_the_words_that_stay_as_they_were(model, sizes, tmp_path):
    ids = torch.randint(0, 20, (2, 9))
    before = model(ids).logits
    model.lm_head.weight.requires_grad_(False)
    if model.direct is not None:
        model.direct.weight.requires_grad_(False)
    model.resize_token_embeddings(**sizes)
    size = sizes.get("new_num_tokens", 24)
    assert all(size in tensor.shape for name, tensor in model.named_parameters() if "hidden" not in name)
    assert not any(
        tensor.requires_grad for name, tensor in model.named_parameters() if name.startswith(("lm_head.w", "direct"))
    )
    model.save_pretrained(tmp_path)
    stays = min(size, 23)
    for resized in (model, AutoModelForCausalLM.from_pretrained(tmp_path)):
        after = resized(ids, labels=ids)
        assert after.logits.shape == (2, 9, size)
        assert after.loss.isfinite()
        torch.testing.assert_close(after.logits[..., :stays], before[..., :stays], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_it_is_saved_with_its_code(tmp_path):
    logits = []
    for direct in (False, True):
        model = randomize(AutoModelForCausalLM.from_config(tiny(direct_connections=direct)))
        model.save_pretrained(tmp_path / f"model-{direct:d}")
        logits.append(model(torch.arange(6)[None]).logits)
    torch.save(logits, tmp_path / "logits.pt")
    script = """
import sys
sys.modules["hf_gpt"] = None
import torch
from transformers import AutoModelForCausalLM
for number, logits in enumerate(torch.load("logits.pt", weights_only=True)):
    model = AutoModelForCausalLM.from_pretrained(f"model-{number}", trust_remote_code=True).eval()
    assert torch.equal(model(torch.arange(6)[None]).logits, logits)
"""
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, env=environment)


def test_a_size_below_one_is_named():
    with pytest.raises(ValueError, match="context_size=0"):
        tiny(context_size=0)
