"""Makes `transformers` know `model_type: "hf_gpt"` and `"hf_gpt_nnlm"`; importing `hf_gpt` runs it once.

transformers is half a second of importing, and its auto classes import torch. So that importing `hf_gpt` does neither, the names of our
classes are entered into their tables when these are imported, as the names of transformers' own models stand there; the classes follow
when our modules are.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


CONFIG_AUTO, MODELING_AUTO = "transformers.models.auto.configuration_auto", "transformers.models.auto.modeling_auto"
CONFIG_NAMES = {"hf_gpt": "GPTConfig", "hf_gpt_nnlm": "NNLMConfig"}
# transformers looks the task of a class up by its name in these tables, too, among others to shift the labels of label smoothing.
TABLES = {
    "AutoModel": "MODEL_MAPPING_NAMES",
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "AutoModelForMultipleChoice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
}
MODEL_NAMES = {
    "hf_gpt": {
        "AutoModel": "GPTModel",
        **{name: name.replace("AutoModel", "GPT") for name in TABLES if name != "AutoModel"},
    },
    "hf_gpt_nnlm": {"AutoModelForCausalLM": "NNLMForCausalLM"},
}

PEFT_TABLES = "peft.utils.constants"

# The transformers module as it was imported first: transformers makes another when its code for processors is imported.
_FIRST: list[ModuleType] = []
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class AfterImport(MetaPathFinder):
    """Calls something with a module as soon as it has been imported.

    Args:
        actions: What is called, by the module's full name.
    """

    def __init__(self, actions: dict[str, Callable[[ModuleType], None]]):
        self.actions = actions

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        action = self.actions.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if action is not None else None
        if action is not None and spec is not None and spec.loader is not None:
            _run_after(spec.loader, action)
        return spec


def _run_after(loader: Loader, action: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        action(module)

    # A loader serves one module; with one of another class, `inspect` and `pickle` would miss what it else knows.
    vars(loader)["exec_module"] = exec_module


def register() -> None:
    """Registers configs and models, now if transformers' tables are in memory, else when they or our modules are imported."""
    actions: dict[str, Callable[[ModuleType], None]] = {
        "transformers": remember,
        CONFIG_AUTO: enter_config_names,
        MODELING_AUTO: enter_model_names,
        "hf_gpt.modeling.configuration_hf_gpt": partial(register_config, model_type="hf_gpt"),
        "hf_gpt.modeling.configuration_nnlm_hf_gpt": partial(register_config, model_type="hf_gpt_nnlm"),
        "hf_gpt.modeling.modeling_hf_gpt": partial(register_models, model_type="hf_gpt"),
        "hf_gpt.modeling.modeling_nnlm_hf_gpt": partial(register_models, model_type="hf_gpt_nnlm"),
        PEFT_TABLES: fill_peft_tables,
    }
    sys.meta_path.insert(0, AfterImport(actions))
    for model_type in CONFIG_NAMES:
        # Where transformers looks for the classes of a model type.
        sys.modules[f"transformers.models.{model_type}"] = sys.modules["hf_gpt"]
    if PEFT_TABLES in sys.modules:
        fill_peft_tables(sys.modules[PEFT_TABLES])
    if "transformers" in sys.modules:
        remember(sys.modules["transformers"])
    if CONFIG_AUTO in sys.modules:
        enter_config_names(sys.modules[CONFIG_AUTO])
        # The tables of models were made without our names, and take classes only.
        import_module("hf_gpt.modeling.modeling_hf_gpt")
        import_module("hf_gpt.modeling.modeling_nnlm_hf_gpt")


def remember(_: ModuleType) -> None:
    # What is imported puts a lazy module in its own place.
    _FIRST.append(sys.modules["transformers"])


def enter_config_names(configuration_auto: ModuleType) -> None:
    configuration_auto.CONFIG_MAPPING_NAMES.update(CONFIG_NAMES)


def enter_model_names(modeling_auto: ModuleType) -> None:
    for model_type, names in MODEL_NAMES.items():
        for auto_name, class_name in names.items():
            getattr(modeling_auto, TABLES[auto_name])[model_type] = class_name


def register_config(configuration: ModuleType, model_type: str) -> None:
    """Makes the config's code part of a checkpoint."""
    getattr(configuration, CONFIG_NAMES[model_type]).register_for_auto_class()


def register_models(modeling: ModuleType, model_type: str) -> None:
    """Makes every class of a modeling module known, and its code part of a checkpoint."""
    config_class = getattr(modeling, CONFIG_NAMES[model_type])
    for auto_name, class_name in MODEL_NAMES[model_type].items():
        model_class = getattr(modeling, class_name)
        getattr(import_module("transformers"), auto_name).register(config_class, model_class, exist_ok=True)
        model_class.register_for_auto_class(auto_name)
        # `transformers serve` and `transformers chat` read the class off the transformers module that they imported.
        for module in (*_FIRST, sys.modules["transformers"]):
            setattr(module, class_name, model_class)
    enter_model_names(import_module(MODELING_AUTO))


def fill_peft_tables(constants: ModuleType) -> None:
    """Lets every method of `peft` know where it goes when `target_modules` is not given.

    peft has no other way to be told than its tables, one for each method. LoRA gets all matrices of the blocks; each other
    method what Qwen3 has there, of which every generation has what is named `q_proj`, `v_proj` or `down_proj`.
    """
    for name, table in vars(constants).items():
        if name.endswith("_MODULES_MAPPING") and "qwen3" in table:
            table.setdefault("hf_gpt", list(table["qwen3"]))
    constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING["hf_gpt"] = list(LORA_TARGETS)


__all__ = ["register"]
