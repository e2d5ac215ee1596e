"""What of a folder is pushed, and what is refused before anything is sent."""

import json
import os
import socket

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tests.hub.test_push import EXPECTED, on_hub

from hf_gpt.errors import InputError
from hf_gpt.hub.push import push
from hf_gpt.reports.model_card import render_card, write_card
from hf_gpt.reports.records import read_record, write_json


REPO = "alice/small"


def test_a_dry_run_asks_nothing_of_the_hub(hub, folder, told, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    (folder / "optimizer.pt").write_bytes(b"state")
    code, printed = told("push", folder, "--repo", "lab/other", "--revision", "dev", "--dry-run")
    assert code == 0
    assert "would push to lab/other, revision dev" in printed
    assert all(name in printed for name in EXPECTED - {".gitattributes"})
    assert "left out: optimizer.pt, run.json" in printed
    assert hub.requests == []


def test_a_push_says_that_the_samples_quote_held_out_texts(hub, folder, told):
    record = read_record(folder)
    record["recipe"].pop("sample_prompts", None)
    record["samples"] = [{"prompt": "My diary of May", "text": "My diary of May was", "seed": 0}]
    write_json(folder / "record.json", record)
    write_card(folder)
    line = "quote the beginnings of 1 held-out text as prompts of samples, such as 'My diary of May'"
    for arguments in (("push", folder, "--dry-run"), ("push", folder)):
        code, printed = told(*arguments)
        assert code == 0
        assert line in printed
    assert "which is published with this card" in render_card(record)
    change_record(folder, sample_prompts=["My diary of May"])
    code, printed = told("push", folder, "--dry-run")
    assert "held-out texts as prompts" not in printed
    assert "published with this card" not in render_card(read_record(folder))


def change_record(folder, **changes):
    """Puts values into the record and renders its card again, as a person who edits it would."""
    record = read_record(folder)
    record["recipe"] |= changes
    write_json(folder / "record.json", record)


def change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def other_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


SECRET = "hf_" + "S" * 34
REFUSED = {
    "a token in the record": (
        lambda folder: change_record(folder, note=f"login {SECRET}"),
        "record.json: recipe.note holds an",
    ),
    "a home folder in the record": (
        lambda folder: change_record(folder, tokenizer="/home/alice/tok"),
        "record.json: recipe.tokenizer holds the folder '/home/alice'",
    ),
    "a home folder in the config": (
        lambda folder: change_json(folder / "config.json", _name_or_path="C:\\Users\\alice\\run"),
        "config.json: _name_or_path holds the folder",
    ),
    "a token in the tokenizer's config": (
        lambda folder: change_json(folder / "tokenizer_config.json", token=SECRET),
        "tokenizer_config.json: token holds an access token",
    ),
    "a card changed by hand": (
        lambda folder: (folder / "README.md").write_text("Better than GPT-4."),
        "README.md is not what record.json renders to",
    ),
    "a figure that is not in the record": (
        lambda folder: write_json(folder / "record.json", {k: v for k, v in read_record(folder).items() if k != "steps"}),
        "lacks steps",
    ),
    "other weights than were measured": (other_weights, "are not those that record.json was measured on"),
    "data whose terms forbid it": (
        lambda folder: change_json(folder / "record.json", data={"path": "alpaca-en"}),
        "weights that learned from alpaca-en are not published. Written by a language model",
    ),
    "a base whose data's terms forbid it": (
        lambda folder: change_json(folder / "record.json", origin={"unpublishable": ["dpo-en"]}),
        "weights that learned from dpo-en are not published",
    ),
    "a run that has not ended": (lambda folder: (folder / "record.json").unlink(), "has not ended"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    "no code": (lambda folder: (folder / "modeling_hf_gpt.py").unlink(), "lacks modeling_hf_gpt.py"),
    "no auto_map": (lambda folder: change_json(folder / "config.json", auto_map=None), "lacks auto_map in config.json"),
    "a shard that is not there": (
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-1.safetensors"}}'),
        "lacks model-1.safetensors",
    ),
    "an adapter to a folder": (
        lambda folder: (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/data/base"}'),
        "base_model_name_or_path='/data/base' is not on the Hub",
    ),
    "broken JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_should_not_be_public_or_would_not_load_is_refused(hub, folder, told, name):
    change, message = REFUSED[name]
    change(folder)
    code, printed = told("push", folder)
    assert code == 2
    assert message in printed
    assert SECRET not in printed
    assert printed.count("hf-gpt: ") == 1
    assert hub.requests == []


def test_a_card_whose_metadata_the_hub_refuses(hub, folder, told):
    (folder / "record.json").unlink()
    (folder / "recipe.yaml").unlink()
    (folder / "README.md").write_text("---\nlicense: [1, 2]\n---\nText")
    code, printed = told("push", folder)
    assert code == 2
    assert '"license" must be a string' in printed
    assert on_hub(hub) == {}


def test_weights_without_a_record_get_a_card_without_figures(hub, folder):
    for name in ("record.json", "recipe.yaml", "README.md"):
        (folder / name).unlink()
    push(folder)
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert card.data.tags == ["hf-gpt"]
    assert card.data.eval_results is None
    assert "No measurement of it was recorded" in card.text


def test_folders_in_a_sample_are_the_models_and_not_a_persons(folder):
    record = read_record(folder)
    record["samples"][0]["text"] = "The value is in /home/user/file"
    assert "/home/user/file" in render_card(record)
    record["samples"][0]["text"] = f"The value {SECRET}"
    with pytest.raises(InputError, match=r"samples\[0\].text holds an access token"):
        render_card(record)


def link_to_a_secret(folder, name):
    (folder.parent / "secret").write_text("years of work")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../secret")


def link_inside(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("config.json")


def dangling_link(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("nowhere")


def named_pipe(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)


def bound_socket(folder, name):
    (folder / name).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(folder)
        bound.bind(name)
        os.chdir(here)


def folder_in_its_place(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()


IRREGULAR = (link_to_a_secret, link_inside, dangling_link, named_pipe, bound_socket, folder_in_its_place)


@pytest.mark.parametrize("make", IRREGULAR, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "name", ["figure.png", "config.json", "model.safetensors", "record.json", "README.md", "chat_template.jinja"]
)
def test_what_is_no_regular_file_is_refused_by_name_before_anything_is_read(make, name, hub, folder):
    make(folder, name)
    with pytest.raises(InputError, match=f"{name} is {'a link' if 'link' in make.__name__ else 'no regular file'}"):
        push(folder)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["chat_template.jinja", "modeling_hf_gpt.py"])
def test_a_secret_in_a_template_or_in_code_is_refused(name, hub, folder):
    before = (folder / name).read_text() if (folder / name).exists() else ""
    for secret in ("hf_" + "a1B2" * 9, "https://alice:pass@example.org/x", "/home/alice/data"):
        (folder / name).write_text(f"{before}# {secret}\n")
        with pytest.raises(InputError, match=f"{name} holds") as caught:
            push(folder)
        assert "pass@" not in str(caught.value)
    assert hub.requests == []
