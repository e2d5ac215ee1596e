"""What becomes of a model that is saved and loaded: its matrices, its buffers, its precision, and its code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .small_copy import SmallCopy
from .verdicts import RAISED, TOLERANCE, FaultError, NotApplicableError, NotLoadedError, difference, require_equal


# What save_pretrained says of weights that are one without the class saying so.
SHARED = "shared tensors"


def matrices(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights of the output matrix and of the token embedding."""
    try:
        into, out = model.get_input_embeddings(), model.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        into = out = None
    if into is None or out is None:
        raise NotApplicableError("the class names no input or output embeddings (get_input_embeddings, get_output_embeddings)")
    return out.weight, into.weight


def check_tied_weights(small: SmallCopy) -> str | None:
    wanted = bool(getattr(small.model.config, "tie_word_embeddings", False))
    fixes = {
        True: "give the class `_tied_weights_keys = {output: embedding}`, the names of both weights, and call post_init().",
        False: "tie in no other way than by `_tied_weights_keys`, which follows the config.",
    }
    matrices(small.model)
    for when in ("built", "loaded"):
        try:
            out, into = matrices(small.model if when == "built" else small.reloaded)
        except NotLoadedError as error:
            if SHARED in str(error):
                raise FaultError(f"a copy cannot be saved, since weights are shared otherwise: {fixes[wanted]}") from error
            raise
        if (out.data_ptr() == into.data_ptr()) is not wanted:
            kept = "two weights" if wanted else "one weight"
            raise FaultError(
                f"tie_word_embeddings={wanted}, but {when} it has {kept} for embedding and output: {fixes[wanted]}"
            )
    check_matrices_in_files(small, wanted)
    return None


def check_matrices_in_files(small: SmallCopy, is_tied: bool) -> None:
    """Raise `FaultError` where the files of the checkpoint hold another number of matrices than its config says."""
    names = {id(weight): name for name, weight in small.model.named_parameters()}
    tied = getattr(small.model, "_tied_weights_keys", None)
    if is_tied:
        out_name, into_name = next(iter(tied.items())) if isinstance(tied, dict) and len(tied) == 1 else (None, None)
    else:
        out_name, into_name = (names.get(id(weight)) for weight in matrices(small.model))
    files = {key: path for path in sorted(Path(small.name).glob("*.safetensors")) for key in safe_open(path, "pt").keys()}  # noqa: SIM118
    if out_name is None or into_name is None or into_name not in files:
        return
    if not is_tied and out_name not in files:
        raise FaultError(
            f"tie_word_embeddings=False, but the files hold no {out_name}, which would be random: set it to True."
        )
    if is_tied and out_name in files:
        one, other = (safe_open(files[name], "pt").get_slice(name) for name in (out_name, into_name))
        rows = one.get_shape()[0]
        if one.get_shape() != other.get_shape() or any(
            not torch.equal(one[at : at + 4096], other[at : at + 4096]) for at in range(0, rows, 4096)
        ):
            raise FaultError(
                f"tie_word_embeddings=True, but {out_name} and {into_name} differ in the files, and one is lost: set it to False."
            )


def check_buffers(small: SmallCopy) -> str | None:
    built, loaded = dict(small.model.named_buffers()), dict(small.reloaded.named_buffers())
    for name, buffer in built.items():
        if name not in loaded or not torch.equal(buffer, loaded[name]):
            raise FaultError(
                f"the buffer {name} is not after from_pretrained what it is when built, since loading builds on the meta device: fill "
                "it in _init_weights, make it persistent, or compute it in forward."
            )
    # With the same weights, what is left to differ is a tensor that is neither weight nor buffer.
    weights = dict(small.model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, parameter in small.reloaded.named_parameters(remove_duplicate=False):
            if name in weights:
                parameter.data = weights[name].data
    ids = small.ids(2, 9)
    fix = (
        "after from_pretrained the same weights give other logits: a tensor in an attribute is garbage; compute it in forward."
    )
    try:
        found = small.logits(ids, small.reloaded)
    except RAISED as error:
        raise FaultError(fix) from error
    require_equal(found, small.logits(ids), fix)
    return None


def check_half_precision(small: SmallCopy) -> str | None:
    if not any(buffer.is_floating_point() for buffer in small.model.buffers()):
        raise NotApplicableError("the model has no frequencies, or other buffers that are fractions")
    exact = dict(small.model.named_buffers())
    if not all(torch.equal(buffer, exact[name]) for name, buffer in small.reloaded.named_buffers()):
        raise NotApplicableError("buffers are wrong after loading in float32 already")
    fix = (
        "loaded with dtype=bfloat16 the rotary frequencies are rounded, by more than a turn at long range: compute them with "
        "dtype=torch.float32, in a class named ...RotaryEmbedding."
    )
    for name, buffer in small.load(torch.bfloat16).named_buffers():
        if "freq" in name and not torch.equal(buffer.float(), exact[name]):
            raise FaultError(fix)
    if any(
        "freq" in name and buffer.dtype != torch.float32 for name, buffer in small.load().to(torch.bfloat16).named_buffers()
    ):
        return "load with dtype=torch.bfloat16: `.to(torch.bfloat16)` afterwards rounds the frequencies."
    return None


LOAD_ALONE = """
import sys
folder, result, trusted, computes, *blocked = sys.argv[1:]
for name in blocked:
    sys.modules[name] = None
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=trusted == "yes", dtype=torch.float32).eval()
if computes == "yes":
    with torch.no_grad():
        torch.save(model(input_ids=torch.load(result + ".ids")).logits, result)
"""


def check_saving(small: SmallCopy) -> str | None:
    model = small.model
    try:
        reloaded, folder = small.load(), small.saved
    except NotLoadedError as error:
        if SHARED in str(error):
            raise
        raise FaultError(f"a copy cannot be saved: {error}") from error
    out = id(model.get_output_embeddings().weight) if model.get_output_embeddings() is not None else None
    for name, parameter in reloaded.named_parameters():
        before = model.get_parameter(name)
        if id(before) != out and not torch.equal(parameter, before):
            raise FaultError(f"the weight {name} does not come back from save_pretrained and from_pretrained: name it once.")
    targets = {} if small.is_native else getattr(model.config, "auto_map", None) or {}
    if not small.is_native and "AutoModelForCausalLM" not in targets:
        raise FaultError(
            "the saved config has no auto_map for AutoModelForCausalLM: call register_for_auto_class before saving."
        )
    for target in {part for value in targets.values() for part in (value if isinstance(value, list) else [value]) if part}:
        if "--" not in target and not (folder / f"{target.split('.')[0]}.py").is_file():
            raise FaultError(
                f"auto_map names {target}, but no such file is saved: call register_for_auto_class of that class."
            )
    if small.trust_remote_code:
        # The checkpoint's own code is what others run, in place of what is installed here.
        for path in Path(small.name).glob("*.py"):
            shutil.copy(path, folder)
    # What differs here too has a check of its own; then it is enough that the code is found.
    ids = small.ids(2, 9)
    try:
        is_same = difference(small.logits(ids, reloaded), small.logits(ids)) <= TOLERANCE
    except RAISED:
        is_same = False
    found = load_alone(small, folder, is_same)
    if found is not None:
        fix = "the code beside the weights gives other logits than the installed one: save the checkpoint again."
        require_equal(found, small.logits(ids), fix)
    return None


def load_alone(small: SmallCopy, folder: Path, computes: bool) -> torch.Tensor | None:
    """Logits of a saved copy in a process that has neither this package nor the one that the model's class is from.

    Args:
        computes: Whether it is more than loaded.
    """
    result, nowhere = small.folder / "logits", small.folder / "nowhere"
    nowhere.mkdir(exist_ok=True)
    torch.save(small.ids(2, 9), f"{result}.ids")
    packages = {"hf_gpt", type(small.model).__module__.partition(".")[0]} - {
        "transformers",
        "transformers_modules",
        "__main__",
    }
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(small.folder / "modules"), "HF_HUB_OFFLINE": "1"}
    trusted = "no" if small.is_native else "yes"
    command = [
        sys.executable,
        "-c",
        LOAD_ALONE,
        str(folder),
        str(result),
        trusted,
        "yes" if computes else "no",
        *sorted(packages),
    ]
    ended = subprocess.run(command, cwd=nowhere, env=environment, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise FaultError(f"a saved copy cannot be loaded by its own code: {reason} (only `from .file import name` travels)")
    return torch.load(result, weights_only=True) if computes else None
