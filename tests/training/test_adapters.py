"""Adapters of a task: loaded, trained further, of every kind that peft has a key for."""

import json
import os
import pickle
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.conftest import tiny_config
from tests.helpers.recipes import classification, task_values, write_base, write_rows
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from hf_gpt.errors import InputError
from hf_gpt.inference import adapter_config
from hf_gpt.inference.adapter_config import adapter_base
from hf_gpt.inference.loading import find_base as find_base_of
from hf_gpt.inference.loading import load_model
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports.records import folder_hash
from hf_gpt.training import adapters
from hf_gpt.training.finetuning import build_task, model_config
from hf_gpt.training.preparation import check_sources, find_base
from hf_gpt.training.run import run


@pytest.fixture(scope="module")
def adapted(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    rows = write_rows(folder, classification)
    values = task_values(base, rows, folder / "adapter", "text-classification", lora={"r": 4}, max_steps=60)
    return folder, values, run(parse_recipe(values))


def test_an_adapter_loads_by_itself_and_as_several_on_one_base(adapted, base):
    from peft import AutoPeftModelForSequenceClassification, PeftModel

    folder, values, record = adapted
    assert record["saved_bytes"] < 100_000
    ids = torch.randint(5, 300, (1, 9))
    wanted = AutoPeftModelForSequenceClassification.from_pretrained(folder / "adapter", num_labels=2).eval()(ids).logits
    run(parse_recipe({**values, "output_dir": str(folder / "other"), "seed": 1, "max_steps": 10}))
    trunk = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    both = PeftModel.from_pretrained(trunk, folder / "adapter", adapter_name="first").eval()
    both.load_adapter(folder / "other", adapter_name="second")
    both.set_adapter("second")
    assert (both(ids).logits - wanted).abs().max() > 1e-3
    both.set_adapter("first")
    torch.testing.assert_close(both(ids).logits, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(both.merge_and_unload()(ids).logits, wanted, rtol=0, atol=1e-4)


def test_an_adapter_is_trained_further(adapted):
    folder, values, record = adapted
    more = {**values, "output_dir": str(folder / "more"), "adapter": str(folder / "adapter"), "max_steps": 10}
    more.pop("lora")
    continued = run(parse_recipe(more))
    first = next(row["loss"] for row in continued["history"] if "loss" in row)
    begun = next(row["loss"] for row in record["history"] if "loss" in row)
    assert first < begun


def spoilt(base, folder):
    """The same model by its name and its shapes, with other weights."""
    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_an_adapter_knows_its_base_by_its_weights_and_else_by_its_name(adapted, base, tmp_path):
    folder, values, record = adapted
    assert record["base_sha256"]
    further = {**values, "output_dir": str(tmp_path / "never"), "adapter": str(folder / "adapter"), "lora": None}
    other, renamed = spoilt(base, tmp_path / base.name), shutil.copytree(base, tmp_path / "renamed")
    with pytest.raises(InputError, match=r"was trained on .* with other weights than model_name_or_path"):
        run(parse_recipe({**further, "model_name_or_path": str(other)}))
    find_base(parse_recipe({**further, "model_name_or_path": str(renamed)}))
    alone = shutil.copytree(folder / "adapter", tmp_path / "alone", ignore=shutil.ignore_patterns("record.json"))
    further["adapter"] = str(alone)
    with pytest.raises(InputError, match="was trained on"):
        run(parse_recipe({**further, "model_name_or_path": str(renamed)}))
    find_base(parse_recipe({**further, "model_name_or_path": str(other)}))
    assert not (tmp_path / "never").exists()


def test_a_base_is_hashed_once_for_as_long_as_nothing_of_its_weights_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_GPT_CACHE", str(tmp_path / "cache"))
    hashed = []
    monkeypatch.setattr(adapter_config, "folder_hash", lambda folder: hashed.append(folder) or folder_hash(folder))
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    adapter.mkdir()
    base.mkdir()
    weights = base / "model.safetensors"
    weights.write_bytes(b"weights")
    (adapter / "record.json").write_text(json.dumps({"base_sha256": folder_hash(base)}))

    def is_same():
        hashed.clear()
        return adapter_config.is_same_base(str(adapter), str(base)), len(hashed)

    # Files that are this young could change again at the same time by their clock.
    assert [is_same(), is_same()] == [(True, 1), (True, 1)]
    now = time.time_ns()
    monkeypatch.setattr(adapter_config.time, "time_ns", lambda: now + 10**10)
    assert [is_same(), is_same()] == [(True, 1), (True, 0)]
    at = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(at.st_atime_ns, at.st_mtime_ns))
    # As large, and as old by the time that can be set.
    assert [is_same(), is_same()] == [(False, 1), (False, 1)]
    weights.write_bytes(b"weights")
    assert is_same() == (True, 1)
    (base / "more.safetensors").write_bytes(b"")
    assert is_same() == (False, 1)


def test_an_adapter_that_is_trained_further_names_the_base_that_it_was_given(adapted, base, tmp_path):
    folder, _, _ = adapted
    renamed = shutil.copytree(base, tmp_path / "renamed")
    model = AutoModelForSequenceClassification.from_pretrained(renamed, num_labels=2)
    further = adapters.load_adapter(model, str(folder / "adapter"), str(renamed), "AutoModelForSequenceClassification")
    further.save_pretrained(tmp_path / "further")
    assert adapter_base(str(tmp_path / "further")) == str(renamed)


def test_a_relative_base_is_found_where_the_run_was_started_and_is_the_same(adapted, base, tmp_path, monkeypatch):
    folder, _, _ = adapted
    copy = shutil.copytree(folder / "adapter", tmp_path / "adapter")
    config = json.loads((copy / "adapter_config.json").read_text())
    name = f"models/{base.name}"
    (copy / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": name, "task_type": "CAUSAL_LM"})
    )
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="where the run was started: give it there, or write the whole path") as refused:
        load_model("adapter")
    assert "\n" not in str(refused.value)
    spoilt(base, tmp_path / name)
    with pytest.raises(InputError, match=f"was trained on other weights than those in '{name}'"):
        load_model("adapter")
    shutil.rmtree(tmp_path / name)
    shutil.copytree(base, tmp_path / name)
    assert find_base_of("adapter", name, "x") == name


@pytest.mark.parametrize("key", ["model_name_or_path", "adapter", "reward_model", "tokenizer"])
def test_a_run_is_not_written_over_what_it_starts_from(key, adapted, base, tmp_path):
    folder, values, _ = adapted
    (tmp_path / "link").symlink_to(tmp_path)
    source = shutil.copytree(
        base if key in ("model_name_or_path", "tokenizer") else folder / "adapter", tmp_path / "in" / "it"
    )
    given = {**values, "lora": None, "overwrite": True, key: str(source)}
    given |= {"task": "reinforcement", "reward": "model"} if key == "reward_model" else {}
    for place, how in (("in/it", "is"), ("in", "holds"), ("in/it/run", "lies in"), ("link/in/it", "is")):
        recipe = parse_recipe({**given, "output_dir": str(tmp_path / place)})
        with pytest.raises(InputError, match=f"{place}' {how} {key}='.*', from which the run starts"):
            run(recipe)
    assert {path.name for path in source.iterdir()} >= {"tokenizer.json"}
    check_sources(parse_recipe({**given, "output_dir": str(tmp_path / "in" / "it-too")}))


def test_a_run_is_not_written_over_the_base_of_its_adapter_or_its_rows(adapted, base, tmp_path):
    folder, values, _ = adapted
    given = {**values, "lora": None, "adapter": str(folder / "adapter"), "model_name_or_path": "elsewhere"}
    with pytest.raises(InputError, match="is the base of adapter="):
        check_sources(parse_recipe({**given, "output_dir": str(base)}))
    rows = write_rows(tmp_path, classification)
    for files in (str(rows), str(tmp_path / "*.jsonl"), [str(tmp_path)]):
        for dataset in ({"path": "json", "files": files}, {"path": "json", "files": "x.jsonl", "test": {"files": files}}):
            with pytest.raises(InputError, match=r"(is|holds) dataset="):
                check_sources(parse_recipe({**values, "dataset": dataset, "output_dir": str(tmp_path)}))
            # What is a run's is passed over where a folder is read.
            check_sources(parse_recipe({**values, "dataset": dataset, "output_dir": str(tmp_path / "run")}))


def test_lora_needs_no_target_modules(base):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM"))
    adapted = {name.split(".lora_A")[0].split(".")[-1] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_qlora_is_allowed_wherever_bitsandbytes_runs(monkeypatch):
    """A stand-in for bitsandbytes, which is not installed for tests: transformers asks it which devices it knows."""
    devices = SimpleNamespace(supported_torch_devices={"cpu", "cuda"})
    monkeypatch.setattr(adapters, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setattr("transformers.integrations.bitsandbytes.bnb", devices, raising=False)
    for is_native, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(adapters.hardware, "multiplies_natively", lambda *_, is_native=is_native: is_native)
        config = adapters.four_bit_config()
        assert (config.bnb_4bit_quant_type, config.bnb_4bit_compute_dtype) == ("nf4", dtype)
    devices.supported_torch_devices = {"npu"}
    with pytest.raises(InputError, match="runs on no device of this machine"):
        adapters.four_bit_config()


def test_qlora_trains_an_adapter_on_this_machine(tmp_path):
    pytest.importorskip("bitsandbytes", reason="one of 40 MB that few need")
    # Its kernels take whole blocks of 64.
    wide = write_base(tmp_path / "wide", hidden_size=128, head_dim=32, intermediate_size=128)
    rows = write_rows(tmp_path, classification)
    record = run(parse_recipe(task_values(wide, rows, tmp_path / "run", "text-classification", qlora={"r": 4})))
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    assert losses[-1] < 0.96 * losses[0]
    assert record["adapter"] == "qlora"


@pytest.mark.parametrize("kind", [{"use_dora": True}, {"use_rslora": True}, {"target_modules": ["q_proj"]}], ids=str)
def test_kinds_of_lora_are_keys(kind, base, tmp_path):
    """By what they do: a magnitude beside each matrix, a scale of alpha / sqrt(r), and where the matrices are."""
    from peft import AutoPeftModelForSequenceClassification
    from peft.tuners.lora import LoraLayer
    from safetensors import safe_open

    rows = write_rows(tmp_path, classification, 60)
    lora = {"r": 4, "lora_alpha": 6, **kind}
    run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", lora=lora, max_steps=2)))
    with safe_open(tmp_path / "run" / "adapter_model.safetensors", "pt") as file:
        saved = set(file.keys())
    assert any("lora_magnitude" in name for name in saved) == ("use_dora" in kind)
    placed = {name.split(".lora_")[0].split(".")[-1] for name in saved if ".lora_" in name}
    assert (placed == {"q_proj"}) == ("target_modules" in kind)
    model = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "run", num_labels=2)
    scales = {module.scaling["default"] for module in model.modules() if isinstance(module, LoraLayer) and module.scaling}
    assert scales == {6 / 2 if "use_rslora" in kind else 6 / 4}


def test_experts_are_adapted_by_the_names_of_their_parameters(tmp_path):
    """They are parameters of three dimensions, and no modules."""
    from peft import AutoPeftModelForSequenceClassification
    from safetensors import safe_open

    base = write_base(tmp_path / "base", "oss")
    lora = {"r": 2, "target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
    rows = write_rows(tmp_path, classification, 60)
    run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", lora=lora, max_steps=4)))
    with safe_open(tmp_path / "run" / "adapter_model.safetensors", "pt") as file:
        names = [name for name in set(file.keys()) if "experts" in name and "lora_B" in name]
        saved = {name: file.get_tensor(name) for name in names}
    assert len(saved) == 4
    assert all(weight.abs().max() > 0 for weight in saved.values())
    ids = torch.randint(5, 300, (1, 9))
    model = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "run", num_labels=2).eval()
    wanted = model(ids).logits
    torch.testing.assert_close(model.merge_and_unload()(ids).logits, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layer", [0, 9])
def test_an_adapter_that_does_not_find_its_place_weight_by_weight_is_refused(layer, base, tmp_path):
    """peft warns of what is missing and says nothing of what is left; transformers shows a table of both."""
    config = adapters.lora_config("AutoModelForCausalLM", {"r": 2}, False, True)
    adapters.add_adapter(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path)
    for path in base.glob("tokenizer*"):
        shutil.copy(path, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    first = next(name for name in tensors if "layers.0." in name)
    # One of layer 0 is taken away, or one of layer 9 added.
    tensor = tensors.pop(first) if layer == 0 else tensors[first]
    tensors |= {} if layer == 0 else {first.replace("layers.0.", "layers.9."): tensor.clone()}
    save_file(tensors, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    told = r"lacks the weight .*layers\.0\." if layer == 0 else r"has no place for its weight .*layers\.9\."
    with pytest.raises(InputError, match=told):
        load_model(str(tmp_path))
    model = AutoModelForCausalLM.from_pretrained(base)
    with pytest.raises(InputError, match=told):
        adapters.load_adapter(model, str(tmp_path), str(base), "AutoModelForCausalLM")


@pytest.mark.parametrize("content", [b"some words", pickle.dumps(print)])
@pytest.mark.parametrize("auto_class", ["AutoModelForCausalLM", "AutoModelForSequenceClassification"])
def test_an_adapter_whose_weights_are_no_pickle_of_tensors_is_one_line(auto_class, content, base, tmp_path):
    config = adapters.lora_config("AutoModelForCausalLM", {"r": 2}, False, True)
    adapters.add_adapter(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter_model.bin").write_bytes(content)
    model = getattr(transformers, auto_class).from_pretrained(base)
    told = (
        r"adapter_model\.bin is no checkpoint" if b"words" in content else "convert them to safetensors where they come from"
    )
    with pytest.raises(InputError, match=told) as raised:
        adapters.load_adapter(model, str(tmp_path), str(base), auto_class)
    assert "weights_only" not in str(raised.value)


def test_an_answer_is_never_learned_by_a_model_that_sees_it(base, tmp_path):
    rows = write_rows(tmp_path, classification)
    recipe = parse_recipe(task_values(base, rows, tmp_path / "run", "chat", config={"is_causal": False}))
    with pytest.raises(InputError, match=r"config\.is_causal=false: each position would see the answer that task='chat'"):
        model_config(recipe, build_task(recipe))


EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        (
            {"target_parameters": [*EXPERTS, "mlp.experts.nope"]},
            "target_parameters has 'mlp.experts.nope', which names no parameter",
        ),
        ({"target_modules": ["q_proj", "c_attn"]}, "target_modules has 'c_attn', which names no module"),
        (
            {"target_modules": ".*[.]c_attn", "target_parameters": EXPERTS},
            "target_modules has '.*[.]c_attn', which names no module",
        ),
        ({"target_modules": "("}, "target_modules='(' is no regular expression"),
        ({"exclude_modules": ["lm_head", "wte"]}, "exclude_modules has 'wte', which names no matrix"),
        # A block is left out by its matrices.
        ({"exclude_modules": ["layers.0"]}, "exclude_modules has 'layers.0', which names no matrix"),
        ({"modules_to_save": ["embed_tokens", "wte"]}, "modules_to_save has 'wte', which names no module"),
        ({"trainable_token_indices": {"wte": [1]}}, "trainable_token_indices has 'wte', which names no module"),
        ({"trainable_token_indices": [9999]}, "lora: "),
        ({"layers_to_transform": [0, 7]}, "layers_to_transform has 7, which names no adapted module"),
        ({"layers_to_transform": 7}, "lora: "),
        ({"target_modules": [], "target_parameters": EXPERTS, "layers_to_transform": 0}, "layers_to_transform has 0"),
        (
            {"layers_to_transform": 0, "layers_pattern": ["layers", "h"]},
            "layers_pattern has 'h', which names no adapted module",
        ),
        ({"rank_pattern": {"q_proj": 2, "k_proj": 4}}, "rank_pattern has 'k_proj', which names no adapted matrix"),
        ({"alpha_pattern": {"nope": 2}}, "alpha_pattern has 'nope', which names no adapted matrix"),
    ],
    ids=str,
)
def test_an_entry_that_names_nothing_is_refused_beside_one_that_does(lora, words):
    model = AutoModelForCausalLM.from_config(tiny_config("oss"))
    config = adapters.lora_config("AutoModelForCausalLM", {"target_modules": ["q_proj"], **lora}, False, False)
    with pytest.raises(InputError) as refused:
        adapters.add_adapter(model, config)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    if "which names no" in words:
        assert " of the model: there are " in str(refused.value)


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": "all-linear", "exclude_modules": ["k_proj", "router"], "layers_to_transform": None},
        {"target_modules": r".*\.(q|k)_proj", "rank_pattern": {r"0\.self_attn\.[qk]_proj": 2}},
        {"target_modules": ["layers.1.self_attn.q_proj", "o_proj"], "target_parameters": EXPERTS, "layers_to_transform": [1]},
        {"target_parameters": EXPERTS, "rank_pattern": {"experts.down_proj": 1}, "modules_to_save": ["embed_tokens", "norm"]},
        {"layers_to_transform": 1, "layers_pattern": "layers", "trainable_token_indices": {"embed_tokens": [1, 2]}},
        {"trainable_token_indices": [3], "exclude_modules": r".*\.1\..*"},
    ],
    ids=str,
)
def test_entries_that_name_something_are_as_peft_takes_them(lora):
    model = AutoModelForCausalLM.from_config(tiny_config("oss"))
    config = adapters.lora_config("AutoModelForCausalLM", {"target_modules": ["q_proj"], **lora}, False, False)
    assert adapters.add_adapter(model, config).get_nb_trainable_parameters()[0]
