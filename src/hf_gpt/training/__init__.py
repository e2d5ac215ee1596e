"""A run from recipe to finished folder; the only layer that knows `Trainer`, `peft` and `trl`."""
