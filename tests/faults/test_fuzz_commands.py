"""Every command with input that was broken at random: exit code 0, or 2 with one line, and nothing of anybody's lost.

`make fuzz` makes as many examples of each as a few minutes allow; the suite a handful, always the same ones.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.helpers.fuzzing import (
    ANYTHING,
    DAMAGE,
    EDGES,
    GONE,
    STEPS,
    TEXT_DAMAGE,
    TEXTS,
    USUAL,
    VALUES,
    WRITERS,
    damage,
    edited,
    fuzzed,
    outcome_of,
    scratch,
)
from tests.helpers.page import ShownError
from tests.helpers.runs import contents, killed_at, short_values
from tests.hub.conftest import hub  # noqa: F401
from tests.inference.test_demo import USUAL as FIELDS
from tests.inference.test_demo import answer, folders, page  # noqa: F401

from hf_gpt.recipe.arguments import PARTS
from hf_gpt.run_folder import checkpoints
from hf_gpt.run_folder.manifest import read_manifest
from hf_gpt.training import run as runs


pytestmark = pytest.mark.usefixtures("no_training", "as_before")


@pytest.fixture(scope="module")
def interrupted(corpus, tmp_path_factory):
    """Killed between its last step and its model."""
    folder = tmp_path_factory.mktemp("runs") / "interrupted"
    killed_at(short_values(corpus, folder), runs, "save_model")
    return folder


# -------------------------------------------------------------------------------------------------- files of a folder

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
RECORD_FILES = ("record.json", "record.json", "README.md", "run.json", "loss.png")
TEXT = "text.txt"
# Of each command, what follows the folder, the files of it that are broken, and how many examples `make fuzz` makes.
READERS = {
    "generate": (["{}", "some", "--max-new-tokens", "2"], MODEL_FILES, 1000),
    "evaluate": (["{}", TEXT, "--block-size", "8"], (*MODEL_FILES, TEXT), 500),
    "export": (["{}", "out"], (*MODEL_FILES, *RECORD_FILES), 600),
    "export --layout gguf": (["{}", "out"], MODEL_FILES, 300),
    "card": (["{}"], RECORD_FILES, 1000),
    "push --dry-run": (["{}"], (*MODEL_FILES, *RECORD_FILES, "layers_hf_gpt.py"), 1000),
    "compare": (["{}", "--plot", "picture.png"], ("record.json",), 500),
    "import": (["{}", "out"], ("config.json", "model.safetensors", "generation_config.json", "tokenizer_config.json"), 600),
    "train": (["recipe.yaml", "model_name_or_path={}"], MODEL_FILES, 150),
}


@pytest.mark.parametrize("command", READERS)
def test_a_folder_with_broken_files_is_used_or_refused(command, corpus, original, foreign, outcomes):
    arguments, names, many = READERS[command]
    source = foreign if command == "import" else original

    @fuzzed(3, many)
    @example(done=[(names[0], ("nothing",))])
    @given(done=st.lists(st.tuples(st.sampled_from(names), DAMAGE), min_size=1, max_size=2))
    def attempt(done):
        with scratch() as here:
            folder = here.parent / "model"
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
            Path(TEXT).write_text("\n".join(USUAL))
            values = {**short_values(corpus, "trained"), "model_name_or_path": None, "block_size": 16}
            values = {key: value for key, value in values.items() if key not in ("preset", "config")}
            Path("recipe.yaml").write_text(json.dumps(values))
            for name, how in done:
                damage(here / name if name == TEXT else folder / name, how)
            before = contents(folder)
            outcome, _ = outcome_of(*command.split(), *(argument.format(folder) for argument in arguments))
            outcomes[outcome] += 1
            if outcome == "refused":
                assert contents(folder) == before
                assert not Path("out").exists()
                assert not Path("picture.png").exists()
                assert not Path("trained").exists()

    attempt()


@fuzzed(3, 300)
@example(done=[])
@given(done=st.lists(st.tuples(st.sampled_from((*MODEL_FILES, *RECORD_FILES)), DAMAGE), max_size=2))
def test_a_folder_with_broken_files_is_pushed_or_refused(done, original, hub, outcomes):  # noqa: F811
    with scratch() as here:
        folder = here.parent / "model"
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
        for name, how in done:
            damage(folder / name, how)
        hub.repos.clear()
        outcome, told = outcome_of("push", folder)
        outcomes[outcome] += 1
        assert bool(hub.repos) == (outcome == "used"), told


# -------------------------------------------------------------------------------------------------------- run folders

RUN_FILES = ("run.json", "recipe.yaml", "settled.json")
PARTS_OF_A_CHECKPOINT = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "sha256.json")
CHECKPOINT_FILES = ("model.safetensors", "config.json", *PARTS_OF_A_CHECKPOINT)


@fuzzed(3, 60)
@example(done=[], is_sealed=False)
@example(done=[("checkpoint-4/rng_state.pth", ("missing",))], is_sealed=True)
@given(
    done=st.lists(
        st.tuples(
            st.sampled_from(RUN_FILES)
            | st.tuples(st.sampled_from(["checkpoint-2", "checkpoint-4"]), st.sampled_from(CHECKPOINT_FILES)).map("/".join),
            DAMAGE,
        ),
        min_size=1,
        max_size=2,
    ),
    is_sealed=st.booleans(),
)
def test_a_run_folder_with_broken_files_is_resumed_or_refused(done, is_sealed, corpus, interrupted, original, outcomes):
    """Also where the list of hashes fits what was broken: not every fault is one of the disk."""
    with scratch() as here:
        folder = here.parent / "run"
        shutil.copytree(interrupted, folder)
        for name, how in done:
            if (folder / name).parent.is_dir():
                damage(folder / name, how)
        for checkpoint in folder.glob("checkpoint-*"):
            if is_sealed and not any(path.is_symlink() for path in checkpoint.rglob("*")):
                shutil.rmtree(checkpoint / "sha256.json", ignore_errors=True)
                (checkpoint / "sha256.json").write_text(json.dumps(checkpoints.file_hashes(checkpoint)))
        Path("recipe.yaml").write_text(json.dumps(short_values(corpus, folder)))
        outcome, told = outcome_of("train", "recipe.yaml")
        outcomes[outcome] += 1
        if outcome == "used":
            assert read_manifest(folder).stage == "finished"
            weights = load_file(folder / "model.safetensors")
            assert all(torch.isfinite(tensor).all() for tensor in weights.values())
            if not is_sealed:
                expected = load_file(original / "model.safetensors")
                assert all(torch.equal(weights[name], expected[name]) for name in expected), told


# ------------------------------------------------------------------------------------------------------------- recipes

KEYS = sorted(
    {f.name for part in PARTS.values() for f in dataclasses.fields(part) if f.init}
    | {
        f"{part}.{key}"
        for part in ("config", "dataset")
        for key in ("hidden_size", "vocab_size", "layer_types", "path", "files", "limit")
    }
)
NUMBERS = st.integers(-3, 40) | st.floats(-2, 2) | st.sampled_from([10**9, 2**31, 2**32, 10**12, 1e-9, 0.999999])
WORDS = st.sampled_from(
    ["auto", "steps", "epoch", "best", "no", "none", "all", "linear", "gpt2", "text", "fp32", "cosine", "./x", "1e-3"]
)
RECIPE_COMMANDS = {
    "train": (["train", "recipe.yaml"], 200),
    "plan": (["plan", "recipe.yaml", "--device", "h100"], 1000),
    "evaluate --few-shot": (["evaluate", "nowhere/nothing", "recipe.yaml", "--few-shot", "1"], 200),
}


@pytest.mark.parametrize("command", RECIPE_COMMANDS)
def test_a_recipe_with_any_values_is_used_or_refused(command, corpus, outcomes):
    arguments, many = RECIPE_COMMANDS[command]

    @fuzzed(4, many)
    @example(changes={})
    @given(changes=st.dictionaries(st.sampled_from(KEYS), NUMBERS | WORDS | ANYTHING, min_size=1, max_size=2))
    def attempt(changes):
        with scratch():
            values = short_values(corpus, "trained")
            for key, value in changes.items():
                parent, _, child = key.partition(".")
                if child:
                    values[parent] = {**(values[parent] if isinstance(values[parent], dict) else {}), child: value}
                else:
                    values[key] = value
            try:
                text = yaml.safe_dump(values)
            except yaml.YAMLError:
                text = json.dumps(values)
            Path("recipe.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
            outcome, _ = outcome_of(*arguments)
            outcomes[outcome] += 1
            if outcome == "refused":
                assert [path.name for path in Path().iterdir()] == ["recipe.yaml"]

    attempt()
    if command == "evaluate --few-shot":
        # There is no model of that name: what is counted is that a recipe is told apart before.
        outcomes["used"] += 1


# ---------------------------------------------------------------------------------------------------------- text files

# Small enough for a text of any size.
TINY = [
    "max_steps=2",
    "tokenizer_vocab_size=300",
    "block_size=16",
    "config.hidden_size=16",
    "config.num_hidden_layers=1",
    "ngram_orders=[]",
]
TINY += ["config.num_attention_heads=2", "config.num_key_value_heads=1", "config.intermediate_size=16", "output_dir=out"]
TEXT_COMMANDS = {
    "evaluate": (["evaluate", "{model}", "{text}", "--block-size", "8"], 500),
    "train": (["train", "{text}", *TINY], 120),
}


@pytest.mark.parametrize("command", TEXT_COMMANDS)
def test_any_text_file_is_used_or_refused(command, original, outcomes):
    arguments, many = TEXT_COMMANDS[command]

    @fuzzed(4, many)
    @example(suffix=".txt", texts=USUAL, how=("nothing",))
    @example(suffix=".txt", texts=USUAL, how=("a pipe",))
    @example(suffix=".json", texts=USUAL, how=("content", b"null"))
    @given(suffix=st.sampled_from(sorted(WRITERS)), texts=TEXTS, how=TEXT_DAMAGE)
    def attempt(suffix, texts, how):
        with scratch() as here:
            path = here.parent / f"text{suffix}"
            path.write_bytes(WRITERS[suffix](texts))
            damage(path, how)
            outcome, _ = outcome_of(*(argument.format(model=original, text=path) for argument in arguments))
            outcomes[outcome] += 1
            if outcome == "refused":
                assert not Path("out").exists()

    attempt()


@fuzzed(3, 300)
@example(content={"model_args": {}, "model": {}}, how=("nothing",))
@given(
    content=st.fixed_dictionaries(
        {
            "model_args": st.dictionaries(
                st.sampled_from(["n_layer", "n_head", "n_embd", "block_size", "vocab_size", "bias"]), NUMBERS | EDGES
            )
        },
        optional={"model": st.dictionaries(st.text(max_size=5), st.just(torch.zeros(2)) | VALUES, max_size=2) | VALUES},
    )
    | VALUES,
    how=st.just(("nothing",)) | TEXT_DAMAGE,
)
def test_any_file_of_nanogpt_is_refused(content, how, outcomes):
    with scratch():
        path = Path("ckpt.pt")
        torch.save(content, path)
        damage(path, how)
        outcome, _ = outcome_of("import", path, "out")
        outcomes[outcome] += 1
        assert outcome == "refused"
        assert not Path("out").exists()
    outcomes["used"] += 0 if outcomes["used"] else 1


# ------------------------------------------------------------------------------------------------------------ the page


@fuzzed(8, 600)
@example(name="write", field=0, value="This movie")
@given(name=st.sampled_from(sorted(FIELDS)), field=st.integers(0, 9), value=ANYTHING | st.integers(-3, 300) | st.floats(-1, 3))
def test_any_request_to_the_page_is_answered_or_refused(name, field, value, page, outcomes):  # noqa: F811
    _, _, handlers = page
    arguments = list(FIELDS[name])
    arguments[field % len(arguments)] = value
    found = answer(handlers[name][0], *arguments)
    assert not isinstance(found, BaseException) or isinstance(found, ShownError), found
    outcomes["refused" if isinstance(found, ShownError) else "used"] += 1


# ------------------------------------------------------------------------------------------------------------- records


@fuzzed(10, 1000)
@given(kind=st.sampled_from(["train", "train-masked", "finetune"]), steps=STEPS, value=st.just(GONE) | ANYTHING)
def test_a_record_of_any_kind_with_any_field_changed_makes_a_card_or_is_refused(kind, steps, value, outcomes):
    from tests.reports.test_record_fields import OF_KIND

    with scratch():
        Path("run").mkdir()
        record = edited(json.loads(json.dumps(OF_KIND[kind])), steps, value)
        Path("run/record.json").write_text(json.dumps(record))
        for arguments in (["card", "run"], ["compare", "run"]):
            outcome, _ = outcome_of(*arguments)
            outcomes[outcome] += 1
