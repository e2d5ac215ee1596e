"""From a recipe or the name of a preset to the plain values that `planning` takes."""

from typing import Any

from .arguments import load_recipe
from .errors import InputError, did_you_mean
from .modeling.configuration_hf_gpt import GPTConfig
from .optim import OPTIMIZERS
from .planning import Workload
from .presets import preset


def planned_run(
    recipe: str | None, name: str | None, devices: int, on_cpu: bool, given: dict[str, Any]
) -> tuple[GPTConfig, Workload, dict[str, float]]:
    """The config, what a device does at a time, and how long it trains: `tokens` or `minutes`, or nothing where nobody said.

    Args:
        recipe, name: A recipe of pretraining, or the name of a preset; exactly one.
        given: `length`, `rows`, `optimizer` and `tokens`, each `None` where the recipe's or the model's holds.

    Raises:
        InputError: neither or both of recipe and preset, an unknown name, or a recipe that trains no new model of this family.
    """
    if (recipe is None) == (name is None):
        raise InputError("plan takes a recipe or --preset NAME, and not both.")
    optimizer = given["optimizer"]
    if optimizer is not None and optimizer not in OPTIMIZERS:
        hint = did_you_mean(optimizer, OPTIMIZERS)
        raise InputError(f"optimizer={optimizer!r} is unknown.{hint} The optimizers are {', '.join(OPTIMIZERS)}.")
    chosen = {key: value for key, value in given.items() if value is not None and key != "tokens"}
    if name is not None:
        try:
            config = preset(name)
        except ValueError as error:
            raise InputError(str(error)) from error
        load = Workload(**{"length": config.max_position_embeddings, "on_cpu": on_cpu, **chosen})
        return config, load, {} if given["tokens"] is None else {"tokens": given["tokens"]}

    loaded = load_recipe(str(recipe))
    # The trainer's libraries are of no use to a preset, and slow to import.
    from .train import model_config

    if loaded.model.preset is None:
        raise InputError(
            f"{recipe} trains no new model of a preset, which is what a plan counts: give --preset, or such a recipe."
        )
    config = model_config(loaded, loaded.model.config.get("vocab_size", loaded.data.tokenizer_vocab_size))
    training = loaded.training
    values = {
        "length": loaded.data.block_size,
        "rows": training.per_device_train_batch_size,
        "optimizer": loaded.run.optimizer,
        # What the recipe asks for, whether or not this machine has the instructions.
        "bfloat16": bool(loaded.values.get("bf16")),
        "attention": loaded.model.attn_implementation or "sdpa",
        "checkpointing": False,
        "on_cpu": on_cpu,
        **chosen,
    }
    load = Workload(**values)
    if given["tokens"] is not None:
        return config, load, {"tokens": given["tokens"]}
    if training.max_steps > 0:
        return (
            config,
            load,
            {"tokens": float(training.max_steps * training.gradient_accumulation_steps * load.tokens * devices)},
        )
    return config, load, {} if loaded.run.max_minutes is None else {"minutes": loaded.run.max_minutes}
