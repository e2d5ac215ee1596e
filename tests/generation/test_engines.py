"""What runs the model in another way: compilers, exporters, fused attention, paged, sliding and quantized caches, pipelines."""

import shutil

import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import AutoModelForCausalLM, GenerationConfig, pipeline
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.integrations.executorch import TorchExportableModuleForDecoderOnlyLM

from hf_gpt.data.tokenizer import train_tokenizer


def language_model(architecture, **overrides):
    torch.manual_seed(0)
    return randomize(AutoModelForCausalLM.from_config(tiny_config(architecture, **overrides)))


def spread_model(architecture, attention="sdpa", **overrides):
    """A model whose greedy text does not settle on one token, as that of a tied random model does."""
    config = tiny_config(architecture, tie_word_embeddings=False, eos_token_id=None, **overrides)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def token_ids(*shape):
    return torch.randint(2, 96, shape, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------------ compilers and exporters


def test_one_graph_holds_the_forward_pass_with_its_default_cache(architecture):
    model, ids = language_model(architecture), token_ids(2, 12)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(ids).logits, model(ids).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "fused"),
    [("gpt1", True), ("gpt2", True), ("gpt3", True), ("modern", True), ("modern", False), ("oss", True)],
)
def test_one_graph_holds_a_training_step(architecture, fused):
    model, ids = language_model(architecture, fused_loss=fused).train(), token_ids(2, 12)
    torch.compiler.reset()
    gradients = []
    for run in (torch.compile(model, fullgraph=True, backend="aot_eager"), model):
        loss = run(ids, labels=ids).loss
        gradients.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    for compiled, eager in zip(*gradients):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)


# Some 15 seconds of g++, which on a crowded machine may take long.
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU the default compiler needs g++")
def test_the_default_compiler_gives_the_same_numbers():
    model, ids = language_model("gpt2", num_hidden_layers=1), token_ids(2, 12)
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True)(ids, use_cache=False).logits
        torch.testing.assert_close(compiled, model(ids).logits, rtol=0, atol=1e-4)


def test_an_exported_program_takes_any_batch_and_length(architecture):
    if architecture == "modern" and torch.__version__ < "2.12":
        pytest.skip("torch 2.11 cannot decide that min(8 n, 16 n) is 8 n, where grouped heads are repeated")
    # Nor can any that min(16 + 16 n, 32 + 32 n) is the first, where grouped heads have one more key.
    model = language_model(architecture, **({"num_key_value_heads": 4} if architecture == "oss" else {}))
    sizes = {"input_ids": {0: torch.export.Dim("batch", min=2, max=16), 1: torch.export.Dim("length", min=2, max=64)}}
    # A cache is no output that torch.export knows, in whatever model.
    inputs = {"input_ids": token_ids(2, 12), "use_cache": False}
    program = torch.export.export(model, (), inputs, dynamic_shapes={**sizes, "use_cache": None}, strict=False)
    for shape in ((3, 21), (2, 64)):
        ids = token_ids(*shape)
        exported = program.module()(input_ids=ids, use_cache=False).logits
        torch.testing.assert_close(exported, model(ids).logits, rtol=0, atol=1e-5)


def test_the_recipe_for_executorch_writes_the_same_text(architecture):
    """transformers' recipe for it: a step of one token with a static cache, where layers slide with a hybrid one, as one program.

    The recipe gives a layer that slides a cache of full length: a text no longer than the window is what it promises.
    """
    window = {"sliding_window": 32} if "sliding_attention" in tiny_config(architecture).layer_types else {}
    model = spread_model(architecture, **window)
    model.generation_config.cache_implementation = "static"
    recipe = TorchExportableModuleForDecoderOnlyLM(model, batch_size=1, max_cache_len=24)
    assert type(recipe.model).__name__.endswith("HybridCache" if window else "StaticCache")
    step = {"input_ids": token_ids(1, 1), "cache_position": torch.tensor([0])}
    run = recipe.export(**step, strict=False).module()
    written = token_ids(1, 5)
    for position in range(16):
        logits = run(input_ids=written[:, position : position + 1], cache_position=torch.tensor([position]))
        if position + 1 == written.shape[1]:
            written = torch.cat([written, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    expected = spread_model(architecture, **window).generate(token_ids(1, 5), max_new_tokens=12, do_sample=False)
    assert torch.equal(written, expected)


@torch.no_grad()
def test_flex_attention_gives_what_eager_does_and_keeps_documents_apart(architecture):
    """Its kernels take a minute to compile; its formula, which is what depends on the model, runs without."""
    # Its heads are 16 wide or more.
    model, ids = language_model(architecture, hidden_size=64), token_ids(2, 15)
    lengths = (5, 3, 7)
    positions = torch.cat([torch.arange(length) for length in lengths])[None].expand(2, -1)
    model.set_attn_implementation("eager")
    whole = model(ids).logits
    alone = torch.cat([model(part).logits for part in ids.split(lengths, dim=1)], dim=1)
    model.set_attn_implementation("flex_attention")
    if model.config.attention_sinks and ids.device.type == "cpu":
        with pytest.raises(ValueError, match="sinks cannot be run on CPU with flex attention"):
            model(ids)
        return
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(model(ids).logits, whole, rtol=0, atol=1e-4)
        for options in ({}, {"attention_mask": torch.ones_like(ids)}, {"use_cache": False}):
            torch.testing.assert_close(model(ids, position_ids=positions, **options).logits, alone, rtol=0, atol=1e-4)


# -------------------------------------------------------------------------------------------------------- caches


@torch.inference_mode()
@pytest.mark.parametrize("steps", [(20,), (6, 1, 1, 5, 1)], ids=str)
def test_a_sliding_layer_keeps_no_more_than_its_window(steps):
    model = language_model("gpt3", sliding_window=4)
    cache, ids = None, token_ids(1, sum(steps))
    for part in ids.split(steps, dim=1):
        cache = model(part, past_key_values=cache)["past_key_values"]
    full, sliding = (layer.keys.shape[-2] for layer in cache.layers)
    assert full == sum(steps)
    assert sliding <= 4


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [
        ("gpt1", "sdpa"),
        ("gpt2", "sdpa"),
        ("gpt3", "sdpa"),
        ("modern", "sdpa"),
        ("gpt3", "eager"),
        ("oss", "sdpa"),
        ("oss", "eager"),
    ],
)
def test_continuous_batching_answers_each_prompt_as_if_alone(architecture, attention):
    model = spread_model(architecture, attention)
    prompts = [token_ids(1, length)[0].tolist() for length in (3, 9, 6)]
    page_size = "page_size" if "page_size" in ContinuousBatchingConfig.__dataclass_fields__ else "block_size"
    small = ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=64, **{page_size: 16})
    greedy = GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=-1, pad_token_id=0)
    answers = model.generate_batch(prompts, greedy, continuous_batching_config=small, progress_bar=False)
    together = [answer.generated_tokens for answer in answers.values()]
    alone = [model.generate(torch.tensor([prompt]), greedy)[0, len(prompt) :].tolist() for prompt in prompts]
    assert together == alone
    assert len({token for answer in alone for token in answer}) > 3


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ["gpt1", "gpt2", "modern"])
def test_a_quantized_cache_decodes(architecture):
    """transformers refuses it for sliding layers. It rounds keys and values to 4 bits once they are in the cache."""
    pytest.importorskip("optimum.quanto", reason="quantized caches need optimum-quanto, which is not a dependency")
    model, ids = spread_model(architecture, hidden_size=128), token_ids(2, 9)
    options = {"max_new_tokens": 2, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    options |= {"cache_implementation": "quantized", "cache_config": {"backend": "quanto", "nbits": 4, "residual_length": 4}}
    output = model.generate(ids, **options)
    exact = model(output.sequences[:, :-1]).logits
    torch.testing.assert_close(output.logits[0], exact[:, -2], rtol=0, atol=1e-4)
    assert (output.logits[1] - exact[:, -1]).norm() < 0.3 * exact[:, -1].norm()


@torch.inference_mode()
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="an offloaded cache moves keys between accelerator and host")
def test_an_offloaded_cache_decodes_as_the_usual_one(architecture):
    model = spread_model(architecture).to(torch.accelerator.current_accelerator())
    ids = token_ids(2, 9).to(model.device)
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, cache_implementation="offloaded", **options), model.generate(ids, **options))


# ------------------------------------------------------------------------------------------------------ pipelines


def test_a_pipeline_in_batches_writes_what_it_writes_one_by_one(architecture):
    texts = ["a small text", "a", "a small text of a few words"]
    tokenizer = train_tokenizer(iter([texts]), 280, 64)
    model = spread_model(architecture, vocab_size=300)
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer)
    options = {"max_new_tokens": 10, "do_sample": False, "return_tensors": True}
    alone = [generator(text, **options)[0]["generated_token_ids"][-10:] for text in texts]
    tokenizer.padding_side = "left"
    together = [row[0]["generated_token_ids"][-10:] for row in generator(texts, batch_size=3, **options)]
    assert together == alone
    assert len({token for row in alone for token in row}) > 3
