"""What a model or a baseline is worth on a text."""
