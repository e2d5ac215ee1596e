"""What `import_checkpoint` reads, and what it says about files that it cannot read."""

import io
import json
import pickle
import re
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.parity_references import random_ids, reference
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    GPT2ForSequenceClassification,
    GPT2Tokenizer,
    GptOssForCausalLM,
    Mxfp4Config,
    Qwen3ForCausalLM,
)

from hf_gpt import GPTForCausalLM, import_checkpoint
from hf_gpt.conversion import convert_folder


def assert_same(theirs, ours):
    with torch.no_grad():
        difference = theirs(random_ids()).logits - ours(random_ids()).logits
    assert difference.abs().max() <= 1e-5


@pytest.fixture
def gpt2(tmp_path):
    """A stock GPT-2, and the folder that it was saved in."""
    model = reference("gpt2")
    folder = tmp_path / "gpt2"
    model.save_pretrained(folder)
    return model, folder


def edit_json(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


# --------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("name", ["openai-gpt", "gpt2", "gpt_neo", "llama", "qwen3", "gpt_oss"])
def test_shards(name, tmp_path):
    theirs = reference(name)
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same(theirs, import_checkpoint(tmp_path))


def packed(folder):
    """A gpt-oss whose experts have numbers of 4 bits, as those that were published."""
    model = reference("gpt_oss", intermediate_size=64)
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for key in [key for key in tensors if key.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(key).shape
        tensors[f"{key}_blocks"] = torch.randint(256, (experts, outputs, inputs // 32, 16), generator=generator).byte()
        tensors[f"{key}_scales"] = torch.randint(122, 126, (experts, outputs, inputs // 32), generator=generator).byte()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    edit_json(folder / "config.json", quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})


def test_numbers_of_four_bits_are_those_that_transformers_makes_of_them(tmp_path):
    packed(tmp_path)
    theirs = GptOssForCausalLM.from_pretrained(
        tmp_path, quantization_config=Mxfp4Config(dequantize=True), dtype=torch.float32, device_map="cpu"
    )
    ours = import_checkpoint(tmp_path)
    assert ours.config.to_dict().get("quantization_config") is None
    experts, packed_ones = ours.model.layers[1].mlp.experts, theirs.model.layers[1].mlp.experts
    assert torch.equal(experts.down_proj.float(), packed_ones.down_proj.mT.float())
    assert len(experts.gate_up_proj.unique()) > 20
    assert_same(theirs.float(), ours.float())


def test_four_bits_without_their_scales_are_told(tmp_path):
    packed(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.0.mlp.experts.down_proj_scales"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"1 tensor is missing, among them model\.layers\.0\.mlp\.experts\.down_proj"):
        import_checkpoint(tmp_path)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_pickled_weights(name, sharded, tmp_path):
    theirs = reference(name)
    theirs.config.save_pretrained(tmp_path)
    tensors = list(theirs.state_dict().items())
    if sharded:
        parts = {"pytorch_model-00001-of-00002.bin": tensors[:9], "pytorch_model-00002-of-00002.bin": tensors[9:]}
        weight_map = {key: file for file, part in parts.items() for key, _ in part}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    else:
        parts = {"pytorch_model.bin": tensors}
    for file, part in parts.items():
        torch.save(dict(part), tmp_path / file)
    assert_same(theirs, import_checkpoint(tmp_path))


def test_gpt2_with_the_buffers_of_old_files(gpt2):
    theirs, folder = gpt2
    tensors = load_file(folder / "model.safetensors")
    for i in range(2):
        tensors[f"transformer.h.{i}.attn.bias"] = torch.ones(1, 1, 48, 48).tril()
        tensors[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, folder / "model.safetensors")
    assert_same(theirs, import_checkpoint(folder))


@pytest.mark.parametrize("with_buffers", [False, True])
@pytest.mark.parametrize("name", ["openai-gpt", "gpt2", "gpt_neo", "llama-tied", "qwen3-tied", "gpt_oss-tied"])
def test_base_models(name, with_buffers, tmp_path):
    theirs = reference(name)
    theirs.base_model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert not any(key.startswith(("transformer.", "model.", "lm_head")) for key in tensors)
    if with_buffers and name == "gpt2":
        save_file(tensors | {"h.0.attn.bias": torch.ones(1, 1, 48, 48)}, tmp_path / "model.safetensors")
    assert_same(theirs, import_checkpoint(tmp_path))


def test_head_that_is_stored_though_it_is_tied(gpt2):
    theirs, folder = gpt2
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    ours = import_checkpoint(folder)
    assert_same(theirs, ours)
    assert ours.lm_head.weight is ours.model.embed_tokens.weight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtype_is_kept(dtype, tmp_path):
    reference("qwen3").to(dtype).save_pretrained(tmp_path)
    theirs = Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    ours = import_checkpoint(tmp_path)
    assert {parameter.dtype for parameter in ours.parameters()} == {dtype}
    assert ours.config.dtype == dtype
    # In the narrow types the order of additions shows; the weights are equal if the wide computation is.
    assert_same(theirs.float(), ours.float())


def test_mixed_dtypes_take_the_one_that_holds_all(gpt2):
    theirs, folder = gpt2
    tensors = {key: tensor.half() if "mlp" in key else tensor for key, tensor in theirs.state_dict().items()}
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    ours = import_checkpoint(folder)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    theirs.load_state_dict(tensors, strict=False)
    assert_same(theirs, ours)


def test_generation_config_comes_along(gpt2):
    theirs, folder = gpt2
    theirs.generation_config.update(do_sample=True, temperature=0.7)
    theirs.save_pretrained(folder)
    assert import_checkpoint(folder).generation_config.temperature == 0.7


def test_rope_of_an_old_config(tmp_path):
    theirs = reference("llama", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    theirs = type(theirs)(theirs.config).eval()
    theirs.save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", rope_parameters=None, rope_theta=500.0)
    ours = import_checkpoint(tmp_path)
    assert ours.config.rope_parameters["rope_theta"] == 500.0
    assert_same(theirs, ours)


def test_repository_in_the_cache_of_the_hub(gpt2, tmp_path):
    theirs, folder = gpt2
    commit = "0" * 40
    repository = tmp_path / "cache" / "models--someone--gpt2-tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / commit)
    hub = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    assert_same(theirs, import_checkpoint("someone/gpt2-tiny", **hub))
    with pytest.raises(ValueError, match="path_or_repo='someone/other' is no folder here"):
        import_checkpoint("someone/other", **hub)


def test_imported_model_is_independent_of_the_file(gpt2, tmp_path):
    theirs, folder = gpt2
    ours = import_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(b"\0" * (folder / "model.safetensors").stat().st_size)
    assert_same(theirs, ours)


# -------------------------------------------------------------------------------------------------- convert_folder


def train_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["the cat sat on the mat"], trainer)
    return tokenizer


@pytest.mark.parametrize("files", ["old", "new"])
def test_tokenizer_comes_along(files, gpt2, tmp_path):
    _, folder = gpt2
    if files == "old":
        # GPT-2's own repository: no class is named, config.json's model_type decides.
        train_tokenizer().model.save(str(folder))
        (folder / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    else:
        train_tokenizer().save(str(folder / "tokenizer.json"))
        (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    before = AutoTokenizer.from_pretrained(folder)
    convert_folder(folder, tmp_path / "ours")
    after = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert type(after) is type(before) is GPT2Tokenizer
    assert after.eos_token == before.eos_token == "<|endoftext|>"
    assert after("the mat").input_ids == before("the mat").input_ids
    assert after.chat_template == before.chat_template
    assert (after.chat_template is None) == (files == "old")


def test_converted_folder_loads(gpt2, tmp_path):
    theirs, folder = gpt2
    convert_folder(folder, tmp_path / "ours")
    ours, info = GPTForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_same(theirs, ours)
    assert (tmp_path / "ours" / "modeling_hf_gpt.py").is_file()
    with pytest.raises(ValueError, match="not empty"):
        convert_folder(folder, tmp_path / "ours")
    with pytest.raises(ValueError, match="hf_gpt' already"):
        import_checkpoint(tmp_path / "ours")


# ---------------------------------------------------------------------------------------------------------- faults


def fails(folder, *words):
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        import_checkpoint(folder)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_truncated_safetensors(kept, gpt2):
    _, folder = gpt2
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    fails(folder, str(path), "truncated or damaged", "download it again")


@pytest.mark.parametrize("kept", [0, 1000])
def test_truncated_pickle(kept, gpt2):
    theirs, folder = gpt2
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    torch.save(theirs.state_dict(), path)
    path.write_bytes(path.read_bytes()[:kept])
    fails(folder, str(path), "truncated or damaged")


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("a pickle ran code",))


def test_pickle_with_code_is_not_run(gpt2):
    _, folder = gpt2
    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Harmful()}, folder / "pytorch_model.bin")
    fails(folder, "pytorch_model.bin", "safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(), protocol=2))
    fails(folder, "pytorch_model.bin", "safetensors")


class Program(torch.nn.Module):
    def forward(self, x):
        return x


def archive_of(name):
    with zipfile.ZipFile(path := io.BytesIO(), "w") as archive:
        archive.writestr(name, "text")
    return path.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"hello world",
        b"\x00\x01\x02\x03",
        b"version https://git-lfs.github.com/spec/v1",
        archive_of("word/document.xml"),
        Program,
    ],
)
@pytest.mark.parametrize("is_file", [True, False])
def test_what_torch_does_not_write_is_no_checkpoint_and_no_advice_of_torch_is_relayed(is_file, content, gpt2):
    _, folder = gpt2
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    if content is Program:
        torch.jit.script(Program()).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is no checkpoint: .* folder of a checkpoint") as told:
        import_checkpoint(path if is_file else folder)
    assert "weights_only" not in str(told.value)


@pytest.mark.parametrize(
    "content", [b"\x80\x02", b"\x80\x02}q\x00X.", b"\x80\x04\x95\n", b"\x80\x02\x8a\nl\xfc", b"\x80hello"]
)
def test_a_broken_pickle_is_one_line_without_the_advice_of_torch(content, gpt2):
    _, folder = gpt2
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ValueError, match="damaged") as told:
        import_checkpoint(folder)
    assert "weights_only" not in str(told.value)


def test_missing_files(gpt2, tmp_path):
    _, folder = gpt2
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "config.json is missing")
    (folder / "model.safetensors").unlink()
    fails(folder, str(folder), "no weights", "model.safetensors")
    fails(tmp_path / "no such folder", "no such folder", "does not exist: give a folder")


def test_missing_shard(tmp_path):
    reference("gpt2").save_pretrained(tmp_path, max_shard_size="10KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    fails(tmp_path, shard.name, "is missing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mamba"}, ["model_type='mamba'", "gpt2"]),
        ({"model_type": None}, ["model_type=None"]),
        ({"quantization_config": {"quant_method": "gptq"}}, ["quantization_config"]),
        ({"scale_attn_by_inverse_layer_idx": True}, ["scale_attn_by_inverse_layer_idx=True"]),
        ({"add_cross_attention": True}, ["add_cross_attention=True"]),
        ({"n_layer": 3}, ["tensors are missing", "transformer.h.2.ln_1.weight"]),
        ({"n_layer": 1}, ["no place", "transformer.h.1"]),
        ({"n_inner": 60}, ["transformer.h.0.mlp.c_fc.weight", "(32, 56)", "(32, 60)"]),
        ({"vocab_size": 60}, ["transformer.wte.weight", "(61, 32)", "(60, 32)"]),
        ({"n_head": 5}, ["hidden_size=32", "num_attention_heads=5"]),
        ({"n_layer": "two"}, ["config.json", "n_layer", "two"]),
        ({"activation_function": "tanhh"}, ["hidden_act='tanhh'"]),
        ({"tie_word_embeddings": False}, ["lm_head.weight"]),
    ],
)
def test_config_that_does_not_fit(changes, words, gpt2):
    _, folder = gpt2
    edit_json(folder / "config.json", **changes)
    fails(folder, *words)


@pytest.mark.parametrize("name", ["attention_bias", "mlp_bias"])
def test_llama_with_a_bias(name, tmp_path):
    reference("llama").save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", **{name: True})
    fails(tmp_path, f"{name}=True", f"{name}=False")


def test_config_that_is_not_json(gpt2):
    _, folder = gpt2
    (folder / "config.json").write_text("{")
    fails(folder, "config.json is not JSON")
    (folder / "config.json").write_text("[]")
    fails(folder, "config.json holds a list")


def test_head_that_contradicts_tying(gpt2):
    _, folder = gpt2
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": torch.zeros(61, 32)}, folder / "model.safetensors")
    fails(folder, "tie_word_embeddings=True", "lm_head.weight")


def test_checkpoint_of_another_head(tmp_path):
    config = reference("gpt2").config
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    fails(tmp_path, "score.weight", "no place")
