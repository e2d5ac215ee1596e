"""What a push leaves on the Hub, whatever happens on the way."""

import json
import math

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file
from tests.hub.store import Fault

from hf_gpt.errors import InputError
from hf_gpt.hub import push as hub_module
from hf_gpt.hub.push import push
from hf_gpt.reports.model_card import render_card
from hf_gpt.reports.records import read_record


REPO = "alice/small"
EXPECTED = {
    ".gitattributes",
    "README.md",
    "config.json",
    "configuration_hf_gpt.py",
    "generation_config.json",
    "experts_hf_gpt.py",
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


SECRET = "hf_" + "S" * 34


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


def test_the_hub_checks_hashes(hub, folder):
    import urllib.error
    import urllib.request

    address = f"{hub.endpoint}/storage/{'0' * 64}"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(address, data=b"other bytes", method="PUT"))
    assert torch.is_tensor(load_file(folder / "model.safetensors")["model.norm.weight"])
