"""A step never stands still for a number on the device but for one, and for that one only while the gradients are made."""

import pytest
import torch
from datasets import Dataset
from tests.conftest import tiny_config
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainingArguments

import hf_gpt
from hf_gpt.modeling import layers_hf_gpt, modeling_hf_gpt
from hf_gpt.planning import hardware
from hf_gpt.recipe.machine import RunSize, settle_machine
from hf_gpt.training import finite, optimizers
from hf_gpt.training.objectives import collate
from hf_gpt.training.optimizers import OPTIMIZERS
from hf_gpt.training.trainer import GuardedTrainer


class Looks(TorchDispatchMode):
    """What happens of interest, in order: a number of a tensor that Python asks for is what makes a processor wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.events = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.events.append("look")
        return function(*arguments, **(named or {}))


def events_of(steps, folder, optimizer, accumulation, **config):
    model = hf_gpt.GPTForCausalLM(tiny_config("modern", fused_loss=True, **config))
    rows = torch.randint(2, 96, (2 * accumulation * steps, 16)).tolist()
    rates = dict.fromkeys(("embedding_lr", "head_lr", "rest_lr"), 0.01)
    made = OPTIMIZERS[optimizer](model, 0.01, **rates, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8)
    arguments = TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulation,
        logging_steps=1000,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    data = Dataset.from_dict({"input_ids": rows}).with_format("numpy")
    trainer = GuardedTrainer(model, arguments, train_dataset=data, data_collator=collate, optimizers=(made, None))
    backward = trainer.accelerator.backward
    with Looks() as looks:
        trainer.accelerator.backward = lambda loss, **named: (looks.events.append("backward"), backward(loss, **named))[1]
        trainer.train()
    return looks.events


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_step_looks_at_one_number_once_its_gradients_are_on_their_way(optimizer, accumulation, tmp_path, monkeypatch):
    # On a processor ids are checked, and AdamW keeps its steps where they are asked for; a GPU has neither.
    for module in (layers_hf_gpt, modeling_hf_gpt):
        monkeypatch.setattr(module, "check_ids", lambda *arguments: None)
    monkeypatch.setattr(optimizers, "_is_fused", lambda parameters: True)
    # Beside them one for the order of the rows and one for the loss of the whole run.
    steps = 3
    expected = ["look", *["backward", "look"] * accumulation * steps, "look"]
    assert events_of(steps, tmp_path, optimizer, accumulation) == expected


def test_on_a_gpu_the_answer_sets_out_before_the_backward_pass_and_is_waited_for_after_it(monkeypatch):
    done = []

    class Flag:
        is_cuda = True

        def all(self):
            return self

        def copy_(self, flag, non_blocking):
            done.append(("copy", non_blocking))

        def __bool__(self):
            done.append("read")
            return False

    class Event:
        def record(self):
            done.append("record")

        def synchronize(self):
            done.append("wait")

    monkeypatch.setattr(finite.torch, "isfinite", lambda loss: Flag())
    monkeypatch.setattr(finite.torch, "empty_like", lambda flag, device, pin_memory: Flag())
    monkeypatch.setattr(finite.torch.cuda, "Event", Event)
    answer = finite.ask_if_finite(torch.tensor(1.0))
    assert done == [("copy", True), "record"]
    assert answer() is False
    assert done[2:] == ["wait", "read"]


class Pinned(torch.Tensor):
    """As from a loader with pinned memory, which needs a GPU."""

    def is_pinned(self):
        return True

    def to(self, device, non_blocking=False):
        moved.append((device.type, non_blocking))
        return torch.zeros(2)


moved: list = []


def test_a_batch_from_pinned_memory_goes_to_the_device_without_a_wait(tmp_path):
    model = hf_gpt.GPTForCausalLM(tiny_config("modern"))
    trainer = GuardedTrainer(model, TrainingArguments(str(tmp_path), report_to="none", use_cpu=True))
    batch = trainer._prepare_inputs({"input_ids": torch.ones(2).as_subclass(Pinned), "labels": torch.ones(2)})
    assert moved == [("cpu", True)]
    assert batch["labels"].tolist() == [1, 1]


@pytest.mark.parametrize(("pinned", "expected"), [(None, True), (True, True), (False, False)])
def test_what_accelerate_moves_does_not_wait_either(pinned, expected, monkeypatch):
    monkeypatch.setattr(hardware, "device_type", lambda use_cpu=False: "cuda")
    given = {} if pinned is None else {"dataloader_pin_memory": pinned}
    values = settle_machine(given, "sdpa", RunSize(), {}).training
    assert values.get("accelerator_config", {}).get("non_blocking", False) == expected


def test_rows_reach_the_collator_as_arrays(corpus, tmp_path, monkeypatch):
    """As lists of Python's numbers, a batch for a GPU would take as long as its step."""
    from tests.helpers.recipes import recipe_values

    from hf_gpt.recipe.parser import parse_recipe
    from hf_gpt.training import objectives
    from hf_gpt.training.run import run

    kinds = set()
    monkeypatch.setattr(objectives, "collate", lambda rows: (kinds.add(type(rows[0]["input_ids"])), collate(rows))[1])
    run(parse_recipe(recipe_values(corpus, tmp_path / "run", max_steps=2, sample_prompts=[], ngram_orders=[])))
    assert [kind.__name__ for kind in kinds] == ["ndarray"]
