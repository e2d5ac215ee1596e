"""What a push leaves on the Hub, whatever happens on the way."""

import json
import math
import os
import socket

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file, save_file
from tests.hub.server import Fault

from hf_gpt.errors import InputError
from hf_gpt.hub import push as hub_module
from hf_gpt.hub.push import push
from hf_gpt.reports.model_card import render_card, write_card
from hf_gpt.reports.records import read_record, write_json


REPO = "alice/small"
EXPECTED = {
    ".gitattributes",
    "README.md",
    "config.json",
    "configuration_hf_gpt.py",
    "generation_config.json",
    "layers_hf_gpt.py",
    "loss.png",
    "loss_hf_gpt.py",
    "model.safetensors",
    "modeling_hf_gpt.py",
    "recipe.yaml",
    "record.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def wanted(folder):
    """What the repository must hold, byte for byte."""
    record = read_record(folder)
    contents = hub_module.collect(folder, REPO)
    files = {path: source if isinstance(source, bytes) else source.read_bytes() for path, source in contents.files.items()}
    assert files["README.md"].decode() == render_card(record, REPO)
    return files


def on_hub(hub, revision="main"):
    files = hub.files(REPO, revision)
    files.pop(".gitattributes")
    return files


def test_a_run_is_pushed_whole(hub, folder, told, wanted):
    code, printed = told("push", folder)
    assert code == 0
    assert set(hub.files(REPO)) == EXPECTED
    assert on_hub(hub) == wanted
    for name in EXPECTED - {".gitattributes", "README.md", "recipe.yaml"}:
        assert hub.files(REPO)[name] == (folder / name).read_bytes()
    config = json.loads(hub.files(REPO)["config.json"])
    assert set(config["auto_map"]) >= {"AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForQuestionAnswering"}
    assert config["hf_gpt_version"] == hub_module.__version__
    assert f'__version__ = "{hub_module.__version__}"' in hub.files(REPO)["configuration_hf_gpt.py"].decode()
    assert not hub.repos[REPO].private
    assert hub.repos[REPO].branches["main"] in printed
    assert hub.token not in printed


def test_the_card_on_the_hub_loads_the_model_by_its_name(hub, folder):
    push(folder)
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert f'from_pretrained("{REPO}")' in card.text
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.license is None
    record = json.loads(hub.files(REPO)["record.json"])
    assert card.data.eval_results[0].metric_value == round(record["test"]["loss"], 4)
    recipe = yaml.safe_load(hub.files(REPO)["recipe.yaml"])
    assert recipe["dataset"]["files"] == ["reference.jsonl"]
    assert recipe["output_dir"] == "runs/small"


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, folder):
    push(folder)
    secret = hub.token.encode()
    assert not any(secret in content for content in hub.blobs.values())
    assert all(header is None for path, header in hub.authorizations if path.startswith("/storage/"))
    assert any(header == f"Bearer {hub.token}" for _, header in hub.authorizations)
    assert not any(secret in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_repeated_push_changes_nothing(hub, folder):
    first = push(folder)
    hub.requests.clear()
    again = push(folder)
    assert (again.commit, again.is_new) == (first.commit, False)
    assert hub.asked("PUT", "/storage/") == hub.asked("POST", "/commit/") == 0


def test_only_what_changed_is_sent(hub, folder):
    push(folder)
    (folder / "loss.png").write_bytes(b"\x89PNG another picture")
    hub.requests.clear()
    assert push(folder).is_new
    assert hub.asked("PUT", "/storage/") == 1
    assert hub.files(REPO)["loss.png"] == b"\x89PNG another picture"


PLACES = {
    "looking": ("GET", r"/api/models/alice/small$"),
    "create": ("POST", "/api/repos/create"),
    "validation": ("POST", "/api/validate-yaml"),
    "preupload": ("POST", "/preupload/"),
    "batch": ("POST", "/lfs/objects/batch"),
    "upload": ("PUT", "/storage/"),
    "commit": ("POST", "/commit/"),
}
FAILURES = {
    "500": {"status": 500},
    "429": {"status": 429, "headers": {"Retry-After": "1"}},
    "cut while sending": {"request_bytes": 100},
    "cut while answering": {"answer_bytes": 10},
    "answer lost": {"lose_answer": True},
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("place", PLACES)
def test_a_push_that_fails_once_goes_on_by_itself(hub, folder, wanted, place, failure):
    method, path = PLACES[place]
    fault = Fault(method, path, **FAILURES[failure])
    hub.faults = [fault]
    push(folder)
    assert fault.times == 0
    assert on_hub(hub) == wanted
    assert [summary for _, summary in hub.repos[REPO].log].count(f"small, with hf-gpt {hub_module.__version__}") == 1


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("place", PLACES)
def test_a_push_that_keeps_failing_is_repeated_to_the_same_repository(hub, folder, wanted, told, place, failure):
    method, path = PLACES[place]
    hub.faults = [Fault(method, path, times=math.inf, **FAILURES[failure])]
    code, printed = told("push", folder)
    if code == 0:
        # Every answer was lost, but the second attempt saw that the first had done its work.
        assert failure in ("answer lost", "cut while answering")
    else:
        assert code == 2
        # Libraries may log above it; ours is one message, the last, without a traceback.
        assert printed.count("hf-gpt: ") == 1
        assert "Rerun the same command" in printed
        assert "Traceback" not in printed
    assert hub.token not in printed
    # The old repository or the new one, never a part of either.
    if REPO in hub.repos:
        assert on_hub(hub) in ({}, wanted)
    hub.faults = []
    push(folder)
    assert on_hub(hub) == wanted


@pytest.mark.parametrize("cut", [0, 1, 4096, 30000])
def test_weights_that_are_cut_at_any_byte_are_sent_again(hub, folder, wanted, cut):
    hub.faults = [Fault("PUT", "/storage/", request_bytes=cut, times=math.inf)]
    with pytest.raises(InputError, match="Rerun the same command"):
        push(folder)
    assert on_hub(hub) == {}
    hub.faults = []
    push(folder)
    assert on_hub(hub) == wanted


def test_what_would_be_loaded_in_place_of_the_new_weights_goes(hub, folder, wanted):
    push(folder)
    stale = {"model-00001-of-00002.safetensors": b"a", "model.safetensors.index.json": b"{}", "training_args.bin": b"p"}
    hub.put(REPO, {**stale, "notes.md": b"written on the Hub"})
    push(folder)
    assert on_hub(hub) == {**wanted, "notes.md": b"written on the Hub"}


def test_a_repository_of_something_else_is_left_alone_without_force(hub, folder, wanted, told):
    hub.put(REPO, {"config.json": b'{"model_type": "bert"}', "README.md": b"mine"})
    before = hub.files(REPO)
    code, printed = told("push", folder)
    assert code == 2
    assert "alice/small was not made by hf-gpt" in printed
    assert "--force" in printed
    assert hub.files(REPO) == before
    assert told("push", folder, "--force")[0] == 0
    assert on_hub(hub) == wanted


def test_what_somebody_pushes_meanwhile_is_not_overwritten(hub, folder, monkeypatch):
    push(folder)
    (folder / "loss.png").write_bytes(b"\x89PNG new")
    card_of = hub_module.card_of

    def meanwhile(path, repo_id):
        if "/" in repo_id:
            hub.put(REPO, {"model.safetensors": b"theirs"})
        return card_of(path, repo_id)

    with monkeypatch.context() as patched:
        patched.setattr(hub_module, "card_of", meanwhile)
        with pytest.raises(InputError, match="changed by somebody else meanwhile"):
            push(folder)
    assert hub.files(REPO)["model.safetensors"] == b"theirs"


def test_private(hub, folder, told):
    push(folder, private=True)
    assert hub.repos[REPO].private
    assert not push(folder, private=True).is_new
    hub.repos[REPO].private = False
    code, printed = told("push", folder, "--private")
    assert code == 2
    assert "exists and is public" in printed


def test_a_revision_is_a_branch_of_its_own(hub, folder, wanted):
    push(folder)
    (folder / "loss.png").write_bytes(b"\x89PNG trial")
    push(folder, revision="trial")
    assert hub.files(REPO, "trial")["loss.png"] == b"\x89PNG trial"
    assert on_hub(hub) == wanted
    assert not push(folder, revision="trial").is_new


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
    line = "quote the beginnings of 1 held-out texts as prompts of samples, such as 'My diary of May'"
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


def test_without_a_token(hub, folder, told, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    code, printed = told("push", folder)
    assert code == 2
    assert "there is no access token: log in with `hf auth login`, or set HF_TOKEN" in printed


def test_a_token_that_the_hub_does_not_know(hub, folder, told, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    code, printed = told("push", folder, "--repo", REPO)
    assert code == 2
    assert "the Hub does not accept the access token" in printed
    assert SECRET not in printed


def test_a_token_that_is_told_back_is_not_printed(hub, folder, told):
    hub.faults = [Fault("POST", "/commit/", status=403, headers={"X-Error-Message": f"{hub.token} may not"}, times=math.inf)]
    code, printed = told("push", folder)
    assert code == 2
    assert "may not write to small" in printed
    assert hub.token not in printed


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("bob/small", "may not write to bob/small"),
        ("alice/small/x", "repo='alice/small/x' is not a name for a repository"),
        ("alice/sm all", "is not a name for a repository"),
    ],
)
def test_a_place_that_is_not_ours(hub, folder, told, repo, message):
    code, printed = told("push", folder, "--repo", repo)
    assert code == 2
    assert message in printed
    assert repo not in hub.repos


def test_offline(hub, folder, told, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, printed = told("push", folder)
    assert code == 2
    assert "HF_HUB_OFFLINE is set" in printed


def test_a_hub_that_is_not_there(hub, folder, told, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, printed = told("push", folder)
    assert code == 2
    assert "the connection to http://127.0.0.1:9 failed" in printed


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


def test_the_hub_checks_hashes(hub, folder):
    import urllib.error
    import urllib.request

    address = f"{hub.endpoint}/storage/{'0' * 64}"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(address, data=b"other bytes", method="PUT"))
    assert torch.is_tensor(load_file(folder / "model.safetensors")["model.norm.weight"])


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
