"""`generate` gives what forward passes over the whole text would: with every cache, padding and way of choosing tokens."""

import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import AutoModelForCausalLM, GenerationConfig


NEW_TOKENS = 12


@pytest.fixture
def model(architecture):
    # Longer than the window of gpt3's sliding layers, so that its cache has to forget.
    return randomize(AutoModelForCausalLM.from_config(tiny_config(architecture, eos_token_id=None)), std=0.3)


@pytest.fixture
def prompts():
    ids = torch.randint(2, 96, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 3, 6)):
        ids[row, :padding], mask[row, :padding] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def by_hand(model, prompt: torch.Tensor) -> torch.Tensor:
    """Greedy decoding of one row without padding, each token by a forward pass over everything before it."""
    ids = prompt[None]
    for _ in range(NEW_TOKENS):
        ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], -1)
    return ids[0, len(prompt) :]


def generate(model, prompts, **options):
    output = model.generate(**prompts, max_new_tokens=NEW_TOKENS, do_sample=False, **options)
    return output[:, prompts["input_ids"].shape[1] :]


def expected(model, prompts):
    rows = zip(prompts["input_ids"], prompts["attention_mask"].bool())
    return torch.stack([by_hand(model, ids[mask]) for ids, mask in rows])


@torch.inference_mode()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padded_rows_go_on_as_they_would_alone(model, prompts, attention):
    model.set_attn_implementation(attention)
    assert torch.equal(generate(model, prompts), expected(model, prompts))


@torch.inference_mode()
@pytest.mark.parametrize("cache", ["dynamic", "static", "none", *(["offloaded"] if torch.accelerator.is_available() else [])])
def test_every_cache_gives_the_same_tokens(model, prompts, cache):
    options = {"use_cache": False} if cache == "none" else {"cache_implementation": cache}
    options |= {"disable_compile": True} if cache == "static" else {}
    assert torch.equal(generate(model, prompts, **options), expected(model, prompts))


@torch.inference_mode()
def test_a_prompt_read_in_pieces(model, prompts):
    assert torch.equal(generate(model, prompts, prefill_chunk_size=4), expected(model, prompts))


@torch.inference_mode()
def test_an_assistant_changes_the_work_and_not_the_text(architecture, model, prompts):
    assistant = randomize(AutoModelForCausalLM.from_config(tiny_config(architecture, num_hidden_layers=1)), seed=3)
    one = {name: tensor[:1] for name, tensor in prompts.items()}
    wanted = expected(model, one)
    assert torch.equal(generate(model, one, assistant_model=assistant), wanted)
    assert torch.equal(generate(model, one, prompt_lookup_num_tokens=3), wanted)


@torch.inference_mode()
def test_the_first_layers_may_draft_what_all_of_them_check(model, prompts):
    """`assistant_early_exit` lowers the number of layers in the config for a while."""
    one = {name: tensor[:1] for name, tensor in prompts.items()}
    wanted = expected(model, one)
    assert torch.equal(generate(model, one, assistant_early_exit=1), wanted)
    assert torch.equal(generate(model, one), wanted)


@torch.inference_mode()
@pytest.mark.parametrize(("beams", "sample"), [(3, False), (1, True), (2, True)])
def test_beams_and_samples_do_not_depend_on_the_cache(model, prompts, beams, sample):
    options = GenerationConfig(num_beams=beams, do_sample=sample, max_new_tokens=NEW_TOKENS, pad_token_id=0)
    outputs = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        outputs.append(model.generate(**prompts, generation_config=options, use_cache=use_cache))
    assert torch.equal(*outputs)


@torch.inference_mode()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_decoding_step_by_step_gives_the_logits_of_one_pass(model, prompts, attention):
    model.set_attn_implementation(attention)
    ids, mask = prompts["input_ids"], prompts["attention_mask"]
    whole = model(**prompts, use_cache=False).logits
    # A prefill in two pieces, then token by token.
    outputs = model(ids[:, :4], attention_mask=mask[:, :4])
    steps = [outputs.logits]
    for first, last in ((4, 6), (6, 7), (7, 8), (8, 9)):
        outputs = model(ids[:, first:last], attention_mask=mask[:, :last], past_key_values=outputs["past_key_values"])
        steps.append(outputs.logits)
    kept = mask.bool()
    torch.testing.assert_close(torch.cat(steps, 1)[kept], whole[kept], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_rows_do_not_depend_on_their_padding(model, prompts):
    together = model(**prompts).logits
    for row, (ids, mask) in enumerate(zip(prompts["input_ids"], prompts["attention_mask"].bool())):
        alone = model(ids[mask][None]).logits[0]
        torch.testing.assert_close(together[row][mask], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt1", "gpt2", "gpt3"])
def test_beyond_the_position_table(architecture):
    model = AutoModelForCausalLM.from_config(tiny_config(architecture, eos_token_id=None)).eval()
    with pytest.raises(ValueError, match="position_ids holds 64, but max_position_embeddings=64"):
        model.generate(torch.full((1, 60), 5), max_new_tokens=10, do_sample=False)


@pytest.mark.parametrize("architecture", ["modern", "oss"])
def test_rotary_positions_go_beyond_their_training_length(architecture):
    model = AutoModelForCausalLM.from_config(tiny_config(architecture, eos_token_id=None)).eval()
    assert model.generate(torch.full((1, 60), 5), max_new_tokens=10, do_sample=False).shape == (1, 70)
