"""Trains one recipe at several sizes, fits how its loss falls with compute, and writes the tables of docs/scaling.md.

python -m benchmarks.scaling             the runs, the fit, the picture and the tables: `make scaling`
python -m benchmarks.scaling --table     the picture and the tables alone, from the record that is there

Each run is a folder below runs/scaling, trained by `hf_gpt train`: one that is finished is left out, one that was interrupted goes on.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hf_gpt.records import RECORD_FILE


ROOT = Path(__file__).parents[1]
RUNS = Path("runs/scaling")
RECIPE = "pretrain/quickstart"
# As many as one core trains at all sizes together in about ten minutes; compiling five small models would take as long again.
TOKENS_PER_PARAMETER = 1
VOCABULARY = 2048


@dataclass(frozen=True)
class Size:
    """One model of the series: width, layers, and rows of a step, fewer for the small ones so that each has some hundred steps."""

    width: int
    layers: int
    rows: int

    @property
    def name(self) -> str:
        return f"width-{self.width}"

    @property
    def parameters(self) -> int:
        # Of `modern` without a tied output matrix, with half as many key heads as heads; a test holds it.
        block = 3 * self.width**2 + 3 * self.width * self.intermediate + 2 * self.width + 2 * (self.width // 4)
        return 2 * VOCABULARY * self.width + self.layers * block + self.width

    @property
    def intermediate(self) -> int:
        return self.width * 11 // 4

    @property
    def steps(self) -> int:
        return round(TOKENS_PER_PARAMETER * self.parameters / (self.rows * 256))

    @property
    def overrides(self) -> list[str]:
        return [
            f"config.hidden_size={self.width}",
            f"config.num_hidden_layers={self.layers}",
            f"config.intermediate_size={self.intermediate}",
            f"tokenizer_vocab_size={VOCABULARY}",
            f"per_device_train_batch_size={self.rows}",
            f"max_steps={self.steps}",
            f"lr_scheduler_kwargs={{num_decay_steps: {self.steps * 6 // 10}, decay_type: linear}}",
            f"eval_steps={self.steps}",
            f"save_steps={max(self.steps // 4, 1)}",
            "torch_compile=false",
            "preprocessing_workers=1",
            "max_eval_blocks=64",
            "test_share=0.01",
            "ngram_orders=[]",
            "sample_prompts=[]",
            f"output_dir={RUNS / self.name}",
        ]


SIZES = (Size(48, 2, 4), Size(64, 3, 8), Size(96, 3, 8), Size(128, 4, 16), Size(160, 4, 16))


def train(size: Size) -> None:
    """Trains one size; see `python -m hf_gpt train` for what is there already."""
    if not (RUNS / size.name / RECORD_FILE).is_file():
        # A process of its own: the peak memory in a record is that of its process.
        subprocess.run([sys.executable, "-m", "hf_gpt", "train", RECIPE, *size.overrides], check=True)
    for checkpoint in (RUNS / size.name).glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def main(arguments: list[str]) -> None:
    for size in SIZES:
        train(size)


if __name__ == "__main__":
    main(sys.argv[1:])
