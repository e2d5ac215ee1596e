"""The GGUF file holds the model, as `transformers`' own reader of GGUF sees it, and its tokenizer."""

import json
import logging
from functools import partial

import numpy as np
import pytest
import torch
from tests.helpers.parity_references import random_ids
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2Config, PreTrainedTokenizerFast, Qwen3Config

from hf_gpt import GPTForCausalLM, export_checkpoint, list_presets, preset


gguf = pytest.importorskip("gguf")

from hf_gpt.conversion.gguf_file import choose_architecture  # noqa: E402
from hf_gpt.reports import terminal  # noqa: E402


VOCABULARY = 300
SPECIAL = ["<|endoftext|>", "<|user|>"]
# transformers reads neither a GPT-2's context length nor a Qwen3's head_dim from the file: these have its defaults.
MODELS = {
    "gpt2": ("gpt2", {"hidden_size": 32, "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 0}),
    "gpt2-unbiased": (
        "gpt2",
        {"hidden_size": 32, "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 0, "use_bias": False},
    ),
    "gpt2-untied": (
        "gpt2",
        {"hidden_size": 32, "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False},
    ),
    "llama": (
        "modern-5m",
        {"hidden_size": 48, "num_attention_heads": 4, "head_dim": 16, "intermediate_size": 56, "qk_norm": False},
    ),
    "qwen3": (
        "modern-5m",
        {"hidden_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 128, "intermediate_size": 56},
    ),
    "qwen3-untied": (
        "modern-5m",
        {
            "hidden_size": 48,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 128,
            "intermediate_size": 56,
            "tie_word_embeddings": False,
        },
    ),
}


def model_of(name, **overrides):
    base, values = MODELS[name]
    torch.manual_seed(0)
    config = preset(base, **{"vocab_size": VOCABULARY, "num_hidden_layers": 2, **values, **overrides})
    model = GPTForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def tokenizer_of(pre_tokenizer=None, normalizer=None):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = byte_level if pre_tokenizer is None else pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    if normalizer:
        backend.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(["the cat sat on the mat in the year 1984"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=SPECIAL[0], eos_token=SPECIAL[0])
    tokenizer.chat_template = "{{ messages[0].content }}"
    return tokenizer


def smollm():
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def fields_of(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_logits(name, dtype, tmp_path):
    model = model_of(name)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    assert export_checkpoint(model, tmp_path / "out", "gguf", tokenizer=tokenizer_of()) == "gguf"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.gguf"]
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="model.gguf", dtype=torch.float32)
    assert theirs.config.model_type == name.split("-")[0]
    assert theirs.config.tie_word_embeddings == model.config.tie_word_embeddings
    with torch.no_grad():
        expected, found = model.float()(random_ids()).logits, theirs(random_ids()).logits
    assert expected.std() > 0.5
    assert (expected - found).abs().max() <= 1e-5
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "out" / "model.gguf").tensors}
    assert types == {"F32", {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[str(dtype).split(".")[1]]}


def test_what_the_reader_of_transformers_does_not_read(tmp_path):
    export_checkpoint(model_of("qwen3"), tmp_path / "qwen3", "gguf")
    fields = fields_of(tmp_path / "qwen3" / "model.gguf")
    assert fields["qwen3.attention.key_length"] == fields["qwen3.attention.value_length"] == 128
    assert fields["qwen3.context_length"] == 1024
    assert fields["qwen3.vocab_size"] == VOCABULARY
    assert fields["tokenizer.ggml.model"] == "no_vocab"


# What the page says of files that are read alone: sizes that the reader takes from the defaults of its config classes.
READ_WRONG = {
    "head_dim of a Qwen3": ("qwen3", {"head_dim": 64}, "self_attn.q_proj.weight"),
    "positions of a GPT-2": ("gpt2", {"max_position_embeddings": 64}, "wpe.weight"),
    "width of a GPT-2's MLP": ("gpt2", {"intermediate_size": 96}, "mlp.c_fc.weight"),
    "entries of a GPT-2 without a tokenizer": ("gpt2", {}, "wte.weight"),
}


@torch.no_grad()
@pytest.mark.parametrize("case", READ_WRONG)
def test_what_the_reader_of_transformers_derives_it_can_be_told(case, tmp_path, caplog, monkeypatch):
    # A command that has run in this process leaves these tables out.
    for logger in terminal.REPORTS:
        monkeypatch.setattr(logging.getLogger(logger), "filters", [])
    name, overrides, matrix = READ_WRONG[case]
    model = model_of(name, **overrides)
    tokenizer = None if "tokenizer" in case else tokenizer_of()
    export_checkpoint(model, tmp_path / "gguf", "gguf", tokenizer=tokenizer)
    export_checkpoint(model, tmp_path / "native")
    read = partial(AutoModelForCausalLM.from_pretrained, tmp_path / "gguf", gguf_file="model.gguf", dtype=torch.float32)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        read()
    assert matrix in caplog.text
    theirs = read(config=AutoConfig.from_pretrained(tmp_path / "native"))
    assert (theirs(random_ids()).logits - model(random_ids()).logits).abs().max() <= 1e-5


def test_the_presets_whose_file_is_read_alone():
    derived = {"gpt2": GPT2Config().n_positions, "qwen3": Qwen3Config().head_dim}
    found = {
        name
        for name in list_presets()
        if (config := preset(name)).norm_position == "pre"
        and "sliding_attention" not in config.layer_types
        and derived[choose_architecture(config)] == (config.head_dim if config.qk_norm else config.max_position_embeddings)
    }
    assert found == {"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "modern-1b"}


@pytest.mark.parametrize("pre", ["gpt-2", "smollm"])
def test_tokenizer(pre, tmp_path):
    tokenizer = tokenizer_of(smollm() if pre == "smollm" else None)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for i, given in enumerate((tokenizer, tmp_path / "tokenizer")):
        export_checkpoint(model_of("llama"), tmp_path / f"out{i}", "gguf", tokenizer=given)
        fields = fields_of(tmp_path / f"out{i}" / "model.gguf")
        assert fields["tokenizer.ggml.model"] == "gpt2"
        assert fields["tokenizer.ggml.pre"] == pre
        assert fields["tokenizer.ggml.eos_token_id"] == 0
        assert fields["tokenizer.ggml.add_bos_token"] is False
        assert fields["tokenizer.chat_template"] == tokenizer.chat_template
        vocabulary = tokenizer.get_vocab()
        tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
        assert len(tokens) == len(types) == VOCABULARY
        assert {token: i for i, token in enumerate(tokens) if token in vocabulary} == vocabulary
        assert [types[i] for i in (0, 1, 2, VOCABULARY - 1)] == [3, 3, 1, 5]
    if pre == "gpt-2":
        # transformers reads every file as if its rule were GPT-2's.
        again = AutoTokenizer.from_pretrained(tmp_path / "out0", gguf_file="model.gguf")
        text = "the mat in  1984, wörldly"
        assert again(text).input_ids == tokenizer(text).input_ids


def test_folder_without_a_tokenizer(tmp_path):
    export_checkpoint(model_of("llama"), tmp_path / "llama", "llama")
    export_checkpoint(model_of("llama"), tmp_path / "out", "gguf", tokenizer=tmp_path / "llama")
    assert fields_of(tmp_path / "out" / "model.gguf")["tokenizer.ggml.model"] == "no_vocab"


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("gpt2", {"hidden_act": "relu"}, "gguf layout cannot express hidden_act='relu'"),
        ("gpt2", {"norm_position": "post"}, "gpt2 layout cannot express norm_position='post'"),
        ("qwen3", {"hidden_act": "gelu"}, "gguf layout cannot express hidden_act='gelu'"),
        (
            "qwen3",
            {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 4},
            "gguf layout cannot express layer_types=",
        ),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
            "gguf layout cannot express rope_parameters=",
        ),
    ],
)
def test_model_that_gguf_cannot_express(name, overrides, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_checkpoint(model_of(name, **overrides), tmp_path / "out", "gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (lambda: tokenizer_of(normalizer=normalizers.Lowercase()), "normalises text"),
        (lambda: tokenizer_of(pre_tokenizers.Split(Regex("x"), "isolated")), "no rule that splits text"),
        (lambda: tokenizer_of(pre_tokenizers.ByteLevel(add_prefix_space=True)), "no rule that splits text"),
        (lambda: PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}))), "is a WordLevel"),
    ],
)
def test_tokenizer_that_gguf_cannot_express(tokenizer, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_checkpoint(model_of("llama"), tmp_path / "out", "gguf", tokenizer=tokenizer())
    assert not list(tmp_path.iterdir())


def test_tokenizer_of_another_model(tmp_path):
    with pytest.raises(ValueError, match="vocab_size=100"):
        export_checkpoint(model_of("llama", vocab_size=100), tmp_path / "out", "gguf", tokenizer=tokenizer_of())


def test_dtype_that_gguf_cannot_express(tmp_path):
    with pytest.raises(ValueError, match=r"dtype=torch\.float64"):
        export_checkpoint(model_of("llama").double(), tmp_path / "out", "gguf")


def test_merges_that_are_written_as_text(tmp_path):
    """Files of older versions of `tokenizers` hold "a b" where newer ones hold ["a", "b"]."""
    tokenizer = tokenizer_of()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    path = tmp_path / "tokenizer" / "tokenizer.json"
    description = json.loads(path.read_text())
    merges = [" ".join(pair) for pair in description["model"]["merges"]]
    description["model"]["merges"] = merges
    path.write_text(json.dumps(description))
    export_checkpoint(model_of("llama"), tmp_path / "out", "gguf", tokenizer=tmp_path / "tokenizer")
    assert fields_of(tmp_path / "out" / "model.gguf")["tokenizer.ggml.merges"] == merges


# The step between two neighbours of a block's scale: of its largest value, or of its range.
STEPS = {
    "q8_0": lambda blocks: np.abs(blocks).max(-1) / 127,
    "q5_1": lambda blocks: np.ptp(blocks, axis=-1) / 31,
    "q5_0": lambda blocks: np.abs(blocks).max(-1) / 16,
    "q4_1": lambda blocks: np.ptp(blocks, axis=-1) / 15,
    "q4_0": lambda blocks: np.abs(blocks).max(-1) / 8,
}


def quantizable(name):
    return model_of(name, hidden_size=64, intermediate_size=96)


@pytest.mark.parametrize("quantize", STEPS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3-untied"])
def test_quantized(name, quantize, tmp_path):
    """Every matrix is within a step of what it was, and as much smaller; what stays exact has the bits of an export without it."""
    model = quantizable(name)
    assert export_checkpoint(model, tmp_path / "whole", "gguf") == "gguf"
    assert export_checkpoint(model, tmp_path / "out", "gguf", quantize=quantize) == "gguf"
    whole, written = (
        {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / folder / "model.gguf").tensors}
        for folder in ("whole", "out")
    )
    assert whole.keys() == written.keys()
    for name, tensor in written.items():
        expected = whole[name].data
        if expected.ndim == 1 or name.startswith("position_embd"):
            assert tensor.tensor_type.name == "F32"
            assert np.array_equal(tensor.data, expected)
            continue
        kind = "q8_0" if name in ("token_embd.weight", "output.weight") else quantize
        assert tensor.tensor_type.name == kind.upper()
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        error, blocks = (array.reshape(-1, 32) for array in (np.abs(found - expected), expected))
        # The scale itself has 11 bits.
        assert (error.max(-1) <= 1.1 * STEPS[kind](blocks)).all()
        assert error.max() > 0
        assert tensor.n_bytes < expected.nbytes / 3
    fields = fields_of(tmp_path / "out" / "model.gguf")
    assert gguf.LlamaFileType(fields["general.file_type"]).name == f"MOSTLY_{quantize.upper()}"


@torch.no_grad()
def test_a_quantized_file_computes_nearly_the_same(tmp_path):
    model = quantizable("llama")
    expected, differences = model(random_ids()).logits, {}
    for quantize in STEPS:
        export_checkpoint(model, tmp_path / quantize, "gguf", quantize=quantize)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / quantize, gguf_file="model.gguf", dtype=torch.float32)
        differences[quantize] = ((theirs(random_ids()).logits - expected).std() / expected.std()).item()
    assert 0 < differences["q8_0"] < 0.05
    assert differences["q8_0"] < differences["q5_0"] < differences["q4_0"] < 0.5


@pytest.mark.parametrize(
    ("overrides", "layout", "quantize", "words"),
    [
        ({}, "gguf", "q4_k_m", "quantize='q4_k_m' is not a type .* one of q8_0, q5_1"),
        ({}, "llama", "q8_0", "quantize='q8_0' is of layout='gguf'"),
        ({}, None, "q8_0", "quantize='q8_0' is of layout='gguf'"),
        ({"hidden_size": 48}, "gguf", "q8_0", "hidden_size=48: there with quantize='q8_0' it is a multiple of 32"),
        ({"intermediate_size": 100}, "gguf", "q4_0", "intermediate_size=100"),
        ({"num_attention_heads": 1, "num_key_value_heads": 1}, "gguf", "q4_0", r"head_dim=16"),
    ],
)
def test_what_cannot_be_quantized(overrides, layout, quantize, words, tmp_path):
    model = model_of("llama", **{"hidden_size": 64, "intermediate_size": 96, **overrides})
    with pytest.raises(ValueError, match=words):
        export_checkpoint(model, tmp_path / "out", layout, quantize=quantize)
    assert not list(tmp_path.iterdir())
