"""Keys of a recipe that its task never reads: refused, not ignored."""

from dataclasses import fields

import pytest

from hf_gpt.errors import InputError
from hf_gpt.recipe.arguments import PARTS
from hf_gpt.recipe.packaged import list_recipes
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.recipe.task_keys import EVERY_TASK, READ_BY, READ_BY_ALL, READ_BY_REWARD
from hf_gpt.tasks.task import TaskSettings


MINIMAL = {"dataset": "movie-reviews", "output_dir": "runs/x"}
LANGUAGE = {**MINIMAL, "preset": "modern-5m"}
TASK = {**MINIMAL, "model_name_or_path": "runs/base"}


def test_every_key_has_its_place():
    """A new key is either read by every task or by those that are named."""
    ours = {item.name for name, part in PARTS.items() if name != "training" for item in fields(part)}
    training = {item.name for item in fields(PARTS["training"])}
    assert set(READ_BY) | set(READ_BY_ALL) == ours | (set(READ_BY) & training)
    assert not set(READ_BY) & set(READ_BY_ALL)
    assert all(tasks and set(tasks) < set(EVERY_TASK) for tasks in READ_BY.values())
    assert set(READ_BY_REWARD) <= {item.name for item in fields(TaskSettings)}


@pytest.mark.parametrize("name", list_recipes())
def test_packaged_recipes_have_no_key_that_nobody_reads(name):
    assert load_recipe(name).values


@pytest.mark.parametrize(
    ("task", "key", "value", "told"),
    [
        ("chat", "kl_coefficient", 0.9, "is read by preference and reinforcement alone, and not by task='chat': leave it out"),
        ("preference", "label_smoothing_factor", 0.2, "not by task='preference'"),
        ("question-answering", "label_smoothing_factor", 0.2, "not by task='question-answering'"),
        ("preference", "reward", "arithmetic", "reward='arithmetic' is read by reinforcement alone"),
        ("preference", "num_generations", 3, "num_generations=3 is read by reinforcement alone"),
        ("chat", "algorithm", "rloo", "algorithm='rloo' is read by reinforcement alone"),
        ("reinforcement", "class_names", {"a": "b"}, "is read by text-classification and token-classification alone"),
        ("reinforcement", "prompt", "x {source}", "is read by text-to-text alone"),
        ("reinforcement", "stride", 5, "is read by question-answering alone"),
        ("reinforcement", "train_sampling_strategy", "group_by_length", "not by task='reinforcement'"),
        ("reward", "max_new_tokens", 4, "is read by text-to-text and chat and preference and reinforcement alone"),
        ("multiple-choice", "class_weights", "balanced", "not by task='multiple-choice'"),
        ("text-classification", "block_size", 64, "block_size=64 is read by language-modeling alone"),
        ("text-classification", "sample_prompts", ["a"], "is read by language-modeling alone"),
        ("language-modeling", "reward", "arithmetic", "not by task='language-modeling'"),
        ("language-modeling", "max_length", 64, "not by task='language-modeling'"),
        ("language-modeling", "learning_curve", [8], "not by task='language-modeling'"),
    ],
)
def test_a_key_of_another_task_is_refused_and_its_default_is_not(task, key, value, told):
    given = {**(LANGUAGE if task == "language-modeling" else TASK), "task": task}
    with pytest.raises(InputError, match=f"^{key}=") as raised:
        parse_recipe({**given, key: value})
    assert told in str(raised.value)
    (default,) = (item for part in PARTS.values() for item in fields(part) if item.name == key)
    if default.default is not None and key != "sample_prompts":
        parse_recipe({**given, key: default.default})


@pytest.mark.parametrize(("key", "value"), [("reward_model", "nowhere"), ("reward_pattern", "(")])
def test_what_another_reward_is_computed_with_is_refused(key, value):
    given = {**TASK, "task": "reinforcement", "reward": "arithmetic"}
    with pytest.raises(InputError, match=f"{key}='.*' is read by reward='{READ_BY_REWARD[key]}' alone"):
        parse_recipe({**given, key: value})
    assert parse_recipe({**given, "reward": READ_BY_REWARD[key], key: value}).task.reward == READ_BY_REWARD[key]
