"""`hf-gpt train my.txt`: what is assumed for somebody's own text, and that it can be said otherwise."""

import gzip
import json
import os
import socket
from pathlib import Path

import pytest

from hf_gpt.checks.places import expand_home
from hf_gpt.cli import at_home
from hf_gpt.data.sources import folder_lines
from hf_gpt.errors import InputError
from hf_gpt.recipe import own_text
from hf_gpt.recipe.parser import load_recipe


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_of(name, *overrides):
    assert own_text.is_own_text(name)
    return own_text.recipe_of_text(name, list(overrides))


def test_a_file_gets_the_quickstart_without_its_prompts(here):
    (here / "my.txt").write_text("A line.\n" * 100_000)
    recipe = recipe_of("my.txt")
    wanted = {key: value for key, value in load_recipe("pretrain/quickstart").values.items() if key != "sample_prompts"}
    dataset = {"path": "text", "files": "my.txt", "sample_by": "document"}
    assert recipe.values == {**wanted, "dataset": dataset, "output_dir": "runs/my"}
    line = recipe.notices[0]
    for said in ("my.txt is read as plain text", "sample_by: document", "pretrain/quickstart", "runs/my", "key=value"):
        assert said in line


def test_a_small_text_gets_a_small_vocabulary_and_short_blocks_unless_said(here):
    (here / "small.txt").write_text("A short line.\n" * 1500)
    recipe = recipe_of("small.txt")
    assert recipe.data.tokenizer_vocab_size < 1000
    # Two blocks of a held-out part, at three bytes of a token.
    assert 16 <= recipe.data.block_size <= 21000 * 0.05 / 3 / 2
    assert "tokenizer_vocab_size=" in recipe.notices[0]
    assert "21,000 bytes" in recipe.notices[0]
    recipe = recipe_of(
        "small.txt", "block_size=32", "tokenizer_vocab_size=300", "output_dir=elsewhere", "config.hidden_size=64"
    )
    assert (recipe.data.block_size, recipe.data.tokenizer_vocab_size) == (32, 300)
    assert str(recipe.output_dir) == "elsewhere"
    assert recipe.model.config == {**load_recipe("pretrain/quickstart").model.config, "hidden_size": 64}
    assert recipe_of("small.txt", "dataset.sample_by=line").data.dataset["sample_by"] == "line"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.JSONL", "rows.ndjson", "rows.jsonl.gz"])
@pytest.mark.parametrize(
    ("row", "column"), [({"text": "a", "long": "bbb"}, "text"), ({"id": "x", "n": 1, "body": "abc"}, "body")]
)
def test_the_column_of_a_table_is_found(here, name, row, column):
    content = (json.dumps(row) + "\n").encode() * 20
    (here / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    recipe = recipe_of(name)
    assert recipe.data.dataset == {"path": "json", "files": name, "text_column": column}
    assert f"text_column: {column}" in recipe.notices[0]
    assert str(recipe.output_dir) == "runs/rows"


def test_a_table_without_text_names_its_columns(here):
    (here / "rows.csv").write_text("width,height\n1,2\n")
    with pytest.raises(InputError, match="no column holds text; the columns are width, height"):
        recipe_of("rows.csv")


def test_a_column_of_numbers_that_is_called_text_is_the_text(here):
    (here / "rows.csv").write_text("text,note\n1,a\n2,b\n")
    assert recipe_of("rows.csv").data.dataset["text_column"] == "text"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("...txt", "txt"),
        ("-dash.txt", "dash"),
        ("--.txt", "text"),
        (" .txt", "text"),
        (".hidden.txt", "hidden"),
        ("a b.txt", "a-b"),
    ],
)
def test_a_run_gets_a_folder_below_runs_whatever_the_text_is_called(here, name, place):
    (here / name).write_text("A line.\n" * 1000)
    assert str(recipe_of(name).output_dir) == f"runs/{place}"


def test_a_folder_says_how_many_files_are_read(here):
    (here / "my code").mkdir()
    for i in range(3):
        (here / "my code" / f"{i}.py").write_text(f"x = {i}\n" * 40_000)
    (here / "my code" / "x.bin").write_bytes(b"\0")
    recipe = recipe_of("my code")
    assert recipe.data.dataset == {"path": "text", "files": "my code", "sample_by": "document"}
    assert "(3 files, 1 other left out)" in recipe.notices[0]
    assert str(recipe.output_dir) == "runs/my-code"


ROWS = {"a.csv": "text\na text of words\n" * 500, "b.jsonl": '{"text": "more words"}\n' * 500, "c": "plain words\n" * 500}


def test_tables_among_texts_are_said_and_alone_of_several_kinds_refused(here):
    (here / "mixed").mkdir()
    for name, content in ROWS.items():
        (here / "mixed" / name).write_text(content)
    line = "mixed: 2 tables are read as text, of 3 files: a.csv, b.jsonl."
    assert recipe_of("mixed").notices[1] == f"{line} dataset.path=csv or dataset.path=json reads tables alone, row by row."
    assert folder_lines(recipe_of("mixed").source) == [line]
    (here / "mixed" / "c").unlink()
    with pytest.raises(InputError, match=r"^mixed holds tables of several kinds: dataset.path=csv or dataset.path=json reads"):
        recipe_of("mixed")
    assert recipe_of("mixed", "dataset.path=json").data.dataset["text_column"] == "text"
    assert len(recipe_of("mixed", "dataset.path=text").notices) == 1
    (here / "mixed" / "b.jsonl").unlink()
    (here / "mixed" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    with pytest.raises(
        InputError, match=r"^mixed holds tables, and files beside them that are no text: dataset.path=csv reads"
    ):
        recipe_of("mixed")
    (here / "mixed" / "picture.png").unlink()
    assert recipe_of("mixed").data.dataset["path"] == "csv"


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.YML", "pretrain/quickstart", "no-such-file.txt"])
def test_a_recipe_stays_a_recipe(here, name):
    (here / "recipe.yaml").write_text("a: 1")
    (here / "recipe.YML").write_text("a: 1")
    assert not own_text.is_own_text(name)


def test_what_is_no_text_is_one_line(here):
    (here / "empty").mkdir()
    with pytest.raises(InputError, match="the folder empty holds no text"):
        recipe_of("empty")
    (here / "all.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match="unpack it and give the folder"):
        recipe_of("all.tar.gz")


@pytest.mark.parametrize("name", ["no-such-file.txt", "chat.csv", "finetune/chat.jsonl.gz", "pretrain/quickstart.PY"])
def test_a_text_that_is_not_there_is_no_recipe_with_a_slip(here, name):
    with pytest.raises(InputError, match=r" is not there: give the path of a file") as caught:
        load_recipe(name)
    assert "Did you mean" not in str(caught.value)


def a_device(path):
    path.symlink_to("/dev/zero")


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


@pytest.mark.parametrize(("make", "kind"), [(a_device, "device"), (os.mkfifo, "pipe"), (a_socket, "socket")])
@pytest.mark.parametrize("name", ["zero.txt", "chat"])
def test_what_is_no_file_is_called_what_it_is(make, kind, name, here):
    make(here / name)
    with pytest.raises(InputError, match=f"^{name} is a {kind}, and no file that can be read twice"):
        load_recipe(name)


def test_a_link_to_no_text_is_called_one(here):
    (here / "chat.txt").symlink_to("gone.txt")
    with pytest.raises(InputError, match="is a link that leads nowhere"):
        load_recipe("chat.txt")


@pytest.mark.parametrize(
    "dataset", ["{files: my.txt}", "{}", "{mixture: [{path: text, files: my.txt, weight: 1}]}", "x", "null"]
)
def test_a_text_is_named_once(here, dataset):
    (here / "my.txt").write_text("A line.\n" * 1000)
    with pytest.raises(InputError, match="the text is named already"):
        recipe_of("my.txt", f"dataset={dataset}")


@pytest.mark.parametrize("name", ["pretrain/quickstart", "recipes/pretrain/quickstart"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_nothing_here_takes_the_place_of_a_packaged_recipe(here, name, is_folder):
    path = here / name
    path.parent.mkdir(parents=True)
    if is_folder:
        path.mkdir()
        path = path / "a.txt"
    path.write_text("preset: gpt2\n" * 100)
    assert not own_text.is_own_text(name)
    recipe = load_recipe(name)
    assert recipe.values == load_recipe("pretrain/quickstart").values
    assert recipe.notices[0] == f"{name} is the packaged recipe: what lies here under this name is ./{name}."
    assert recipe_of(f"./{name}").values["dataset"]["files"] == name


def test_a_text_whose_name_begins_as_a_home_folder_does(here):
    (here / "~tilde.txt").write_text("A line.\n" * 1000)
    with pytest.raises(InputError, match=r"there is no home folder of that name: write \./~tilde\.txt for what lies here"):
        expand_home("~tilde.txt", "path")
    assert recipe_of("./~tilde.txt").output_dir == Path("runs/tilde")
    assert expand_home("./~tilde.txt", "path") == "./~tilde.txt"
    # What is a path to the command line has lost its `./`.
    assert at_home(Path("./~tilde.txt")) == Path("~tilde.txt")
