"""A few steps of one recipe on two processes, launched as a person would: the short form of `make distributed`."""

import json

import pytest
from benchmarks.frame import load_record
from benchmarks.tiny import write_corpus
from experiments import distributed
from experiments.distributed import VARIANTS, Variant, beyond, differences, recipe_values, run_variant

from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.run import run


STEPS = 4


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "corpus.jsonl"
    write_corpus(path)
    return path


@pytest.fixture(scope="module")
def alone(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    return folder, run(parse_recipe(recipe_values(text, folder, STEPS)))


@pytest.mark.parametrize("name", ["accumulation 8×1", "activation checkpointing"])
def test_a_batch_may_be_split_and_activations_made_again(name, alone, text, tmp_path):
    folder = tmp_path / "run"
    record = run(parse_recipe(recipe_values(text, folder, STEPS, **VARIANTS[name].changes)))
    assert not beyond(differences(folder, record, *alone), "adamw")


@pytest.mark.parametrize(
    "name", ["ddp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fsdp2, resumed", "tensor parallel"))]
)
def test_two_processes_learn_what_one_learns(name, alone, text, tmp_path):
    folder = tmp_path / "run"
    record, _ = run_variant(VARIANTS[name], text, folder, STEPS)
    found = differences(folder, record, *alone)
    assert not beyond(found, "adamw"), found
    # One process wrote them: what another had written beside would be a second copy, or half of one.
    names = {path.name for path in folder.iterdir() if not path.name.startswith("checkpoint-")}
    # A model that is split writes no samples on the way.
    left_out = {"samples.md"} if name in ("fsdp2, resumed", "tensor parallel") else set()
    assert names == {path.name for path in alone[0].iterdir() if not path.name.startswith("checkpoint-")} - left_out
    assert json.loads((folder / "config.json").read_text()) == json.loads((alone[0] / "config.json").read_text())
    # A run that is split leaves checkpoints in parts; one that only looked like it would leave whole ones.
    assert any(folder.glob("checkpoint-*/pytorch_model_fsdp_0")) == (VARIANTS[name].config == "fsdp2")
    assert record["tokens_seen"] == alone[1]["tokens_seen"]
    assert record["samples"] == alone[1]["samples"]


@pytest.mark.slow
def test_blocks_with_sinks_and_experts_stay_whole_under_tensor_parallelism_and_learn_the_same(text, tmp_path):
    config = {**recipe_values(text, tmp_path)["config"], "intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}
    changes = {"preset": "oss-8m", "config": config}
    reference = run(parse_recipe(recipe_values(text, tmp_path / "alone", STEPS, **changes)))
    record, _ = run_variant(Variant("tensor-parallel", 2, changes=changes), text, tmp_path / "run", STEPS)
    found = differences(tmp_path / "run", record, tmp_path / "alone", reference)
    assert not beyond(found, "adamw"), found


@pytest.mark.slow
def test_muon_gathers_what_is_split(text, tmp_path):
    variant = VARIANTS["muon, fsdp2, resumed"]
    reference = run(parse_recipe(recipe_values(text, tmp_path / "alone", STEPS, **VARIANTS[variant.reference].changes)))
    record, _ = run_variant(variant, text, tmp_path / "run", STEPS)
    found = differences(tmp_path / "run", record, tmp_path / "alone", reference)
    assert not beyond(found, "muon"), found


def test_the_record_is_of_every_variant_within_its_tolerance():
    record = load_record("distributed")
    assert list(record["variants"]) == list(VARIANTS)
    assert record["tolerances"] == distributed.TOLERANCES
    for name, found in record["variants"].items():
        if "differences" in found:
            assert not beyond(found["differences"], VARIANTS[name].changes.get("optimizer", "adamw")), name
