"""GGUF files in llama.cpp: its tokens, its logits, and what it writes."""

from typing import Any

import llama_cpp

from .job import NEW_TOKENS, Job, Model, tokens_per_second


def without_repacking() -> Any:
    """What `llama-cli --no-repack` sets, which `Llama` has no argument for.

    llama.cpp's kernel for AMX crashes on small matrices in 8 bits, of files that it has quantized itself too.
    """
    parameters = DEFAULTS()
    parameters.use_extra_bufts = False
    return parameters


DEFAULTS = llama_cpp.llama_model_default_params
llama_cpp.llama_cpp.llama_model_default_params = without_repacking


def measure(job: Job, quantize: str = "") -> dict[str, Any]:
    compared = {}
    for model in job.some("gpt2", "llama", "modern"):
        # Its cache is of half precision by default. `logits_all` keeps the logits of every position.
        exact = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32, "logits_all": True}
        llama = llama_cpp.Llama(str(model.gguf(quantize)), n_ctx=128, n_threads=1, verbose=False, **exact)
        compared[model.layout] = compare(model, llama, job.facts["prompt"])
    return {"compared": compared, "tokens_per_second": tokens_per_second(lambda: generate(model, llama))}


def compare(model: Model, llama: Any, prompt: str) -> dict[str, Any]:
    ids = llama.tokenize(prompt.encode(), add_bos=False)
    if ids != model.ids:
        raise SystemExit(f"llama.cpp splits the prompt into {ids}, our tokenizer into {model.ids}")
    llama.reset()
    llama.eval(ids)
    return model.compare(llama.scores[: len(ids)].copy(), generate(model, llama))


def generate(model: Model, llama: Any) -> list[int]:
    written: list[int] = []
    llama.reset()
    for token in llama.generate(model.ids, top_k=1, temp=0.0, repeat_penalty=1.0):
        written.append(token)
        if len(written) == NEW_TOKENS:
            break
    return written
