"""Our own folders in vLLM's Transformers backend, by the code beside their weights, and exports in its own classes; on a CPU."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .job import NEW_TOKENS, Job, Model, tokens_per_second


# Read when vllm is imported: everything in one process, which ends with its model, and a small cache.
os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1")
os.environ.update(VLLM_LOGGING_LEVEL="WARNING", VLLM_CPU_OMP_THREADS_BIND="nobind")


def measure(job: Job) -> dict[str, Any]:
    models = job.some("gpt1", "gpt2", "gpt3", "modern")
    return measure_each(models, {model.name: (model.own, "transformers") for model in models})


def measure_each(models: list[Model], folders: dict[str, tuple[Path, str]]) -> dict[str, Any]:
    """Return the comparison of each model, loaded from its folder by the implementation beside it."""
    compared: dict[str, Any] = {}
    for model in models:
        folder, implementation = folders[model.name]
        name = model.name if implementation == "transformers" else model.layout
        # A second engine in one process loses its groups of processes when the first is collected.
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:
            compared[name], speed = apart.submit(run_one, model, folder, implementation).result()
    return {"compared": compared, "tokens_per_second": speed}


def run_one(model: Model, folder: Path, implementation: str) -> tuple[dict[str, Any], float]:
    from vllm import LLM

    options = {"dtype": "float32", "enforce_eager": True, "max_model_len": 128, "max_num_seqs": 4, "block_size": 32}
    engine = LLM(str(folder), model_impl=implementation, trust_remote_code=True, **options)
    return compare(model, engine), tokens_per_second(lambda: generate(model, engine))


def compare(model: Model, engine: Any) -> dict[str, Any]:
    """Compare the log-probability of each token of the prompt: vLLM gives no others of it."""
    answer = generate(model, engine, prompt_logprobs=0)
    found = model.compare(new_ids=answer.outputs[0].token_ids)
    theirs = [answer.prompt_logprobs[i][model.ids[i]].logprob for i in range(1, len(model.ids))]
    differences = [abs(value - model.log_probs[i, model.ids[i + 1]]) for i, value in enumerate(theirs)]
    return {**found, "difference": float(max(differences))}


def generate(model: Model, engine: Any, **more: Any) -> Any:
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, **more)
    return engine.generate([{"prompt_token_ids": model.ids}], sampling, use_tqdm=False)[0]
