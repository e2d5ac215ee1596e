"""What a language model is trained for: the next token, or a token that was left out.

A recipe names one of `OBJECTIVES`; which model is built, what a batch is, how it is scored and what it writes follow from it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import torch
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from ..data.encoding import opening
from ..errors import InputError
from ..evaluation.perplexity import LanguageModelScore, evaluate_language_model, evaluate_masked_language_model
from ..inference.writing import id_inputs, prompt_ids


# Devlin et al. 2019, section 3.1: of the tokens that are to be predicted, 80 % are masked, 10 % are random ones, 10 % stay.
MASKED_SHARE = 0.15
# Of the prompts that are taken where a recipe gives none: how many, and of how many tokens.
PROMPTS, PROMPT_TOKENS = 3, 12


@dataclass(frozen=True)
class Objective:
    """One way to learn from packed blocks.

    Attributes:
        auto_class: Name of the auto class of the model.
        record_kind: The kind of the record of a run.
        is_causal: What `GPTConfig.is_causal` has to be.
        collator: Makes the function that turns blocks into a batch, from the tokenizer.
        evaluate: Model, tokenizer, blocks, bytes per token, batch size and bf16 to a score.
        sample: The text of a trained model: a prompt, continued by this many tokens or filled in.
    """

    auto_class: str
    record_kind: str
    is_causal: bool
    collator: Callable[[PreTrainedTokenizerBase], Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]]
    evaluate: Callable[[PreTrainedModel, PreTrainedTokenizerBase, Dataset, float, int, bool], LanguageModelScore]
    sample: Callable[[Any, PreTrainedTokenizerBase, str, int], str]


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return a batch of packed blocks; the labels are the ids themselves, which the model shifts."""
    input_ids = torch.from_numpy(np.stack([row["input_ids"] for row in rows])).long()
    return {"input_ids": input_ids, "labels": input_ids}


def mask_and_collate(mask: DataCollatorForLanguageModeling, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return a batch of packed blocks with tokens left out; the labels are their ids, -100 elsewhere."""
    # The end of a text is a token to be predicted as any other: it is a part of what a text costs.
    no_special = [0] * len(rows[0]["input_ids"])
    batch = mask([{"input_ids": row["input_ids"], "special_tokens_mask": no_special} for row in rows])
    return {"input_ids": batch["input_ids"], "labels": batch["labels"]}


def masked_collator(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]:
    return partial(mask_and_collate, DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED_SHARE))


def evaluate_causal(model, tokenizer, blocks, bytes_per_token, batch_size, bf16) -> LanguageModelScore:
    return evaluate_language_model(model, blocks, bytes_per_token, batch_size, bf16)


def evaluate_masked(model, tokenizer, blocks, bytes_per_token, batch_size, bf16) -> LanguageModelScore:
    return evaluate_masked_language_model(model, blocks, bytes_per_token, tokenizer.mask_token_id, batch_size, bf16)


def go_on(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, length: int) -> str:
    """Return the prompt and its continuation, as far as the model has positions."""
    begun = prompt_ids(tokenizer, prompt)
    length = max(min(length, model.config.max_position_embeddings - len(begun)), 1)
    output = model.generate(**id_inputs(model, begun, 0), max_new_tokens=length)
    return str(tokenizer.decode(output[0], skip_special_tokens=True))


@torch.inference_mode()
def fill_in(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, length: int) -> str:
    """Return the prompt with the likeliest token at each mask."""
    ids = tokenizer(prompt, return_tensors="pt").to(model.device)["input_ids"]
    likeliest = model(input_ids=ids).logits.argmax(-1)
    filled = torch.where(ids == tokenizer.mask_token_id, likeliest, ids)
    return str(tokenizer.decode(filled[0], skip_special_tokens=True))


OBJECTIVES = {
    "causal": Objective(
        auto_class="AutoModelForCausalLM",
        record_kind="train",
        is_causal=True,
        collator=lambda tokenizer: collate,
        evaluate=evaluate_causal,
        sample=go_on,
    ),
    "masked": Objective(
        auto_class="AutoModelForMaskedLM",
        record_kind="train-masked",
        is_causal=False,
        collator=masked_collator,
        evaluate=evaluate_masked,
        sample=fill_in,
    ),
}


def check_objective(name: str, ngram_orders: list[int], sample_prompts: list[str], mask: str | None) -> None:
    """Raise `InputError` when a recipe asks for what its objective has not.

    Args:
        name: A key of `OBJECTIVES`.
        mask: The mask token of the tokenizer, if it has one.
    """
    if OBJECTIVES[name].is_causal:
        return
    if ngram_orders:
        raise InputError(
            f"ngram_orders={ngram_orders}: objective={name!r} is scored with the tokens on both sides known, an n-gram model is not, "
            "and the two cannot be compared: leave ngram_orders out."
        )
    for prompt in sample_prompts:
        if str(mask) not in prompt:
            raise InputError(
                f"sample_prompts: objective={name!r} fills in {mask}, which is not in {prompt!r}: put it where a token is left out."
            )


def set_generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """How `generate` continues a text when it is told nothing else."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=type(model.config)().use_cache,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        max_new_tokens=128,
    )


def held_out_beginnings(blocks: Any, tokenizer: PreTrainedTokenizerBase, is_causal: bool) -> list[str]:
    """Return where held-out texts begin, as prompts; of a masked model, with a token left out.

    Args:
        blocks: Packed blocks of the validation split.
    """
    prompts: list[str] = []
    end = tokenizer.eos_token_id
    begin = opening(tokenizer)
    for place in range(0, len(blocks), max(len(blocks) // PROMPTS, 1)):
        ids = list(blocks[place]["input_ids"])
        if end in ids[:-PROMPT_TOKENS]:
            ids = ids[ids.index(end) + 1 :]
        elif place:
            # The middle of a text that is longer than blocks: where a line of it begins.
            _, newline, rest = str(tokenizer.decode(ids)).partition("\n")
            ids = tokenizer(rest, add_special_tokens=False)["input_ids"] if newline and rest.strip() else ids
        # What opens each text is no part of what a person would write.
        ids = [token for token in ids if token not in begin]
        prompt = [token for token in ids[:PROMPT_TOKENS] if token != end]
        if not is_causal:
            prompt[len(prompt) // 2 : len(prompt) // 2 + 1] = [tokenizer.mask_token_id]
        # A token of bytes may be a part of a character.
        text = str(tokenizer.decode(prompt)).strip().strip("\ufffd")
        if is_causal:
            text = _whole_words(text, str(tokenizer.decode(ids[: PROMPT_TOKENS + 1])).lstrip()[len(text) :])
        if text and text not in prompts:
            prompts.append(text)
    return prompts[:PROMPTS]


def _whole_words(text: str, rest: str) -> str:
    """Return the text up to its last whole word, where it is cut within one; as it is in a script that has no spaces between words."""
    is_cut = text[-1:].isalnum() and rest[:1].isalnum() and east_asian_width(text[-1]) not in "WF"
    words = text.rsplit(maxsplit=1)
    return words[0] if is_cut and len(words) == 2 else text


def samples_on_the_way(
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    length: int,
    seed: int,
    model: PreTrainedModel,
) -> list[dict[str, Any]]:
    """Return what `write_samples` says of a model that is still trained, and is left as it was."""
    if not model.can_generate():
        return write_samples(objective, model, tokenizer, prompts, length, seed)
    before = model.generation_config
    set_generation(model, tokenizer)
    try:
        return write_samples(objective, model, tokenizer, prompts, length, seed)
    finally:
        model.generation_config = before


def write_samples(
    objective: Objective,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    length: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return what the model makes of each prompt, with the seed that brings it back."""
    samples = []
    model.eval()
    with any_algorithm():
        for prompt in prompts:
            set_seed(seed)
            samples.append({"prompt": prompt, "text": objective.sample(model, tokenizer, prompt, length), "seed": seed})
    return samples


@contextmanager
def any_algorithm() -> Iterator[None]:
    """Lift `full_determinism`, which is of what is learned: on a GPU it refuses the sums of probabilities that `top_p` needs."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
