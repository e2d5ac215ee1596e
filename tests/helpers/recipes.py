"""Recipes of small runs, and rows of each task for them."""

import json

import torch
import yaml
from benchmarks import tiny
from tests.conftest import randomize, tiny_config
from transformers import AutoModelForCausalLM

from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.recipe.task_keys import READ_BY


def recipe_values(text, output_dir, **changes):
    """A language model on a file of texts: larger than `tiny`'s, so that it learns in its 60 steps, with baselines and a sample."""
    values = tiny.recipe_values(text, output_dir)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "max_position_embeddings": 128}
    return {
        **values,
        "config": {**values["config"], **sizes},
        "tokenizer_vocab_size": 512,
        "max_eval_blocks": 16,
        "lr_scheduler_type": "linear",
        "embedding_learning_rate": "1e-2",
        "head_learning_rate": 0.004,
        "eval_steps": 30,
        "save_steps": 20,
        "save_total_limit": None,
        "ngram_orders": [1, 2],
        "sample_prompts": ["The value"],
        "sample_tokens": 8,
        **changes,
    }


def write_recipe(folder, values):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


# ------------------------------------------------------------------------------------------------------------- tasks


WORDS = ["red", "blue", "green", "small", "large", "round", "old", "new", "cold", "warm", "house", "tree", "river", "stone"]
WORDS += ["road", "bird", "fish", "horse", "cloud", "door"]


def sentence(number, length=6):
    return " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(length))


def classification(number):
    label = number % 2
    return {
        "text": f"{sentence(number)} {'good' if label else 'bad'} {sentence(number + 3, 2)}",
        "label": ["no", "yes"][label],
    }


def pair(number):
    same = number % 2
    return {"text": sentence(number), "text_pair": sentence(number if same else number + 1), "label": float(same)}


def several(number):
    return {
        "text": f"{WORDS[number % 3]} {WORDS[number % 4]} {sentence(number)}",
        "label": [WORDS[number % 3], WORDS[number % 4]],
    }


def tagging(number):
    words = sentence(number).split()
    return {"tokens": words, "tags": ["B-X" if word in WORDS[:10] else "O" for word in words]}


def choosing(number):
    right = number % 2
    choices = ["this is wrong", "this is right"] if right else ["this is right", "this is wrong"]
    return {"question": f"which? {sentence(number)}", "choices": choices, "label": right}


def answering(number):
    context = f"{sentence(number)} . the answer is {WORDS[number % 20]} . {sentence(number + 2)}"
    start = context.index("answer is ") + len("answer is ")
    found = {"text": [WORDS[number % 20]], "answer_start": [start]} if number % 4 else {"text": [], "answer_start": []}
    return {"question": f"what is the answer {number} ?", "context": context, "answers": found}


def copying(number):
    return {"source": sentence(number), "target": sentence(number).split()[0]}


def talking(number):
    return {"messages": [{"role": "user", "content": sentence(number)}, {"role": "assistant", "content": sentence(number, 2)}]}


def preferring(number):
    return {"prompt": sentence(number), "chosen": " good answer", "rejected": f" {sentence(number, 3)}"}


def ranking(number):
    return {"prompt": sentence(number), "chosen": f" good {sentence(number, 2)}", "rejected": f" bad {sentence(number, 2)}"}


def asking(number):
    return {"prompt": sentence(number), "answer": str(number)}


TASKS = {
    "text-classification": (classification, {"accuracy"}),
    "token-classification": (tagging, {"accuracy", "entity_f1"}),
    "multiple-choice": (choosing, {"accuracy"}),
    "question-answering": (answering, {"exact_match", "f1"}),
    "text-to-text": (copying, {"rouge1", "bleu", "chrf", "exact_match", "perplexity"}),
    "chat": (talking, {"loss", "perplexity"}),
    "preference": (preferring, {"rewards/accuracies"}),
    "reward": (ranking, {"accuracy", "margin"}),
    "reinforcement": (asking, {"reward", "kl", "accuracy"}),
}
# What of a task has to be said.
TASK_VALUES = {
    "text-to-text": {"prompt": "{source} ->"},
    # About a sixth of what a model that knows nothing writes begins so.
    "reinforcement": {
        "reward": "format",
        "reward_pattern": "(?s)[a-h].*",
        "num_generations": 8,
        "per_device_train_batch_size": 32,
        "max_new_tokens": 4,
        "max_test_rows": 48,
        "learning_rate": 0.03,
    },
}


def write_base(folder, architecture="modern", **sizes):
    """A causal model with its tokenizer, as pretraining leaves it; `sizes` are fields of its config."""
    texts = [json.dumps(maker(number)) for maker, _ in TASKS.values() for number in range(40)]
    tokenizer = train_tokenizer(iter([texts]), 400, 128)
    torch.manual_seed(0)
    sizes = {"max_position_embeddings": 128, **sizes}
    config = tiny_config(architecture, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    config.eos_token_id = config.bos_token_id = tokenizer.eos_token_id
    randomize(AutoModelForCausalLM.from_config(config), std=0.02).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_rows(folder, maker, count=160):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(maker(number)) + "\n" for number in range(count)))
    return path


def task_values(base, rows, output, task, **changes):
    given = {
        "task": task,
        "model_name_or_path": str(base),
        "dataset": {"path": "json", "files": str(rows)},
        "validation_share": 0.15,
        "test_share": 0.15,
        "max_length": 64,
        "stride": 8,
        "output_dir": str(output),
        "max_steps": 30,
        "per_device_train_batch_size": 8,
        "learning_rate": 0.003,
        "logging_steps": 10,
        "eval_strategy": "steps",
        "eval_steps": 15,
        "save_strategy": "steps",
        "save_steps": 15,
        "report_to": "none",
        "use_cpu": True,
        "max_new_tokens": 8,
        "max_test_rows": 8,
        **TASK_VALUES.get(task, {}),
    }
    if changes.get("reward", "format") != "format":
        given.pop("reward_pattern", None)
    return {key: value for key, value in given.items() if key not in READ_BY or task in READ_BY[key]} | changes
