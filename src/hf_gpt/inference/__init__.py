"""Load a trained model, generate with it, look into it."""
