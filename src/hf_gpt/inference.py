"""What is done with a finished model: score it on a text, go on from a prompt."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TextStreamer, set_seed

from . import data as text_data
from .arguments import DataArguments
from .errors import InputError, reason_of
from .evaluation import LanguageModelScore, evaluate_language_model
from .inspection import prompt_inputs, sampling
from .packages import PACKAGES
from .sources import load_rows, text_source
from .tokenizer import load_tokenizer


def load_model(name: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """A causal language model of any architecture with its tokenizer.

    Raises:
        InputError: there is none by that name, or it is a masked one.
    """
    tokenizer = load_tokenizer(name)
    try:
        model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"model={name!r} cannot be loaded: {reason_of(error)}") from error
    if getattr(model.config, "is_causal", True) is False:
        raise InputError(
            f"model={name!r} is a masked language model, which neither goes on from a text nor has a probability of one: use "
            "transformers.pipeline('fill-mask', ...), or fine-tune it."
        )
    return model.eval(), tokenizer


def evaluate_folder(name: str, dataset: str, block_size: int, text_column: str, batch_size: int) -> LanguageModelScore:
    """Scores a model on a text file, a Hub dataset, or the test split of a package.

    Raises:
        InputError: the model or the text cannot be read, or the text is shorter than a block.
    """
    model, tokenizer = load_model(name)
    given: dict[str, Any] = {"path": dataset, "text_column": text_column}
    if Path(dataset).is_file():
        formats = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
        given = {"path": formats.get(Path(dataset).suffix, "text"), "files": dataset, "text_column": text_column}
    source = text_source(given)
    rows = load_rows(source)
    if source.path in PACKAGES:
        texts = text_data.split_rows(rows, source.text_column, DataArguments.validation_share, DataArguments.test_share)[
            "test"
        ]
    else:
        texts = rows if source.text_column == "text" else rows.rename_column(source.text_column, "text")
        texts = texts.select_columns("text")
    documents = text_data.tokenize(texts, tokenizer)
    bytes_per_token = text_data.byte_count(texts) / text_data.token_count(documents)
    blocks = text_data.pack(documents, block_size)
    text_data.check_token_ids(blocks, model.config.vocab_size)
    return evaluate_language_model(model, blocks, bytes_per_token, batch_size)


def generate_text(name: str, prompt: str, max_new_tokens: int, temperature: float, top_p: float, seed: int) -> None:
    """Prints a prompt and what a model goes on with, as it comes.

    Raises:
        InputError: the model cannot be loaded, or prompt and continuation are more than its positions.
    """
    model, tokenizer = load_model(name)
    inputs = prompt_inputs(model, tokenizer, prompt, max_new_tokens)
    set_seed(seed)
    model.generate(
        **inputs,
        **sampling(temperature, top_p),
        max_new_tokens=max_new_tokens,
        streamer=TextStreamer(tokenizer, skip_special_tokens=True),
    )
