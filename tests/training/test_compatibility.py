"""What an earlier version has written still works: the runs in tests/fixtures were made at commit 5259968, one of them killed."""

import tarfile

import pytest
import torch
from tests.conftest import ROOT
from transformers import AutoModelForCausalLM

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.reports.model_card import render_card
from hf_gpt.reports.record_fields import check_fields
from hf_gpt.reports.records import read_record
from hf_gpt.training.run import run


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """A folder with the run `finished` and the run `interrupted`, and the text that both were trained on."""
    with tarfile.open(ROOT / "tests" / "fixtures" / "runs-of-5259968.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_finished_run_loads_and_its_record_makes_a_card(earlier):
    ids = torch.arange(2, 34)[None]
    model = AutoModelForCausalLM.from_pretrained(earlier / "finished").eval()
    assert model(ids, labels=ids).loss.item() == pytest.approx(5.701213836669922, abs=1e-5)
    record = read_record(earlier / "finished")
    check_fields(record, "record.json")
    assert f"{record['test']['loss']:.3f}" in render_card(record)
    with pytest.raises(InputError, match="holds a finished run"):
        run(load_recipe("finished/recipe.yaml", ["output_dir=finished"]))


def test_an_interrupted_run_resumes(earlier, capsys):
    record = run(load_recipe("interrupted/recipe.yaml", ["output_dir=interrupted"]))
    assert "checkpoint-2" in capsys.readouterr().out
    assert record["steps"] == 6
    # The same bits on the machine that it began on; the same figures on any.
    assert record["test"]["loss"] == pytest.approx(read_record(earlier / "finished")["test"]["loss"], abs=1e-3)
