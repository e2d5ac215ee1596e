"""Input that was broken at random: a config builds a model that works or is refused before a weight is made, and so with files.

`make fuzz` makes 10,000 configs and a thousand of each other kind, from the seed in its record; the suite a few dozens, always the
same ones.
"""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
import yaml
from benchmarks.tiny import recipe_values
from huggingface_hub.errors import StrictDataclassError
from hypothesis import example, given
from hypothesis import strategies as st
from tests.helpers.fuzzing import IS_LONG, VALUES, fuzzed
from torch import nn

import hf_gpt
from hf_gpt.data.loading import load_rows
from hf_gpt.data.packing import tokenize
from hf_gpt.data.sources import text_source
from hf_gpt.data.splits import split_rows, text_hash
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.inference.loading import load_model
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.reports.records import read_record
from hf_gpt.training.adapters import add_adapter, check_adapter, check_base, load_adapter, lora_config


@contextlib.contextmanager
def used_or_refused(outcomes):
    try:
        yield
    except InputError:
        outcomes["refused"] += 1
    else:
        outcomes["used"] += 1


# --------------------------------------------------------------------------------------------------------- configs

SMALL = st.integers(min_value=-1, max_value=9)
FIELDS = {
    "vocab_size": st.sampled_from([0, 1, 2, 17, 64]),
    "hidden_size": st.sampled_from([0, 1, 4, 8, 12, 16, 30]),
    "num_hidden_layers": st.integers(0, 3),
    "num_attention_heads": st.integers(-1, 5),
    "num_key_value_heads": st.none() | st.integers(-1, 5),
    "head_dim": st.none() | SMALL,
    "intermediate_size": st.none() | st.integers(-1, 20),
    "max_position_embeddings": st.integers(0, 40),
    "norm_position": st.sampled_from(["pre", "post", "middle"]),
    "norm_type": st.sampled_from(["layernorm", "rmsnorm", "batchnorm"]),
    "position_embedding_type": st.sampled_from(["learned", "rope", "alibi"]),
    "mlp_type": st.sampled_from(["mlp", "glu", "moe", ""]),
    "num_experts": SMALL,
    "num_experts_per_tok": SMALL,
    "router_aux_loss_coef": st.sampled_from([0.0, 0.01, -1, float("nan")]),
    "attention_sinks": st.booleans(),
    "hidden_act": st.sampled_from(["gelu_new", "silu", "relu", "no such act"]),
    "qk_norm": st.booleans(),
    "use_bias": st.booleans(),
    "is_causal": st.just(True),
    "tie_word_embeddings": st.booleans(),
    "residual_init": st.sampled_from(["none", "depth_scaled", "zero", "one"]),
    "layer_types": st.none() | st.lists(st.sampled_from(["full_attention", "sliding_attention", "other"]), max_size=3),
    "sliding_window": st.none() | st.integers(-1, 8),
    "resid_dropout": st.sampled_from([0.0, 0.1, 1.0, -0.5, float("nan")]),
    "attention_dropout": st.sampled_from([0.0, 0.1, 1]),
    "norm_eps": st.sampled_from([1e-5, 0.0, -1.0, float("nan"), float("inf")]),
    "initializer_range": st.sampled_from([0.02, 0, -1, float("nan")]),
    "embedding_initializer_range": st.sampled_from([None, 1, -1, float("nan")]),
    "rope_parameters": st.none()
    | st.sampled_from(
        [
            {"rope_type": "default", "rope_theta": 1e4},
            {"rope_type": "nothing", "rope_theta": 1e4},
            {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
            {"rope_type": "linear", "rope_theta": float("nan"), "factor": 0},
            {"rope_type": "yarn", "rope_theta": 1e4},
        ]
    ),
}
REASONABLE = {
    "vocab_size": 64,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}


@st.composite
def configs(draw):
    """Reasonable values, some of which are replaced: with all at random, hardly any would be valid."""
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=8, unique=True))
    return {**REASONABLE, **{name: draw(FIELDS[name]) for name in names}}


@fuzzed(60, 10_000)
@given(values=configs())
def test_a_config_works_or_is_refused_before_a_weight_is_made(values, outcomes):
    try:
        config = hf_gpt.GPTConfig(**values)
    except (ValueError, StrictDataclassError) as error:
        message = str(error.__cause__ or error)
        assert any(name in message for name in FIELDS), message
        outcomes["refused"] += 1
        return
    outcomes["used"] += 1
    torch.manual_seed(0)
    model = hf_gpt.GPTForCausalLM(config)
    ids = torch.randint(config.vocab_size, (2, min(6, config.max_position_embeddings)))
    loss = model(input_ids=ids, labels=ids).loss
    # The only position of a row has no next token to predict.
    if ids.shape[1] > 1:
        assert torch.isfinite(loss)
        loss.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = hf_gpt.GPTForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, again(input_ids=ids).logits)
    if ids.shape[1] < config.max_position_embeddings:
        new = again.generate(ids[:, :-1] if ids.shape[1] > 1 else ids, max_new_tokens=1, do_sample=False, pad_token_id=0)
        assert int(new.max()) < config.vocab_size


# --------------------------------------------------------------------------------------------------------- recipes

RECIPE = recipe_values(Path("corpus.jsonl"), Path("runs/fuzz"))


@pytest.fixture(autouse=True)
def no_weights(request, monkeypatch):
    if "recipe" in request.node.name:
        monkeypatch.setattr(nn.Module, "__init__", lambda *a, **k: pytest.fail("a weight was made"))


@fuzzed(60)
@example(key="seed", value=1)
@given(key=st.sampled_from([*RECIPE, "on_nan", "task", "seed", "save_strategy", "bf16"]) | st.text(max_size=10), value=VALUES)
def test_a_recipe_with_a_value_of_any_kind_is_read_or_refused(key, value, outcomes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump({**RECIPE, key: value}), encoding="utf-8")
        with used_or_refused(outcomes):
            load_recipe(str(path))


@fuzzed(60)
@given(place=st.integers(0, 2000), cut=st.integers(0, 12), put=st.binary(max_size=8))
def test_a_recipe_whose_bytes_are_broken_is_read_or_refused(place, cut, put, outcomes):
    content = yaml.safe_dump(RECIPE).encode()
    place %= len(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_bytes(content[:place] + put + content[place + cut :])
        with used_or_refused(outcomes):
            load_recipe(str(path))


# ------------------------------------------------------------------------------------------------------------ text

ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([["some words to learn from", "and 漢字 🙂"]]), 300, 64)


@fuzzed(60)
@given(text=ANY_TEXT)
def test_any_text_comes_back_from_its_tokens(text, tokenizer, outcomes):
    outcomes["used"] += 1
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert all(0 <= token < len(tokenizer) for token in ids)
    if "<|" not in text:
        assert tokenizer.decode(ids) == text


@fuzzed(20)
@given(text=st.text(max_size=30))
def test_any_text_has_a_hash_and_so_a_split(text, outcomes):
    """Lone surrogates, too, as a JSON file may hold them."""
    outcomes["used"] += 1
    assert 0 <= text_hash(text) < 2**63


def lines_of_json(path, lines):
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    return load_rows(text_source({"path": "json", "files": str(path)}))


def test_a_line_of_megabytes_and_nul(tokenizer, tmp_path):
    """Ten of them in `make fuzz`, one in the suite."""
    lines = ["word " * (2_000_000 if IS_LONG else 200_000), "\0\0 nul", *(f"line {i}" for i in range(50))]
    splits = split_rows(lines_of_json(tmp_path / "lines.jsonl", lines), "text", 0.2, 0.2).parts
    assert sum(len(split) for split in splits.values()) == len(lines)
    for split in splits.values():
        assert len(tokenize(split, tokenizer)) == len(split)


def test_a_lone_surrogate_in_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"row 1 of lines.jsonl holds half of a character, \\ud800"):
        lines_of_json(tmp_path / "lines.jsonl", ["whole", "half \ud800"])


# ----------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("models") / "model"
    hf_gpt.GPTForCausalLM(hf_gpt.GPTConfig(**{**REASONABLE, "vocab_size": len(tokenizer)})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@fuzzed(40)
@given(
    name=st.sampled_from(["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]),
    place=st.integers(0, 4000),
    cut=st.integers(0, 40) | st.just(10**9),
    put=st.binary(max_size=10),
)
def test_a_model_whose_files_are_broken_is_loaded_or_refused(name, place, cut, put, model_folder, outcomes):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(model_folder, folder)
        content = (folder / name).read_bytes()
        place %= len(content)
        (folder / name).write_bytes(content[:place] + put + content[place + cut :])
        with used_or_refused(outcomes):
            load_model(str(folder))


@pytest.fixture(scope="module")
def adapter_folder(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("models") / "adapter"
    config = lora_config("AutoModelForCausalLM", {"r": 2}, has_new_tokens=False, is_tied=True)
    add_adapter(hf_gpt.GPTForCausalLM.from_pretrained(model_folder), config).save_pretrained(folder)
    return folder


@fuzzed(30)
@given(
    name=st.sampled_from(["adapter_model.safetensors", "adapter_config.json"]),
    place=st.integers(0, 2000),
    cut=st.integers(0, 40) | st.just(10**9),
    put=st.binary(max_size=10),
)
def test_an_adapter_whose_files_are_broken_is_loaded_or_refused(name, place, cut, put, model_folder, adapter_folder, outcomes):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "adapter"
        shutil.copytree(adapter_folder, folder)
        content = (folder / name).read_bytes()
        place %= len(content)
        (folder / name).write_bytes(content[:place] + put + content[place + cut :])
        with used_or_refused(outcomes):
            model = hf_gpt.GPTForCausalLM.from_pretrained(model_folder)
            check_adapter(str(folder), "AutoModelForCausalLM")
            check_base(str(folder), str(model_folder))
            load_adapter(model, str(folder), str(model_folder), "AutoModelForCausalLM")


@fuzzed(40)
@given(content=st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_a_record_of_any_bytes_is_read_or_refused(content, outcomes):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "record.json").write_bytes(content)
        with used_or_refused(outcomes):
            assert isinstance(read_record(Path(folder)), dict)
