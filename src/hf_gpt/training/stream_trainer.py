"""The trainer of a stream, which is read once and resumed where it was left."""

import math
from pathlib import Path
from typing import cast

import torch

from ..data.streaming import PackedStream, StreamLoader, collate_stream, load_state, save_state
from .trainer import GuardedTrainer, resuming
from .workers import outlive_signals


class StreamTrainer(GuardedTrainer):
    """For a stream that shares itself out: accelerate would have one process read and tokenise for all."""

    train_dataset: PackedStream

    def get_train_dataloader(self) -> StreamLoader:
        arguments, stream, ahead = self.args, self.train_dataset, self.args.dataloader_prefetch_factor
        if ahead is None and arguments.dataloader_num_workers:
            # `Trainer` draws all batches of a step before its first pass: those of the next are to be made meanwhile.
            ahead = max(2, math.ceil(2 * arguments.gradient_accumulation_steps / arguments.dataloader_num_workers))
        assert isinstance(stream, PackedStream)
        loader = StreamLoader(
            stream,
            batch_size=self._train_batch_size,
            collate_fn=collate_stream,
            # Without one of its own, a loader draws from the generator of dropout when it begins, and once more when it resumes.
            generator=torch.Generator(),
            num_workers=arguments.dataloader_num_workers,
            prefetch_factor=ahead,
            pin_memory=arguments.dataloader_pin_memory and arguments.device.type != "cpu",
        )
        return cast(StreamLoader, outlive_signals(loader))

    def save_extra_state(self, folder: Path) -> None:
        save_state(self.train_dataset, folder)

    def on_resume(self, checkpoint: str | None) -> None:
        """Put the stream where the checkpoint left it, in place of reading again all that was read before."""
        if checkpoint is not None:
            with resuming(checkpoint):
                load_state(self.train_dataset, Path(checkpoint), self.args.dataloader_num_workers)
            self.args.ignore_data_skip = True
