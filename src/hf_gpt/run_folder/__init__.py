"""What a run keeps on disk: its manifest, what it has settled, its checkpoints."""
