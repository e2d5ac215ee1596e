"""What travels with a checkpoint: it imports torch, transformers and itself."""
