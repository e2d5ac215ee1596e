"""The GGUF file holds the model, as `transformers`' own reader of GGUF sees it, and its tokenizer."""

import json

import pytest
import torch
from tests.helpers.parity_references import random_ids
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from hf_gpt import GPTForCausalLM, export_checkpoint, preset


gguf = pytest.importorskip("gguf")

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
