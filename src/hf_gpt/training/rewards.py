"""What an answer is worth: rules that can be checked, and a reward model that has learned it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback

from ..errors import InputError, counted, shown
from ..reports.records import RECORD_FILE, read_record
from ..tasks import Task, TaskSettings
from ..tasks.reinforcement import is_right
from .reward_model import check_reward_model, load_reward_model, scores


# As TRL calls it: lists of the same length, by name; it returns a number for each.
Reward = Callable[..., list[float]]


def arithmetic(task: Task, device: torch.device) -> Reward:
    """1 where the last number of the text is the answer, else 0."""

    def arithmetic(completions: list[str], answer: list[str], **others: Any) -> list[float]:
        return [float(is_right(text, wanted)) for text, wanted in zip(completions, answer)]

    return arithmetic


def brevity(task: Task, device: torch.device) -> Reward:
    """The share of `max_new_tokens` that an answer leaves."""
    most = task.settings.max_new_tokens

    def length(completion_ids: list[list[int]], **others: Any) -> list[float]:
        return [1 - len(ids) / most for ids in completion_ids]

    return length


def pattern(task: Task, device: torch.device) -> Reward:
    """1 where the whole text matches `reward_pattern`, else 0."""
    wanted = re.compile(str(task.settings.reward_pattern))

    def format(completions: list[str], **others: Any) -> list[float]:
        return [float(wanted.fullmatch(text.strip()) is not None) for text in completions]

    return format


def learned(task: Task, device: torch.device) -> Reward:
    """What the reward model in the folder `reward_model` says of prompt and answer."""
    scorer = load_reward_model(str(task.settings.reward_model), task.tokenizer).to(device)
    ends, end = set(task.stop_ids), learned_end(task)

    def model(prompts: list[list[int]], completion_ids: list[list[int]], **others: Any) -> list[float]:
        # A reward model has learned of answers that end, all in one way, and gives its number at their end.
        whole = [
            [*asked, *(said[:-1] if said and said[-1] in ends else said), end] for asked, said in zip(prompts, completion_ids)
        ]
        return scores(scorer, task.tokenizer, whole).tolist()

    return model


def learned_end(task: Task) -> int:
    """Return the token at the end of the answers that a reward model has learned of; without a word of it, the end of a turn."""
    folder = Path(str(task.settings.reward_model))
    details = read_record(folder).get("details", {}) if (folder / RECORD_FILE).is_file() else {}
    name = details.get("answer_end")
    known: Any = task.tokenizer.convert_tokens_to_ids
    return task.stop_ids[-1] if name is None else known(name)


REWARDS: dict[str, Callable[[Task, torch.device], Reward]] = {
    "arithmetic": arithmetic,
    "length": brevity,
    "format": pattern,
    "model": learned,
}


def check_reward(settings: TaskSettings) -> None:
    """Raise `InputError` when a reward lacks what it is computed with, or cannot use it, as far as small files tell."""
    if settings.reward is None:
        raise InputError(f"task='reinforcement' needs reward: one of {', '.join(REWARDS)}.")
    if settings.reward in NEEDS:
        NEEDS[settings.reward](settings)


def _check_pattern(settings: TaskSettings) -> None:
    if settings.reward_pattern is None:
        raise InputError("reward='format' needs reward_pattern: a regular expression that the whole answer has to match.")
    try:
        re.compile(settings.reward_pattern)
    except re.error as error:
        raise InputError(f"reward_pattern={shown(settings.reward_pattern)} is no regular expression: {error}.") from error


def _check_model(settings: TaskSettings) -> None:
    if settings.reward_model is None:
        raise InputError("reward='model' needs reward_model: the folder of a run of task: reward.")
    check_reward_model(settings.reward_model)


# What a reward is computed with beside the answers, by its name.
NEEDS: dict[str, Callable[[TaskSettings], None]] = {"format": _check_pattern, "model": _check_model}


# ---------------------------------------------------------------------------------------- rewards that teach nothing


# In a row of the log: of the prompts that were answered, the share whose answers all got the same reward.
FLAT_GROUPS = "flat_groups"
# After which it is said that no prompt had others.
FIRST_STEPS = 5


def counting_flat_groups(library: type) -> Callable[..., torch.Tensor]:
    """Return the method of a trainer of TRL's that asks for rewards, with their `FLAT_GROUPS` for the log. What TRL logs of the kind
    is, of RLOO, after the price of the distance, which differs from answer to answer."""

    def calculate_rewards(trainer: Any, *arguments: Any) -> torch.Tensor:
        rewards: torch.Tensor = library._calculate_rewards(trainer, *arguments)  # type: ignore[attr-defined]
        if trainer.model.training:
            groups = rewards.view(-1, trainer.num_generations)
            trainer._metrics["train"][FLAT_GROUPS].append((groups == groups[:, :1]).all(1).float().mean().item())
        return rewards

    return calculate_rewards


class FlatRewards(TrainerCallback):
    """Says once when in no group of the first steps an answer was worth more than another: nothing is learned of such rewards."""

    is_told = False

    def on_log(self, args, state, control, **kwargs):
        rows = [row for row in state.log_history if FLAT_GROUPS in row]
        if self.is_told or not rows or state.global_step < min(FIRST_STEPS, state.max_steps):
            return
        if state.is_world_process_zero and all(row[FLAT_GROUPS] == 1 for row in rows):
            self.is_told = True
            mean = next(value for name, value in rows[-1].items() if re.fullmatch("rewards/.*/mean", name))
            tqdm.write(
                f"In {counted(state.global_step, 'steps')} so far, all answers to a prompt got the same reward, {mean:.3g} on "
                "average, and nothing is learned of that: take prompts or a reward that tell answers apart, draw more answers "
                "(num_generations), or fine-tune on good answers first (task: chat)."
            )
