"""Models from folders: whole, finite, of a size that fits, or refused with what is wrong; and names that are no folder."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import tiny_config
from tests.helpers.commands import run_command
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    GPT2Config,
)

import hf_gpt
from hf_gpt.checks.names import check_name
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.inference.loading import build_new, load_config, load_pretrained, override_fields
from hf_gpt.planning import capacity
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.adapters import check_adapter
from hf_gpt.training.pretraining import model_config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "whole"
    tokenizer = train_tokenizer(iter([["some words to learn from"]]), 300, 64)
    config = tiny_config("modern", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(path, **values):
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **values}))


def command(monkeypatch, capsys, *arguments):
    """Exit code and the message of a command in this process; anything but an exit is a traceback."""
    code, out, err = run_command(monkeypatch, capsys, *arguments)
    # Before the message are the bars and warnings of libraries.
    return code, err.strip().splitlines()[-1] if code else out


PLACE = "model.layers.1.mlp.up_proj.weight"
SPOILT = {
    "missing": (lambda tensors: tensors.pop(PLACE), f"lacks the weight {PLACE}"),
    "two missing": (lambda tensors: [tensors.pop(name) for name in list(tensors)[:2]], " more, which would be random"),
    "nan": (lambda tensors: tensors[PLACE].view(-1)[3:4].fill_(float("nan")), f"the weight {PLACE} is not finite"),
    "infinity": (lambda tensors: tensors[PLACE].view(-1)[3:4].fill_(float("inf")), f"the weight {PLACE} is not finite"),
    "shape": (
        lambda tensors: tensors.update({PLACE: torch.zeros(3, 5)}),
        f"the weight {PLACE} in another shape: (3, 5) in its files and (64, 32) by its config",
    ),
    "of nobody": (
        lambda tensors: tensors.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(64, 32)}),
        "the weight model.layers.2.mlp.up_proj.weight, which no parameter takes",
    ),
    "empty": (lambda tensors: tensors.clear(), "lacks the weight"),
}


@pytest.mark.parametrize("fault", SPOILT)
@pytest.mark.parametrize("what", ["generate", "export", "evaluate"])
def test_spoilt_weights_are_not_used(what, fault, folder, tmp_path, monkeypatch, capsys):
    change, told = SPOILT[fault]
    change_weights(folder, change)
    (tmp_path / "text.txt").write_text("some words\n" * 50)
    more = {"generate": ["some"], "export": [tmp_path / "out"], "evaluate": [tmp_path / "text.txt"]}[what]
    code, message = command(monkeypatch, capsys, what, folder, *more)
    assert code == 2
    assert told in message
    assert message.startswith("hf-gpt: ")
    assert not (tmp_path / "out").exists()


def by_an_index(name):
    def lead_out(folder, outside):
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(outside)
        index = {"metadata": {}, "weight_map": dict.fromkeys(weights, name.format(outside=outside))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return lead_out


def by_a_link(folder, outside):
    (folder / "model.safetensors").rename(outside)
    (folder / "model.safetensors").symlink_to(outside)


def by_a_linked_folder(folder, outside):
    (folder / "part").symlink_to(outside.parent)
    by_an_index("part/outside.safetensors")(folder, outside)


LEADING_OUT = {
    "up": by_an_index("../outside.safetensors"),
    "down and up": by_an_index("x/../../outside.safetensors"),
    "absolute": by_an_index("{outside}"),
    "backslashes": by_an_index("..\\outside.safetensors"),
    "drive": by_an_index("C:outside.safetensors"),
    "link": by_a_link,
    "linked folder": by_a_linked_folder,
}


@pytest.mark.parametrize("way", LEADING_OUT)
def test_weights_outside_of_the_folder_are_not_read(way, folder, tmp_path, monkeypatch, capsys):
    LEADING_OUT[way](folder, tmp_path / "outside.safetensors")
    (tmp_path / "text.txt").write_text("some words\n" * 50)
    for opening in (AutoConfig, AutoTokenizer):
        monkeypatch.setattr(opening, "from_pretrained", lambda *given, **named: pytest.fail("it is opened"))
    further = f"model_name_or_path={folder}"
    for given in (
        ["generate", folder, "some"],
        ["chat", folder],
        ["evaluate", folder, tmp_path / "text.txt"],
        ["export", folder, tmp_path / "out"],
        ["import", folder, tmp_path / "out"],
        ["doctor", folder],
        ["train", tmp_path / "text.txt", "preset=null", further, f"output_dir={tmp_path / 'out'}"],
        ["train", tmp_path / "text.txt", f"tokenizer={folder}", f"output_dir={tmp_path / 'out'}"],
    ):
        code, message = command(monkeypatch, capsys, *given)
        assert code == 2, given
        assert "is a link out of that folder" in message or "lies outside of that folder" in message, message
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="out"):
        check_adapter(str(folder), "AutoModelForCausalLM")


def test_weights_beside_a_snapshot_of_the_hub_are_read(folder, tmp_path):
    """As the cache of the Hub lies on a disk: snapshots of links to blobs."""
    snapshot, blobs = tmp_path / "snapshots" / "0a1b2c", tmp_path / "blobs"
    blobs.mkdir()
    snapshot.parent.mkdir()
    folder.rename(snapshot)
    (snapshot / "model.safetensors").rename(blobs / "f00d")
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00d")
    load_pretrained(AutoModelForCausalLM, str(snapshot))


@pytest.mark.parametrize("what", ["export", "import"])
def test_nothing_is_written_into_the_folder_that_is_read(what, folder, monkeypatch, capsys):
    (folder.parent / "link").symlink_to(folder)
    before = sorted(folder.iterdir())
    for place in (folder, folder / "inside", folder.parent / "link" / "inside"):
        code, message = command(monkeypatch, capsys, what, folder, place)
        assert code == 2
        assert "is or lies in" in message
    assert sorted(folder.iterdir()) == before


def test_every_command_takes_a_home_folder_as_a_shell_does(folder, tmp_path, monkeypatch, capsys):
    """Within quotes, or after a sign of equality, a shell leaves it as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, capsys, "export", "~/model", "~/out")[0] == 0
    assert (tmp_path / "out" / "config.json").is_file()
    assert command(monkeypatch, capsys, "recipes", "~/mine")[0] == 0
    assert (tmp_path / "mine" / "pretrain").is_dir()
    assert "~" not in os.listdir()
    assert str(tmp_path / "card") in command(monkeypatch, capsys, "card", "~/card")[1]
    assert "there is no home folder of that name" in command(monkeypatch, capsys, "card", "~nobody-of-this-name")[1]


def test_a_field_that_looks_like_one_of_ours_is_told_and_what_others_add_is_not(folder, monkeypatch, capsys):
    change_json(folder / "config.json", hiden_size=3, license="none", num_labels=2, n_layer=3)
    code, out = command(monkeypatch, capsys, "generate", folder, "some", "--max-new-tokens", "1")
    told = f"Mind that 'hiden_size' in the config of model='{folder}' is not a field of GPTConfig, and is not read."
    assert (code, out.splitlines()[0]) == (0, f"{told} Did you mean 'hidden_size'?")
    assert out.count("Mind that") == 1


class Harmful:
    def __reduce__(self):
        return (os.system, ("touch ran",))


@pytest.mark.parametrize("save", [torch.save, lambda tensors, path: path.write_bytes(pickle.dumps(tensors, protocol=2))])
@pytest.mark.parametrize("what", ["generate", "export", "evaluate"])
def test_pickled_weights_with_code_are_one_line(what, save, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    save({"a": Harmful()}, folder / "pytorch_model.bin")
    (tmp_path / "text.txt").write_text("some words\n" * 50)
    more = {"generate": ["some"], "export": ["out"], "evaluate": ["text.txt"]}[what]
    code, message = command(monkeypatch, capsys, what, folder, *more)
    assert code == 2
    assert "could run code and are not read: convert them to safetensors" in message
    assert "weights_only" not in message
    assert not (tmp_path / "ran").exists()
    (folder / "pytorch_model.bin").write_text("some words")
    code, message = command(monkeypatch, capsys, what, folder, *more)
    assert (code, "weights_only" in message) == (2, False)
    assert "pytorch_model.bin is no checkpoint" in message


@pytest.mark.parametrize(
    ("auto_class", "use"),
    [
        (AutoModelForSequenceClassification, "pipeline('text-classification', ...)"),
        (AutoModelForTokenClassification, "pipeline('token-classification', ...)"),
        (AutoModelForQuestionAnswering, "transformers.AutoModelForQuestionAnswering"),
        (AutoModelForMultipleChoice, "transformers.AutoModelForMultipleChoice"),
    ],
)
@pytest.mark.parametrize("is_ours", [True, False])
def test_another_head_is_no_language_model(is_ours, auto_class, use, folder, tmp_path, monkeypatch, capsys):
    stock = GPT2Config(vocab_size=300, n_positions=16, n_embd=16, n_layer=1, n_head=2, pad_token_id=0)
    if not is_ours and auto_class is AutoModelForMultipleChoice:
        pytest.skip("transformers has no GPT-2 of that head")
    auto_class.from_config(load_config(str(folder)) if is_ours else stock).save_pretrained(folder)
    (tmp_path / "text.txt").write_text("some words\n" * 50)
    for arguments in (["generate", "some"], ["export", tmp_path / "out"], ["evaluate", tmp_path / "text.txt"]):
        code, message = command(monkeypatch, capsys, arguments[0], folder, *arguments[1:])
        assert code == 2
        assert "and no causal language model" in message
        assert use in message
    assert not (tmp_path / "out").exists()


def test_a_new_head_is_new_and_a_base_is_not(folder):
    load_pretrained(AutoModelForSequenceClassification, str(folder), head_is_new=True)
    change_weights(folder, lambda tensors: tensors.pop(PLACE))
    with pytest.raises(InputError, match="lacks the weight"):
        load_pretrained(AutoModelForSequenceClassification, str(folder), head_is_new=True)


def test_what_another_task_has_read_with_is_left_out(folder, tmp_path):
    config = load_config(str(folder))
    config.num_labels = 3
    AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path / "tagger")
    for auto_class in (AutoModelForSequenceClassification, AutoModelForQuestionAnswering):
        load_pretrained(auto_class, str(tmp_path / "tagger"), head_is_new=True)
    with pytest.raises(InputError, match=r"score\.bias, which no parameter takes"):
        load_pretrained(AutoModelForSequenceClassification, str(tmp_path / "tagger"))
    tiny = {"vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    bert = BertConfig(**tiny)
    for auto_class in (AutoModelForSequenceClassification, AutoModelForMaskedLM):
        auto_class.from_config(bert).save_pretrained(tmp_path / "bert")
        load_pretrained(AutoModelForTokenClassification, str(tmp_path / "bert"), head_is_new=True)


FIVE = {"num_experts": 5}
REFUSED_FIELDS = [
    (
        "gpt2",
        {"use_bias": False},
        r"input_layernorm\.bias and 10 more, which no parameter takes.*leave config\.use_bias=False out",
    ),
    ("gpt2", {"num_hidden_layers": 1, "layer_types": ["full_attention"]}, r"layers\.1\..* no parameter takes"),
    ("gpt2", {"norm_type": "rmsnorm"}, r"input_layernorm\.bias"),
    (
        "gpt2",
        {"position_embedding_type": "rope", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        "embed_positions",
    ),
    ("gpt2", {"tie_word_embeddings": False}, r"lacks the weight lm_head\.weight"),
    ("gpt2", {"max_position_embeddings": 32}, r"\(64, 32\) in its files and \(32, 32\) by its config: leave config\.max_posi"),
    ("modern", {"qk_norm": False}, r"k_norm\.weight and 3 more, which no parameter takes"),
    ("oss", {"attention_sinks": False}, r"sinks and 1 more, which no parameter takes"),
    (
        "oss",
        FIVE,
        r"experts\.down_proj .*\(4, 32, 64\) in its files and \(5, 32, 64\) by its config: leave config\.num_experts=5 out",
    ),
]


@pytest.mark.parametrize("is_base_alone", [False, True])
@pytest.mark.parametrize(("kind", "values", "told"), REFUSED_FIELDS)
def test_a_field_with_which_trained_weights_have_no_place_is_refused(kind, values, told, is_base_alone, tmp_path):
    """transformers tells it in a table, and goes on with what is left."""
    auto_class = AutoModel if is_base_alone else AutoModelForCausalLM
    auto_class.from_config(tiny_config(kind)).save_pretrained(tmp_path)
    config = load_config(str(tmp_path))
    override_fields(config, values)
    if is_base_alone and "tie_word_embeddings" in values:
        pytest.skip("a base alone has no output matrix")
    with pytest.raises(InputError, match=told) as raised:
        load_pretrained(AutoModelForCausalLM, str(tmp_path), config=config)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (
            "gpt2",
            {"hidden_act": "relu"},
            "config.hidden_act='relu' differs from what the weights were trained with ('gelu_new')",
        ),
        ("gpt2", {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}, "config.num_attention_heads=2 differs"),
        ("modern", {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, "config.rope_parameters="),
        ("modern", {"layer_types": ["sliding_attention"] * 2, "sliding_window": 4}, "config.sliding_window=4 differs"),
        ("oss", {"num_experts_per_tok": 1}, "config.num_experts_per_tok=1 differs"),
        ("oss", {"router_aux_loss_coef": 0.3, "resid_dropout": 0.1, "is_causal": False, "classifier_pooling": "mean"}, ""),
        ("oss", {"initializer_range": 0.5, "embedding_initializer_range": 0.5, "residual_init": "zero"}, ""),
    ],
)
def test_a_field_that_gives_trained_weights_another_meaning_is_told(kind, values, told, tmp_path, capsys):
    AutoModelForCausalLM.from_config(tiny_config(kind, tie_word_embeddings=False)).save_pretrained(tmp_path)
    config = load_config(str(tmp_path))
    override_fields(config, values)
    load_pretrained(AutoModelForCausalLM, str(tmp_path), config=config)
    out = capsys.readouterr().out
    assert told in out
    assert bool(out) is bool(told)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 must be at least 1 and at most 10,000"),
        ({"num_labels": 10**12}, "num_labels="),
        ({"vocab_size": 10**12}, "vocab_size=1,000,000,000,000 is the reason"),
        ({"hidden_size": 10**400}, "hidden_size="),
        ({"num_hidden_layers": "two"}, "cannot be loaded"),
        ({"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}, "lacks the weight model.layers.2"),
        ({"quantization_config": {"quant_method": "aqlm"}}, "cannot be loaded"),
        ({"model_type": "nothing"}, "cannot be loaded"),
        ({"model_type": None}, "cannot be loaded"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "cannot be loaded"),
    ],
)
def test_a_config_that_is_of_no_use(values, told, folder, monkeypatch, capsys):
    change_json(folder / "config.json", **values)
    code, message = command(monkeypatch, capsys, "generate", folder, "some")
    assert code == 2
    assert told in message
    assert message.startswith("hf-gpt: ")


@pytest.mark.parametrize(
    "values",
    [
        {"num_beams": 4},
        {"num_beams": 0},
        {"num_return_sequences": 3},
        {"suppress_tokens": [10**6]},
        {"cache_implementation": "nothing"},
        {"pad_token_id": "x"},
        {"eos_token_id": [[]]},
        {"min_length": "x"},
        {"repetition_penalty": -1.0},
        {"no_repeat_ngram_size": "a"},
        {"sequence_bias": [1]},
        {"forced_eos_token_id": 10**9},
        {"guidance_scale": "x"},
        {"watermarking_config": {"x": 1}},
        {"custom_generate": "evil"},
        {"compile_config": 3},
    ],
)
def test_a_generation_config_is_used_or_refused(values, folder, monkeypatch, capsys):
    change_json(folder / "generation_config.json", **values)
    code, message = command(monkeypatch, capsys, "generate", folder, "some", "--max-new-tokens", "4")
    assert code in (0, 2)
    assert code == 0 or message.startswith("hf-gpt: model=")


def test_an_adapter_is_not_taken_for_a_model(folder, tmp_path, monkeypatch, capsys):
    from hf_gpt.training.adapters import add_adapter, lora_config

    model = AutoModelForCausalLM.from_pretrained(folder)
    add_adapter(model, lora_config("AutoModelForCausalLM", {"r": 2}, False, True)).save_pretrained(tmp_path / "adapter")
    code, message = command(monkeypatch, capsys, "export", tmp_path / "adapter", tmp_path / "out")
    assert code == 2
    assert "is an adapter of" in message
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------------- sizes


MINIMAL = {"preset": "modern-5m", "dataset": "movie-reviews", "output_dir": "runs/x"}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers"),
        ({"num_labels": 10**12}, "num_labels"),
    ],
)
def test_a_config_of_a_recipe_that_no_machine_holds(config, told):
    for given in ({}, {"preset": "gpt3-125m"}):
        with pytest.raises(InputError, match=told):
            model_config(parse_recipe({**MINIMAL, **given, "config": config}), 300)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"router_aux_loss_coef": "nan"}, "router_aux_loss_coef=nan must be at least 0, and finite"),
        ({"resid_dropout": "nan"}, "resid_dropout=nan must be at least 0 and less than 1"),
        ({"norm_eps": "small"}, "config.norm_eps='small' must be a number"),
        ({"use_bias": 3}, "config.use_bias=3 is of type int, expected bool"),
    ],
)
def test_a_field_of_a_config_is_read_as_a_key_of_a_recipe_is(config, told, folder):
    with pytest.raises(InputError, match=told):
        model_config(parse_recipe({**MINIMAL, "config": config}), 300)
    with pytest.raises(InputError, match=told):
        override_fields(load_config(str(folder)), parse_recipe({**MINIMAL, "config": config}).model.config)


@pytest.mark.parametrize(
    "config",
    [hf_gpt.GPTConfig(num_hidden_layers=9000, hidden_size=4800), GPT2Config(n_embd=120_000), GPT2Config(vocab_size=10**10)],
    ids=["ours", "gpt2, wide", "gpt2, words"],
)
def test_a_model_larger_than_the_memory_is_refused_before_a_weight_is_made(config, monkeypatch):
    monkeypatch.setattr(capacity, "host_memory", lambda: 8 << 30)
    with pytest.raises(InputError, match=r"GiB, and there are 8\.0 GiB"):
        build_new(AutoModelForCausalLM, config, "it")


def test_what_would_fit_is_named(monkeypatch):
    monkeypatch.setattr(capacity, "host_memory", lambda: 8 << 30)
    wide = hf_gpt.GPTConfig(vocab_size=10**9, hidden_size=64, num_attention_heads=4)
    with pytest.raises(InputError, match=r"vocab_size=1,000,000,000 is the reason: \d\d,\d\d\d,\d\d\d would fit") as raised:
        capacity.check_memory(wide, AutoModelForCausalLM, "it")
    fits = int(str(raised.value).split(": ")[-1].split(" would")[0].replace(",", ""))
    capacity.check_memory(hf_gpt.GPTConfig(vocab_size=fits, hidden_size=64, num_attention_heads=4), None, "it")


def test_training_takes_four_times_the_weights(monkeypatch):
    monkeypatch.setattr(capacity, "host_memory", lambda: 1 << 30)
    capacity.check_memory(hf_gpt.preset("gpt2"), None, "gpt2")
    with pytest.raises(InputError, match="weights, gradients and optimizer take"):
        capacity.check_memory(hf_gpt.preset("gpt2"), None, "gpt2", trained=True)
    capacity.check_memory(hf_gpt.preset("gpt2"), None, "gpt2", trained=True, devices=2)


def test_fields_of_a_trained_config(folder):
    config = load_config(str(folder))
    override_fields(config, {"resid_dropout": 0.2})
    assert config.resid_dropout == 0.2
    wrong = [("resid_dropot", 0.2), ("resid_dropout", "x"), ("head_dim", 10**400), ("layer_types", ["full_attention"] * 9)]
    for name, value in wrong:
        with pytest.raises(InputError, match=f"config: .*{name}"):
            override_fields(load_config(str(folder)), {name: value})
    with pytest.raises(InputError, match=r"config: .*layer_types.*num_hidden_layers=9"):
        override_fields(load_config(str(folder)), {"num_hidden_layers": 9})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"n_layer": 10**9}, "n_layer=1000000000 must be"),
        ({"n_layer": 5000}, "num_hidden_layers=5000, but the checkpoint has"),
        ({"n_embd": 10**6, "n_head": 10**3}, "belong together"),
        ({"n_embd": 10**10, "n_head": 1}, "cannot be imported"),
        ({"n_embd": 10**18, "n_head": 1}, "n_embd=1000000000000000000 must be"),
        ({"vocab_size": "many"}, "config"),
        ({"n_head": 0}, "num_attention_heads=0"),
        ({"activation_function": ["x"]}, "config"),
    ],
)
def test_a_foreign_config_that_is_of_no_use(values, told, tmp_path, monkeypatch, capsys):
    small = GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=32, n_positions=16)
    AutoModelForCausalLM.from_config(small).save_pretrained(tmp_path / "gpt2")
    change_json(tmp_path / "gpt2" / "config.json", **values)
    code, message = command(monkeypatch, capsys, "import", tmp_path / "gpt2", tmp_path / "out")
    assert code == 2
    assert told in message
    assert message.startswith("hf-gpt: ")
    assert not (tmp_path / "out").exists()


def test_spoilt_foreign_weights_are_not_imported(tmp_path, monkeypatch, capsys):
    small = GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=32, n_positions=16)
    AutoModelForCausalLM.from_config(small).save_pretrained(tmp_path / "gpt2")
    change_weights(tmp_path / "gpt2", lambda tensors: tensors["transformer.wte.weight"].view(-1)[:1].fill_(float("nan")))
    code, message = command(monkeypatch, capsys, "import", tmp_path / "gpt2", tmp_path / "out")
    assert code == 2
    assert "is not finite" in message


# ----------------------------------------------------------------------------------------------------------- names


def test_a_name_that_is_no_folder_here_is_said_to_be_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="model='nope' is no folder here, and cannot be loaded from the Hub: "):
        load_config("nope")


@pytest.mark.parametrize("name", ["openai-community/gpt2", "gpt2", "Qwen/Qwen3-0.6B", "EleutherAI/pythia-1.4b", "a.b/c_d"])
def test_a_name_of_the_hub_is_let_through(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_name(name, "model")


@pytest.mark.parametrize(
    "name",
    [
        "runs/quickstart",
        "./x",
        "../x",
        "/x/y",
        "~/x",
        "a/b/c",
        "here/x",
        "a b",
        "x\0y",
        "x" * 5000,
        "",
        "-x/y",
        "file/x",
        "http://x/y",
        "hello.txt",
        "Data.JSONL.gz",
        "mine/corpus.csv",
    ],
)
def test_a_path_that_is_not_there_is_missed_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="model="):
        check_name(name, "model")
