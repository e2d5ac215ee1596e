"""What a model takes over from the one that it was trained from: licence, base, and terms that keep its weights at home."""

import json

import pytest
from huggingface_hub import ModelCard
from tests.conftest import ROOT

from hf_gpt.errors import InputError
from hf_gpt.reports.model_card import render_card
from hf_gpt.reports.origin import origin_of, unpublishable


RECORD = json.loads((ROOT / "model_cards" / "rotten-tomatoes" / "record.json").read_text())


def metadata(*names, **changes):
    card = ModelCard(render_card({**RECORD, **changes})).data.to_dict()
    return tuple(card.get(name) for name in names)


def write_base(folder, card=None, record=None):
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}\n---\n# A base\n")
    if record is not None:
        (folder / "record.json").write_text(json.dumps(record))
    return str(folder)


def test_a_card_states_no_licence_but_the_recipes_or_the_bases():
    assert metadata("license") == (None,)
    chosen = {"recipe": {**RECORD["recipe"], "license": "mit"}}
    assert metadata("license", **chosen) == ("mit",)
    origin = {"license": "other", "license_name": "alice-1.0", "license_link": "LICENSE"}
    assert metadata(*origin, origin=origin) == tuple(origin.values())
    assert metadata(*origin, origin=origin, **chosen) == ("mit", None, None)


def test_a_card_names_the_base_and_what_became_of_it():
    fields = "base_model", "base_model_relation"
    assert metadata(*fields) == (None, None)
    by_name = {"recipe": {**RECORD["recipe"], "model_name_or_path": "alice/base"}}
    assert metadata(*fields, **by_name) == ("alice/base", "finetune")
    assert metadata(*fields, **by_name, adapter="lora") == ("alice/base", "adapter")
    # The adapter belongs to a folder that was made of that model, and not to the model.
    assert metadata(*fields, origin={"base_model": "alice/base"}, adapter="lora") == ("alice/base", "finetune")
    assert metadata(*fields, origin={"base_model": "alice/base"}, adapter="lora", **by_name) == ("alice/base", "finetune")


def test_what_a_folder_says_of_itself_is_taken_over(tmp_path):
    assert origin_of(write_base(tmp_path)) == {}
    card = "license: llama3.2\nbase_model: meta/llama\ntags: [a]\nlicense_link: [not, text]"
    assert origin_of(write_base(tmp_path, card)) == {"license": "llama3.2", "base_model": "meta/llama"}
    origin_of(write_base(tmp_path, "license: mit", {"data": {"path": "dpo-en"}}))
    assert origin_of(str(tmp_path)) == {"license": "mit", "unpublishable": ["dpo-en"]}
    with pytest.raises(InputError, match=r"README.md has metadata that cannot be read"):
        origin_of(write_base(tmp_path, "license: [mit"))


def test_terms_of_the_data_reach_as_far_as_the_weights():
    assert unpublishable({"data": {"path": "movie-reviews"}}) == []
    assert unpublishable({"data": {"path": "alpaca-en"}, "origin": {"unpublishable": ["dpo-en", "gone"]}}) == [
        "alpaca-en",
        "dpo-en",
    ]
    assert unpublishable({"data": {"path": "mixture", "mixture": [{"path": "quartz"}, {"path": "dpo-en"}]}}) == ["dpo-en"]
    # What only scores a model is not in its weights.
    assert unpublishable({"data": {"path": "json", "test": {"path": "squad-dev"}}}) == []
    assert unpublishable({"data": None, "origin": 3}) == []
