"""What a card says of the files that a model learned from, and of its config."""

import hashlib
import json

import pytest
from tests.conftest import ROOT

from hf_gpt.reports.model_card import render_card


@pytest.fixture
def record():
    return json.loads((ROOT / "model_cards" / "quickstart" / "record.json").read_text())


def data_of(record, count):
    record["data"]["files"] = [{"name": f"{number}.txt", "sha256": f"{number:064x}"} for number in range(count)]
    return render_card(record).partition("## Data")[2].partition("| split |")[0]


def test_files_are_a_list_and_many_files_one_hash(record):
    assert "File " not in render_card(record)
    assert data_of(record, 10).count("\n- File `") == 10
    assert data_of(record, 1).endswith(
        f"\n- File `0.txt`, SHA-256 `{0:064x}`\n\nRepeated" + data_of(record, 1).partition("Repeated")[2]
    )
    many = data_of(record, 11)
    lines = "".join(f"{number:064x}  {number}.txt\n" for number in range(11))
    assert "- File" not in many
    assert f"11 files, which `record.json` names; SHA-256 `{hashlib.sha256(lines.encode()).hexdigest()}`" in many


def test_fields_of_variants_that_are_not_used_are_left_out(record):
    record["config"] |= {"base_model_ep_plan": None, "num_experts": 0, "bos_token_id": 0, "use_bias": False}
    card = render_card(record)
    assert "base_model_ep_plan" not in card
    assert "num_experts" not in card
    assert "| `bos_token_id` | `0` |" in card
    assert "| `use_bias` | `False` |" in card
    record["config"]["num_experts"] = 4
    assert "| `num_experts` | `4` |" in render_card(record)
