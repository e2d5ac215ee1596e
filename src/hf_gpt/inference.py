"""What is done with a finished model: score it on a text, go on from a prompt."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TextStreamer, set_seed
from transformers.utils import cached_file

from . import data as text_data
from . import hardware
from .arguments import RECIPE_FILE, DataArguments
from .boundary import refused
from .errors import InputError
from .evaluation import LanguageModelScore, evaluate_language_model
from .inspection import check_settings, prompt_inputs, sampling
from .limits import check_ranges
from .loading import load_config, load_pretrained
from .names import check_name
from .packages import PACKAGES
from .sources import load_rows, text_rows, text_source
from .strict_yaml import read_yaml
from .text_files import source_of
from .tokenizer import load_tokenizer


def load_model(name: str, as_saved: bool = False) -> tuple[Any, PreTrainedTokenizerBase]:
    """A causal language model of any architecture with its tokenizer.

    Args:
        as_saved: Whether its weights keep their type even where this machine emulates it: to be written, not run.

    Raises:
        InputError: there is none by that name, or it is a masked one.
    """
    config = load_config(name)
    tokenizer = load_tokenizer(name)
    model = load_pretrained(AutoModelForCausalLM, name, config=config)
    if getattr(model.config, "is_causal", True) is False:
        raise InputError(
            f"model={name!r} is a masked language model, which neither goes on from a text nor has a probability of one: use "
            "transformers.pipeline('fill-mask', ...), or fine-tune it."
        )
    return (model if as_saved else hardware.in_native_type(model)).eval(), tokenizer


def evaluate_folder(
    name: str, dataset: str, block_size: int, text_column: str, batch_size: int
) -> tuple[LanguageModelScore, list[str]]:
    """Scores a model on a file or folder of text, a Hub dataset, or the test split of a package.

    Returns:
        The score, and what has to be known of it, a line each.

    Raises:
        InputError: the model or the text cannot be read, or the text is shorter than a block.
    """
    model, tokenizer = load_model(name)
    path = Path(dataset)
    is_here = path.is_file() or (path.is_dir() and dataset not in PACKAGES)
    if not is_here and dataset not in PACKAGES:
        check_name(dataset, "dataset")
    given: dict[str, Any] = source_of(path) if is_here else {"path": dataset}
    source = text_source({**given, "text_column": text_column})
    rows = load_rows(source)
    notes = []
    if source.path in PACKAGES:
        shares = held_out_shares(name)
        notes.append(f"on the test split of {dataset} at validation_share={shares[0]} and test_share={shares[1]}")
        texts = text_data.split_rows(rows, source.text_column, *shares).parts["test"]
    else:
        texts = text_data.without_empty(text_rows(rows, source.text_column))
    if text_data.is_lossy(texts, tokenizer):
        notes.append(f"mind that {text_data.LOSSY}")
    documents = text_data.tokenize(texts, tokenizer)
    bytes_per_token = text_data.byte_count(texts) / text_data.token_count(documents)
    blocks = text_data.pack(documents, block_size)
    text_data.check_token_ids(blocks, model.config.vocab_size)
    return evaluate_language_model(model, blocks, bytes_per_token, batch_size), notes


def held_out_shares(name: str) -> tuple[float, float]:
    """The shares that the run of a model held out, as its recipe says; those of a recipe that says nothing if it has none."""
    # A model on the Hub has its recipe there, too.
    file = cached_file(
        name, RECIPE_FILE, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    with refused(f"{file} cannot be read"):
        values = read_yaml(Path(file).read_text(encoding="utf-8"), str(file)) if file else {}
    if not isinstance(values, dict):
        raise InputError(f"{file} holds a {type(values).__name__}: a recipe is a mapping.")
    check_ranges({key: value for key, value in values.items() if key in ("validation_share", "test_share")})
    return values.get("validation_share", DataArguments.validation_share), values.get("test_share", DataArguments.test_share)


def generate_text(name: str, prompt: str, max_new_tokens: int, temperature: float, top_p: float, seed: int) -> None:
    """Prints a prompt and what a model goes on with, as it comes.

    Raises:
        InputError: the model cannot be loaded, a setting is none that it may be, or prompt and continuation are more than the model's
            positions.
    """
    check_settings(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    model, tokenizer = load_model(name)
    inputs = prompt_inputs(model, tokenizer, prompt, max_new_tokens)
    set_seed(seed)
    with refused(f"model={name!r} cannot generate with its generation_config.json"):
        model.generate(
            **inputs,
            **sampling(temperature, top_p),
            max_new_tokens=max_new_tokens,
            streamer=TextStreamer(tokenizer, skip_special_tokens=True),
        )
