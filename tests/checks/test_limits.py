"""Recipes at the edges of what they may hold: every number, every key of `TrainingArguments`, and YAML of ill will."""

import dataclasses
import math

import pytest
from transformers import TrainingArguments

from hf_gpt.checks.limits import CHOICES, HONOURED, RANGES, REFUSED, SETTLED
from hf_gpt.errors import InputError
from hf_gpt.recipe.arguments import PARTS
from hf_gpt.recipe.parser import load_recipe, parse_recipe


MINIMAL = {"preset": "modern-5m", "dataset": "movie-reviews", "output_dir": "runs/x"}
TRAINING_FIELDS = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}


def test_every_training_argument_is_honoured_settled_or_refused_with_a_reason():
    assert {*HONOURED, *SETTLED, *REFUSED} >= TRAINING_FIELDS
    assert not set(HONOURED) & {*SETTLED, *REFUSED}
    assert not set(SETTLED) & set(REFUSED)


def test_every_number_of_a_recipe_has_a_range():
    keys = {field.name: str(field.type) for part in PARTS.values() for field in dataclasses.fields(part) if field.init}
    numbers = {key for key, kind in keys.items() if ("int" in kind or "float" in kind) and key not in REFUSED}
    assert numbers - {"report_to", "trackio_static_space_id", "debug"} <= set(RANGES)
    assert {*RANGES, *CHOICES} <= set(keys)


@pytest.mark.parametrize("key", sorted(RANGES))
@pytest.mark.parametrize("value", [-2, math.nan, math.inf, -math.inf, 10**400, 10**30])
def test_a_number_outside_of_its_range(key, value):
    if key == "no_answer_threshold" and abs(value) < 10**31:
        return
    if key in ("max_grad_norm", "eval_delay", "neftune_noise_alpha") and value == 10**30:
        return
    with pytest.raises(InputError, match=key):
        parse_recipe({**MINIMAL, key: [value] if key == "ngram_orders" else value})


@pytest.mark.parametrize("key", sorted(set(REFUSED) & TRAINING_FIELDS))
def test_a_key_that_no_run_would_honour(key):
    harmless, reason = REFUSED[key]
    (field,) = (field for field in dataclasses.fields(TrainingArguments) if field.name == key)
    other = {bool: not (harmless and harmless[0]), int: 3, str: "adafactor"}.get(type(field.default), "x")
    other = ["x"] if field.default is dataclasses.MISSING else {"x": True} if key == "liger_kernel_config" else other
    # Of a wrong type too: to be told the right one would invite another try.
    for value in (other, 17):
        with pytest.raises(InputError, match=key) as raised:
            parse_recipe({**MINIMAL, key: value})
        assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("preset: a\npreset: b\n", "'preset' is in line 1 and again in line 2"),
        ("config: {a: 1, a: 2}\n", "'a' is in line 1 and again"),
        ("a: &a [x]\nb: *a\n", "anchors and aliases"),
        ("a: &a {b: *a}\n", "anchors and aliases"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: {" * 100_000, "nested too deeply"),
        ("a: " + "1" * 5000, "cannot be read"),
        ("a: 2020-13-45\n", "cannot be read"),
        ("a: 2020-01-01\n", "values are numbers, text"),
        ("a: !!binary aGVsbG8=\n", "values are numbers, text"),
        ("a: !!set {x}\n", "values are numbers, text"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("? [a]\n: 1\n", "a key is a word or a number"),
        ('a: "half \\ud800"\n', "not UTF-8"),
        ('a: "nul \\0"\n', "NUL character"),
        ("a: " + "x" * (1 << 20), "characters: a recipe has a page"),
    ],
)
def test_yaml_of_ill_will(tmp_path, text, told):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told) as raised:
        load_recipe(str(path))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_an_emoji_that_json_wrote_is_one_letter_and_an_exponent_a_number(tmp_path):
    path = tmp_path / "recipe.yaml"
    more = "config: {norm_eps: 1e-6}\nlearning_rate: 1E-3\n"
    path.write_text('preset: modern-5m\ndataset: movie-reviews\noutput_dir: x\nsample_prompts: ["\\ud83d\\ude00"]\n' + more)
    recipe = load_recipe(str(path))
    assert recipe.run.sample_prompts == ["\N{GRINNING FACE}"]
    assert recipe.model.config["norm_eps"] == 1e-6
    assert recipe.training.learning_rate == 1e-3


@pytest.mark.parametrize("output_dir", [None, "", 3, ["x"]])
def test_an_output_dir_that_is_none(output_dir):
    with pytest.raises(InputError, match="output_dir"):
        parse_recipe({**MINIMAL, "output_dir": output_dir})


@pytest.mark.parametrize(
    "extra",
    [
        {"split": ["train"]},
        {"name": 3},
        {"streaming": "yes"},
        {"files": {"a": 1}},
        {"files": [1]},
        {"files": [""]},
        {"columns": ["text"]},
        {"columns": {"text": 3}},
        {"where": ["a"]},
        {"limit": "ten"},
        {"limit": 0},
        {"limit": True},
        {"revision": 1.5},
        {"text_column": ""},
        {"validation": 5},
        {"test": {"path": ["x"]}},
        {"test": {"unknown": 1}},
        {"mixture": {"path": "text"}},
        {"mixture": [1]},
        {1: 2},
        dict.fromkeys(range(1000), 1),
    ],
)
def test_wrong_types_in_dataset(extra):
    with pytest.raises(InputError, match="dataset: ") as raised:
        parse_recipe({**MINIMAL, "dataset": {"path": "text", "files": "x.txt", **extra}})
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf, "1", True, None, 10**400])
def test_a_weight_that_is_none(weight):
    with pytest.raises(InputError, match="weight"):
        parse_recipe({**MINIMAL, "dataset": {"mixture": [{"path": "movie-reviews", "weight": weight}]}})


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"lr_scheduler_kwargs": "min_lr: 1"}, "must be a mapping"),
        ({"activation_checkpointing_kwargs": {"use_reentrant": "no"}}, "use_reentrant"),
        ({"activation_checkpointing_kwargs": {"determinism": True}}, "determinism"),
        ({"torch_compile_mode": "max-autotune"}, "set torch_compile: true"),
        ({"torch_compile": True, "torch_compile_mode": "fast"}, "torch_compile_mode='fast' must be one of"),
        ({"torch_compile": True, "label_smoothing_factor": 0.1}, "repeat its input"),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"min_lr": 1e-4}}, "no such keyword. It takes none"),
        (
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": "1e-4"}},
            "min_lr='1e-4' must be a number",
        ),
        ({"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_rl": 0.1}}, "mean 'min_lr'"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"last_epoch": 3}}, "no such keyword"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": math.nan}}, "num_cycles=nan must be"),
        ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"decay_type": "x"}}, "must be one of linear"),
        ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": [1]}}, "must be a number"),
        ({"log_level": "loud"}, "log_level='loud' must be one of"),
        ({"train_sampling_strategy": "best"}, "train_sampling_strategy"),
        ({"config": {1: 2}}, "config: 1 is not the name of a field"),
        ({"lora": {None: 2}}, "lora: None is not the name of a field"),
        ({"lora": {"r": 0}}, r"lora\.r=0 must be at least 1"),
        ({"x" * 100_000: 1}, "is not a key of a recipe"),
        ({"config": {str(key): 1 for key in range(10**5)}, "max_steps": "x"}, "max_steps"),
    ],
)
def test_values_that_no_run_could_use(extra, told):
    with pytest.raises(InputError, match=told) as raised:
        parse_recipe({**MINIMAL, **extra})
    assert len(str(raised.value)) < 600
