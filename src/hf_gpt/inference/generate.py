"""Continue a prompt with a finished model."""

from transformers import set_seed

from ..checks.boundary import refused
from .loading import load_model
from .writing import VisibleStreamer, check_settings, prompt_inputs, sampling


def generate_text(name: str, prompt: str, max_new_tokens: int, temperature: float, top_p: float, seed: int) -> None:
    """Print a prompt and what a model continues it with, as it comes.

    Raises:
        InputError: the model cannot be loaded, a setting is none that it may be, or prompt and continuation are more than the model's
            positions.
    """
    check_settings(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    model, tokenizer = load_model(name)
    inputs = prompt_inputs(model, tokenizer, prompt, max_new_tokens)
    set_seed(seed)
    with refused(f"model={name!r} cannot generate with its generation_config.json"):
        model.generate(
            **inputs,
            **sampling(temperature, top_p),
            max_new_tokens=max_new_tokens,
            streamer=VisibleStreamer(tokenizer, skip_special_tokens=True),
        )
