"""Shared fixtures. Everything that libraries would cache or fetch is sent to a temporary folder, offline."""

import gc
import os
import tempfile


_SCRATCH = tempfile.mkdtemp(prefix="hf-gpt-tests-")
os.environ.update(
    HF_HOME=_SCRATCH,
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_MODULES_CACHE=f"{_SCRATCH}/modules",
    HF_GPT_CACHE=f"{_SCRATCH}/hf_gpt",
    # Each worker of pytest-xdist has a core, and a sum in one order has the same last bits in every process.
    OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"),
    OMP_WAIT_POLICY="PASSIVE",
    TOKENIZERS_PARALLELISM="false",
    PYTHONDONTWRITEBYTECODE="1",
    TORCHINDUCTOR_CACHE_DIR=f"{_SCRATCH}/inductor",
)

import shutil  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

import hf_gpt  # noqa: E402


# What each generation adds to the same small size; the sliding window is shorter than the sequences of the tests.
ARCHITECTURES = {
    "gpt1": {"preset": "gpt1"},
    "gpt2": {"preset": "gpt2"},
    "gpt3": {"preset": "gpt3-125m", "sliding_window": 4},
    "modern": {"preset": "modern-5m", "num_key_value_heads": 2},
    "oss": {"preset": "oss-8m", "num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4},
}
ROOT = Path(__file__).parents[1]


def tiny_config(architecture: str, **overrides) -> hf_gpt.GPTConfig:
    """A config of that generation, small enough for a test, without dropout."""
    values = {
        "vocab_size": 96,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "attention_dropout": 0.0,
        "embd_dropout": 0.0,
        "resid_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
        **ARCHITECTURES[architecture],
        **overrides,
    }
    return hf_gpt.preset(values.pop("preset"), **values)


def randomize(model: torch.nn.Module, seed: int = 0, std: float = 0.2) -> torch.nn.Module:
    """Weights large enough that every part of the model shows in the output; zero-initialised ones too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * std)
    return model.eval()


@pytest.fixture(params=list(ARCHITECTURES))
def architecture(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def real_text(tmp_path_factory) -> Path:
    """Real English that every CPython carries: the language reference, one section a line of JSON."""
    from benchmarks.tiny import write_corpus

    path = tmp_path_factory.mktemp("text") / "reference.jsonl"
    write_corpus(path)
    return path


@pytest.fixture(scope="session")
def corpus(real_text, tmp_path_factory) -> Path:
    """The first 600 sections of it: enough for runs that are about the run."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(real_text.read_text().splitlines(keepends=True)[:600]))
    return path


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """A causal model as pretraining leaves it, to be fine-tuned."""
    from tests.helpers.recipes import write_base

    return write_base(tmp_path_factory.mktemp("base") / "base")


def pytest_collection_finish():
    """Everything that is imported by now stays: a collection of garbage, as after each training, need not look at it again."""
    gc.freeze()


def pytest_sessionfinish():
    shutil.rmtree(_SCRATCH, ignore_errors=True)
