"""Trains the byte-level BPE tokenizer of a run (Sennrich et al. 2016; on bytes, Radford et al. 2019, section 2.2)."""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..checks.boundary import UNUSABLE, read_object
from ..checks.names import check_name
from ..errors import InputError, reason_of


END_OF_TEXT = "<|endoftext|>"
# Not the end-of-text token: collators hide padding from the loss, and the end of a text has to be learned.
PADDING = "<|pad|>"
# Stands where a token was left out, for masked models alone.
MASK = "<|mask|>"
SMALLEST_VOCABULARY = 256 + 2


def train_tokenizer(texts: Iterator[list[str]], vocab_size: int, model_max_length: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose vocabulary is learned from batches of texts; every byte sequence can be encoded.

    Args:
        texts: Batches of texts.
        vocab_size (`int`): Number of entries, the 256 bytes and two special tokens included.
        model_max_length (`int`): Longest sequence of the model that it is made for.

    Returns:
        `PreTrainedTokenizerFast`: with `<|endoftext|>` as beginning, end and unknown, and `<|pad|>` as padding.

    Raises:
        InputError: `vocab_size` has no room for the bytes.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise InputError(
            f"tokenizer_vocab_size={vocab_size} is less than {SMALLEST_VOCABULARY}: the bytes alone need that many."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )


def with_mask(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a mask token, one entry more if it had none: how it encodes a text stays the same."""
    if tokenizer.mask_token is None:
        tokenizer.add_special_tokens({"mask_token": MASK})
    return tokenizer


def with_ends(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a token that closes a text, one entry more if it had none (GPT-1), and one that fills up short rows.

    Where none is for that alone (GPT-2), it is the former: attention masks hide it there.
    """
    if tokenizer.eos_token is None:
        tokenizer.add_special_tokens({"eos_token": END_OF_TEXT})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder or of a repository on the Hub.

    Raises:
        InputError: there is none.
    """
    check_name(name_or_path, "tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
        # A setting of another type than it should be shows in use only.
        tokenizer.decode(tokenizer("a")["input_ids"])
        return tokenizer
    except Exception as error:
        # What tokenizers raises of a broken file has no type of its own: it is an `Exception` and nothing more.
        if not isinstance(error, UNUSABLE) and type(error) is not Exception:
            raise
        kind = "folder" if Path(name_or_path).is_dir() else "name"
        reason = _broken_file(Path(name_or_path)) or reason_of(error)
        raise InputError(f"tokenizer={name_or_path!r}: no tokenizer can be loaded from that {kind}: {reason}") from error


def _broken_file(folder: Path) -> str | None:
    """Return which file of a folder is not what its name says; `None` where none is, or that folder is none."""
    path, hint = folder / "tokenizer.json", "copy or download it again."
    try:
        for name in (path.name, "tokenizer_config.json"):
            if (folder / name).is_file():
                read_object(folder / name, hint)
        if path.is_file():
            Tokenizer.from_file(str(path))
    except (InputError, OSError) as error:
        return str(error)
    except Exception as error:
        # See `load_tokenizer`.
        if not isinstance(error, UNUSABLE) and type(error) is not Exception:
            raise
        return f"{path} is no tokenizer ({error}): {hint}"
    return None


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many entries a table needs for each id to have one: ids may have gaps."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Raise `InputError` when a tokenizer can produce ids that a model of `vocab_size` entries does not have."""
    needed = vocabulary_size(tokenizer)
    if needed > vocab_size:
        raise InputError(
            f"the tokenizer has {needed} entries, but the model's vocab_size={vocab_size}: set vocab_size under config: to "
            f"{needed} or leave it out, or train a smaller tokenizer with tokenizer_vocab_size={vocab_size}."
        )
