"""Masked language models against a slow transcription of their score, what a batch of each objective is, and what is refused."""

from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from tests.conftest import randomize, tiny_config

import hf_gpt
from hf_gpt.data.rows import sample_rows
from hf_gpt.data.tokenizer import train_tokenizer, with_mask
from hf_gpt.errors import InputError
from hf_gpt.evaluation.perplexity import evaluate_masked_language_model
from hf_gpt.training.objectives import OBJECTIVES, PROMPT_TOKENS, check_objective, held_out_beginnings, write_samples


MASK_ID = 95


def blocks(rows=6, length=8):
    generator = torch.Generator().manual_seed(3)
    return Dataset.from_dict({"input_ids": torch.randint(2, MASK_ID, (rows, length), generator=generator).tolist()})


def test_the_pseudo_likelihood_equals_masking_one_token_after_another():
    model = randomize(hf_gpt.GPTForMaskedLM(tiny_config("modern", is_causal=False)))
    data = blocks()
    losses = []
    for ids in data["input_ids"]:
        for position in range(1, len(ids)):
            masked = torch.tensor([ids])
            masked[0, position] = MASK_ID
            losses.append(-model(masked).logits[0, position].log_softmax(-1)[ids[position]].item())
    # As many positions as there are beside the first, which a causal model does not score either.
    found = evaluate_masked_language_model(model, data, 3.0, MASK_ID, batch_size=4, positions_per_block=7)
    assert found.tokens == len(losses) == 6 * 7
    assert found.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(found.loss / 0.6931472 / 3.0, rel=1e-5)
    sampled = evaluate_masked_language_model(model, data, 3.0, MASK_ID, positions_per_block=2)
    assert sampled.tokens == 12
    assert sampled == evaluate_masked_language_model(model, data, 3.0, MASK_ID, positions_per_block=2)


@pytest.fixture(scope="module")
def tokenizer():
    return with_mask(train_tokenizer(iter([["some words to learn from"] * 3]), 300, 64))


def test_a_mask_token_is_added_once_and_changes_no_other_token(tokenizer):
    plain = train_tokenizer(iter([["some words to learn from"] * 3]), 300, 64)
    assert len(tokenizer) == len(plain) + 1
    assert tokenizer("some words")["input_ids"] == plain("some words")["input_ids"]
    assert len(with_mask(tokenizer)) == len(tokenizer)


def test_a_masked_batch_is_15_percent_and_of_these_80_10_10(tokenizer):
    torch.manual_seed(0)
    ids = torch.full((200, 200), tokenizer("w")["input_ids"][0])
    ids[:, ::10] = tokenizer.eos_token_id
    batch = OBJECTIVES["masked"].collator(tokenizer)([{"input_ids": row} for row in ids.tolist()])
    assert set(batch) == {"input_ids", "labels"}
    is_asked = batch["labels"] != -100
    assert torch.equal(batch["labels"][is_asked], ids[is_asked])
    assert torch.equal(batch["input_ids"][~is_asked], ids[~is_asked])
    assert is_asked.float().mean().item() == pytest.approx(0.15, abs=0.01)
    # The end of a text is a token as any other.
    assert is_asked[:, ::10].float().mean().item() == pytest.approx(0.15, abs=0.02)
    given = batch["input_ids"][is_asked]
    assert (given == tokenizer.mask_token_id).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (given == ids[is_asked]).float().mean().item() == pytest.approx(0.1, abs=0.02)


def test_a_causal_batch_is_its_own_labels(tokenizer):
    batch = OBJECTIVES["causal"].collator(tokenizer)([{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5, 6]}])
    assert torch.equal(batch["input_ids"], batch["labels"])
    assert batch["labels"].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_what_a_masked_model_has_not_is_refused():
    check_objective("causal", [1, 3], ["no mask here"], None)
    check_objective("masked", [], ["a<|mask|>"], "<|mask|>")
    with pytest.raises(InputError, match=r"ngram_orders=\[1\].*leave ngram_orders out"):
        check_objective("masked", [1], [], "<|mask|>")
    with pytest.raises(InputError, match=r"fills in <\|mask\|>, which is not in 'a film'"):
        check_objective("masked", [], ["a film"], "<|mask|>")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("by magnificent phenomena", "by"),
        ("magnificent phenomena", "magnificent"),
        ("帝京篇十首一太宗皇帝秦川雄帝宅", "帝京篇十"),
        ("x=1;y=2;z=3;print(x+y+z)", "x=1;y=2;z=3;"),
    ],
)
def test_a_prompt_ends_with_a_whole_word(tokenizer, text, prompt):
    # A tokenizer of single bytes cuts anywhere.
    ids = tokenizer(text)["input_ids"]
    assert len(ids) > PROMPT_TOKENS
    block = Dataset.from_dict({"input_ids": [ids]})
    assert held_out_beginnings(block, tokenizer, is_causal=True) == [prompt]


def test_rows_are_drawn_with_the_seed():
    rows = Dataset.from_dict({"label": [0] * 50 + [1] * 50})
    drawn = sample_rows(rows, 40, 0)["label"]
    assert len(drawn) == 40
    assert 8 < sum(drawn) < 32
    assert sample_rows(rows, 40, 0)["label"] == drawn
    assert (
        sample_rows(rows.add_column("id", range(100)), 40, 1)["id"]
        != sample_rows(rows.add_column("id", range(100)), 40, 0)["id"]
    )
    assert sample_rows(rows, None, 0) is rows
    # A recipe's number of rows is for its own data; another's may have fewer.
    assert sample_rows(rows, 101, 0) is rows


def test_full_determinism_is_lifted_while_samples_are_written(tokenizer):
    # On a GPU, `top_p` has no deterministic algorithm.
    seen = []
    objective = replace(OBJECTIVES["causal"], sample=lambda *given: seen.append(torch.are_deterministic_algorithms_enabled()))
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        write_samples(objective, torch.nn.Identity(), tokenizer, ["A"], 4, seed=0)
        assert seen == [False]
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
