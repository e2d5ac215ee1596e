"""What `export_checkpoint` writes, and what it says about models that a layout cannot express."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.helpers.parity_references import CONFIGS, random_ids, reference
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from hf_gpt import GPTConfig, GPTForCausalLM, GPTForSequenceClassification, export_checkpoint, import_checkpoint, preset
from hf_gpt.conversion import LAYOUTS
from hf_gpt.conversion.translation import tensors_to_theirs, zero_biases


TINY = {"vocab_size": 61, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "max_position_embeddings": 48}
MODERN = {**TINY, "num_key_value_heads": 2, "intermediate_size": 56}


def model_of(name, **overrides):
    tiny = MODERN if name.startswith("modern") else {**TINY, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    model = GPTForCausalLM(preset(name, **(tiny | overrides))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def without_bias(model):
    for key, parameter in model.named_parameters():
        if key.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias")):
            torch.nn.init.zeros_(parameter)
    return model


OURS = {
    "openai-gpt": lambda: model_of("gpt1"),
    "gpt2": lambda: model_of("gpt2", tie_word_embeddings=False, intermediate_size=56),
    "gpt_neo": lambda: without_bias(model_of("gpt3-125m", sliding_window=5, hidden_size=64)),
    "llama": lambda: model_of("modern-5m", qk_norm=False),
    "qwen3": lambda: model_of("modern-5m", head_dim=16),
    "gpt_oss": lambda: model_of("oss-8m", num_key_value_heads=2, intermediate_size=56, sliding_window=5),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("layout", OURS)
def test_stock_transformers_loads_it(layout, named, tmp_path):
    ours = OURS[layout]()
    assert export_checkpoint(ours, tmp_path / "out", layout if named else None) == layout
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert theirs.config.model_type == layout
    assert not any(info.values()), info
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert not list((tmp_path / "out").glob("*.py"))
    with torch.no_grad():
        expected, found = ours(random_ids()).logits, theirs(random_ids()).logits
    assert expected.std() > 0.5
    assert (expected - found).abs().max() <= 1e-5


# transformers keeps the norms of a gpt-oss in float32 where the rest is float16.
TYPES = {"gpt_oss": (torch.float32, torch.bfloat16)}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in sorted(CONFIGS)
        for dtype in TYPES.get(name.split("-")[0], (torch.float32, torch.bfloat16, torch.float16))
    ],
)
def test_round_trip_is_exact(name, dtype, tmp_path):
    theirs = reference(name).to(dtype)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = import_checkpoint(tmp_path / "theirs")
    export_checkpoint(ours, tmp_path / "back", theirs.config.model_type)
    back = type(theirs).from_pretrained(tmp_path / "back")
    again = import_checkpoint(tmp_path / "back")
    for one, other in ((theirs, back), (ours, again)):
        assert one.state_dict().keys() == other.state_dict().keys()
        for key, tensor in one.state_dict().items():
            assert tensor.dtype == other.state_dict()[key].dtype == dtype
            assert torch.equal(tensor, other.state_dict()[key]), key
    assert ours.config.to_dict() == again.config.to_dict()
    before, after = theirs.config.to_dict(), back.config.to_dict()
    # The same widths and layer types, which stock configs write in more than one way.
    # `swiglu_alpha` and `swiglu_limit` became fields of GptOssConfig after 5.17, which computes with these same values.
    stated = ("_name_or_path", "n_inner", "intermediate_size", "attention_types", "dtype", "swiglu_alpha", "swiglu_limit")
    for field in stated:
        before.pop(field, None)
        after.pop(field, None)
    assert before == after


def test_gpt_neo_whose_scale_is_no_power_of_two(tmp_path):
    """sqrt(8) rounds every weight of the queries once in each direction, and no more than that."""
    theirs = reference("gpt_neo", num_heads=4)
    theirs = type(theirs)(theirs.config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = import_checkpoint(tmp_path / "theirs")
    export_checkpoint(ours, tmp_path / "back", "gpt_neo")
    back = type(theirs).from_pretrained(tmp_path / "back")
    with torch.no_grad():
        assert (theirs(random_ids()).logits - ours(random_ids()).logits).abs().max() <= 1e-5
    for key, tensor in theirs.state_dict().items():
        torch.testing.assert_close(tensor, back.state_dict()[key], rtol=3e-7, atol=0)


def trained(model):
    """Two steps, after which no bias that there is is zero."""
    optimizer = torch.optim.AdamW(model.train().parameters(), 1e-2)
    for _ in range(2):
        model(random_ids(), labels=random_ids()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def imported_gpt_neo(tmp_path):
    reference("gpt_neo").save_pretrained(tmp_path / "neo")
    return import_checkpoint(tmp_path / "neo")


TRAINED = {
    "gpt2 without biases": ("gpt2", lambda path: model_of("gpt2", use_bias=False)),
    "gpt2 with biases of all but queries, keys and values": ("gpt2", lambda path: model_of("gpt2", qkv_bias=False)),
    "gpt1 without biases": ("openai-gpt", lambda path: model_of("gpt1", use_bias=False)),
    "gpt3": ("gpt_neo", lambda path: model_of("gpt3-125m", sliding_window=5, hidden_size=64, qkv_bias=False)),
    "gpt3 without biases": ("gpt_neo", lambda path: model_of("gpt3-125m", sliding_window=5, hidden_size=64, use_bias=False)),
    "imported GPT-Neo": ("gpt_neo", imported_gpt_neo),
}


@pytest.mark.parametrize("name", TRAINED)
def test_what_was_trained_goes_out_with_zeros_for_the_biases_that_it_lacks(name, tmp_path):
    layout, make = TRAINED[name]
    model = trained(make(tmp_path))
    assert export_checkpoint(model, tmp_path / "out", layout) == layout
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        torch.testing.assert_close(theirs(random_ids()).logits, model(random_ids()).logits, rtol=0, atol=1e-5)


def test_a_bias_of_zero_is_no_bias():
    without, with_zeros = (model_of("gpt2", use_bias=use_bias) for use_bias in (False, True))
    tensors = without.state_dict()
    with_zeros.load_state_dict(tensors | zero_biases(tensors))
    with torch.no_grad():
        assert torch.equal(without(random_ids()).logits, with_zeros(random_ids()).logits)


def test_generation_config_comes_along(tmp_path):
    model = model_of("modern-5m")
    model.generation_config.update(do_sample=True, temperature=0.7)
    export_checkpoint(model, tmp_path / "out")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config.temperature == 0.7


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    model = model_of("modern-5m")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    export_checkpoint(model.train(), tmp_path / "out")
    assert model.training
    assert model.config.to_dict() == config
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_tokenizer_comes_along(tmp_path):
    model = model_of("modern-5m", vocab_size=300)
    vocabulary = {chr(97 + i): i for i in range(26)} | {"<|endoftext|>": 26}
    tokenizer = GPT2Tokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for i, given in enumerate((tokenizer, tmp_path / "tokenizer", str(tmp_path / "tokenizer"))):
        export_checkpoint(model, tmp_path / f"out{i}", "qwen3", tokenizer=given)
        loaded = AutoTokenizer.from_pretrained(tmp_path / f"out{i}")
        assert isinstance(loaded, PreTrainedTokenizerFast)
        assert loaded("cab").input_ids == [2, 0, 1]


# ---------------------------------------------------------------------------------------------------------- faults

GPT = {"norm_type": "rmsnorm", "qk_norm": True, "is_causal": False, "num_key_value_heads": 2}
GPT |= {"head_dim": 16, "mlp_type": "glu", "position_embedding_type": "rope"}
WINDOW = {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 5}
ROTARY = {"norm_type": "layernorm", "norm_position": "post", "mlp_type": "mlp", "use_bias": True, "is_causal": False}
ROTARY |= {"position_embedding_type": "learned"}
STANDARD = {"openai-gpt": "gpt1", "gpt2": "gpt2", "gpt_neo": "gpt3-125m", "qwen3": "modern-5m"}
EXPERTS = {"mlp_type": "moe", "num_experts": 4, "num_experts_per_tok": 2}
OSS = {"norm_type": "layernorm", "norm_position": "post", "use_bias": False, "qkv_bias": False, "is_causal": False}
OSS |= {"attention_sinks": False, "hidden_act": "silu", "qk_norm": True}
CANNOT = [
    *(("openai-gpt", "gpt1", field, {field: value}) for field, value in GPT.items()),
    ("openai-gpt", "gpt1", "norm_position", {"norm_position": "pre"}),
    ("openai-gpt", "gpt1", "intermediate_size", {"intermediate_size": 56}),
    ("openai-gpt", "gpt1", "hidden_act", {"hidden_act": "gelu"}),
    ("openai-gpt", "gpt1", "layer_types", WINDOW),
    *(("gpt2", "gpt2", field, {field: value}) for field, value in GPT.items()),
    ("gpt2", "gpt2", "norm_position", {"norm_position": "post"}),
    ("gpt2", "gpt2", "layer_types", WINDOW),
    ("gpt2", "gpt2", "head_dim", {"hidden_size": 30, "head_dim": 7}),
    *(("gpt_neo", "gpt3-125m", field, {field: value}) for field, value in GPT.items()),
    ("gpt_neo", "gpt3-125m", "norm_position", {"norm_position": "post"}),
    ("gpt_neo", "gpt3-125m", "qkv_bias", {}),
    *(("llama", "modern-5m", field, {"qk_norm": False, field: value}) for field, value in ROTARY.items()),
    ("llama", "modern-5m", "qk_norm", {}),
    ("llama", "modern-5m", "layer_types", {"qk_norm": False, **WINDOW}),
    ("llama", "modern-5m", "hidden_size", {"qk_norm": False, "hidden_size": 30, "head_dim": 8}),
    *(("qwen3", "modern-5m", field, {field: value}) for field, value in ROTARY.items()),
    ("qwen3", "modern-5m", "qk_norm", {"qk_norm": False}),
    *((layout, name, "attention_sinks", {"attention_sinks": True}) for layout, name in STANDARD.items()),
    *((layout, name, "mlp_type", EXPERTS) for layout, name in STANDARD.items()),
    *(("gpt_oss", "oss-8m", field, {field: value}) for field, value in OSS.items()),
]


@pytest.mark.parametrize(("layout", "name", "field", "overrides"), CANNOT)
def test_layout_that_cannot_express_a_field(layout, name, field, overrides, tmp_path):
    model = model_of(name, **overrides)
    value = getattr(model.config, field)
    with pytest.raises(ValueError, match=f"The {layout} layout cannot express {field}=") as caught:
        export_checkpoint(model, tmp_path / "out", layout)
    assert str(value)[:12] in str(caught.value)
    assert "save_pretrained" in str(caught.value)
    assert not list(tmp_path.iterdir())


def with_adapter(model):
    experts = ["mlp.experts.down_proj"] if model.config.num_experts else None
    # The output matrix as well, which a layout leaves out where it is tied.
    lora = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], target_parameters=experts, init_lora_weights=False)
    return get_peft_model(model, lora).get_base_model()


def with_parametrization(model):
    torch.nn.utils.parametrizations.weight_norm(model.model.layers[1].self_attn.k_proj)
    return model


def with_another_output_matrix(model):
    model.config.tie_word_embeddings = True
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight + 1)
    return model


def with_bias_in_the_end(model):
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.config.vocab_size))
    return model


CHANGES = {
    with_adapter: r"base_layer.*merge_and_unload",
    with_parametrization: r"layers\.1\.self_attn\.k_proj\.parametrizations",
    with_bias_in_the_end: r"lm_head\.bias",
    with_another_output_matrix: "tie_word_embeddings=True, but lm_head.weight differs",
}
WRITTEN = [*((layout, layout) for layout in OURS), *(("gguf", name) for name in ("gpt2", "llama", "qwen3", "gpt_oss"))]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize(("layout", "name"), WRITTEN)
def test_tensors_that_no_layout_has_a_place_for_are_refused(layout, name, change, tmp_path):
    if layout == "gguf":
        pytest.importorskip("gguf")
    model = change(OURS[name]())
    for given in {layout, layout if layout == "gguf" else None}:
        with pytest.raises(ValueError, match=CHANGES[change]):
            export_checkpoint(model, tmp_path / "out", given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layout", "name"),
    [("openai-gpt", "gpt1"), ("gpt2", "gpt2"), ("gpt_neo", "gpt3-125m"), ("llama", "modern-5m"), ("qwen3", "modern-5m")]
    + [("gpt_oss", "oss-8m"), ("gguf", "gpt2"), ("gguf", "modern-5m"), ("gguf", "oss-8m")],
)
def test_no_layout_has_an_activation_with_weights(layout, name, tmp_path):
    if layout == "gguf":
        pytest.importorskip("gguf")
    model = model_of(name, hidden_act="prelu", **({"qk_norm": False} if layout == "llama" else {}))
    assert any("act_fn" in key for key in model.state_dict())
    for given in {layout, layout if layout == "gguf" else None}:
        with pytest.raises(ValueError, match="cannot express hidden_act='prelu'"):
            export_checkpoint(model, tmp_path / "out", given)
    assert not list(tmp_path.iterdir())


def test_a_table_that_leaves_something_out_writes_nothing(tmp_path, monkeypatch):
    """Of the model, or of the other architecture, whose class would make up what it is not given."""
    model = model_of("gpt2", use_bias=False)
    with pytest.raises(ValueError, match=r"the layout has no place for model\.norm\.weight"):
        tensors_to_theirs(LAYOUTS["gpt2"].modules[:2] + LAYOUTS["gpt2"].modules[3:], 2, model.state_dict())
    monkeypatch.setitem(LAYOUTS, "gpt2", replace(LAYOUTS["gpt2"], has_biases=False))
    with pytest.raises(ValueError, match=r"the gpt2 model has tensors .*\.bias"):
        export_checkpoint(model, tmp_path / "out", "gpt2")
    assert not list(tmp_path.iterdir())


def test_no_layout_can(tmp_path):
    model = model_of("modern-5m", norm_position="post")
    with pytest.raises(ValueError, match="No layout can express this model") as caught:
        export_checkpoint(model, tmp_path / "out")
    for reason in ("openai-gpt layout cannot express norm_type='rmsnorm'", "qwen3 layout cannot express norm_position='post'"):
        assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_unknown_layout(tmp_path):
    with pytest.raises(ValueError, match="layout='mamba' is unknown: it is one of openai-gpt, gpt2"):
        export_checkpoint(model_of("modern-5m"), tmp_path / "out", "mamba")


def test_tokenizer_that_is_no_folder(tmp_path):
    with pytest.raises(ValueError, match="tokenizer='someone/gpt2' is no folder"):
        export_checkpoint(model_of("modern-5m"), tmp_path / "out", tokenizer="someone/gpt2")


def test_another_head(tmp_path):
    model = GPTForSequenceClassification(GPTConfig(**TINY))
    with pytest.raises(ValueError, match="model is a GPTForSequenceClassification"):
        export_checkpoint(model, tmp_path / "out")


def test_nothing_is_overwritten(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export_checkpoint(model_of("modern-5m"), out)
    config = (out / "config.json").read_bytes()
    with pytest.raises(ValueError, match="is not empty"):
        export_checkpoint(model_of("gpt2"), out)
    assert (out / "config.json").read_bytes() == config
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        export_checkpoint(model_of("gpt2"), tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]
