"""Dialogues as people have them: as JSON in a cell, with answers that are not to be learned, and with what is said before them."""

import csv
import json

import pytest
from tests.data.test_conversations import PLAIN, learned, ours, with_template
from tests.data.test_tool_calls import TOOLS_TEMPLATE

from hf_gpt.data import sources
from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS, TaskSettings


ROWS = 40


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def written(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": "csv" if path.suffix == ".csv" else "json", "files": str(path)}


def prepared(tmp_path, name, make, suffix=".jsonl", template=PLAIN, **dataset):
    """The task, what it has made of the rows of one split, and what is counted of these."""
    source = sources.text_source({**written(tmp_path / f"rows{suffix}", [make(i) for i in range(ROWS)]), **dataset})
    task = TASKS[name](with_template(ours(), template), TaskSettings(max_length=400, reward="length"))
    splits, dropped, counts = task_splits(source, task.columns, task.group, 0.2, 0.2)
    task.counts = {}
    encoded = task.prepare(splits)
    for split, found in counts.items():
        task.counts[split].update(found)
    assert sum(map(len, splits.values())) + sum(dropped.values()) == ROWS
    return task, encoded["train"], dict(task.counts["train"]), dropped


def texts(task, encoded, column):
    return {str(task.tokenizer.decode(ids)) for ids in encoded[column]}


def asked(task, *messages):
    return task.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)


# How a cell of text has messages: as JSON, as Python shows it, or as ShareGPT's turns.
CELLS = {
    "json": json.dumps,
    "python": str,
    "sharegpt": lambda messages: json.dumps([{"from": turn["role"], "value": turn["content"]} for turn in messages]),
}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_messages_in_a_cell_of_text_are_messages(tmp_path, suffix, cell):
    def make(i):
        before = [system("be nice"), user(f"red {i % 3}")]
        return {
            "prompt": cell(before),
            # Some repeat the prompt.
            "chosen": cell([*before, assistant("blue")]),
            "rejected": cell([assistant("green")]) if i % 2 else "green",
            "answer": i,
            "group": i,
        }

    for name in ("preference", "reward", "reinforcement"):
        task, encoded, _, _ = prepared(tmp_path, name, make, suffix)
        wanted = {asked(task, system("be nice"), user(f"red {i}")) for i in range(3)}
        if name == "preference":
            assert texts(task, encoded, "prompt_ids") == wanted
            assert texts(task, encoded, "chosen_ids") == {"blue<|im_end|>"}
            assert texts(task, encoded, "rejected_ids") == {"green<|im_end|>"}
        elif name == "reward":
            assert texts(task, encoded, "chosen_ids") == {f"{prompt}blue<|im_end|>" for prompt in wanted}
        else:
            assert texts(task, encoded, "prompt") == wanted


def test_one_message_as_an_answer_and_texts_beside_messages(tmp_path):
    """LLaMA-Factory has pairs so; a text beside messages is what they would say."""

    def make(i):
        said = {name: {"from": "gpt", "value": text} for name, text in (("chosen", "blue"), ("rejected", "green"))}
        before = [{"from": "human", "value": "red"}]
        return {"conversations": before if i % 2 else "red", **said, "rejected": "green", "group": i}

    task, encoded, counts, _ = prepared(tmp_path, "preference", make)
    assert texts(task, encoded, "prompt_ids") == {asked(task, user("red"))}
    assert (texts(task, encoded, "chosen_ids"), texts(task, encoded, "rejected_ids")) == (
        {"blue<|im_end|>"},
        {"green<|im_end|>"},
    )
    assert counts == {}


TEXTS_LIKE_MESSAGES = [
    '[{"name": "red"}]',
    '{"from": "red", "to": "blue"}',
    "[1, 2]",
    '{"role": "king", "content": 1}',
    "{",
    "[x",
    "[]",
]


def test_texts_in_braces_stay_texts(tmp_path):
    def make(i):
        return {"prompt": TEXTS_LIKE_MESSAGES[i % len(TEXTS_LIKE_MESSAGES)], "answer": "[]", "group": i}

    task, encoded, _, _ = prepared(tmp_path, "reinforcement", make)
    assert texts(task, encoded, "prompt") == set(TEXTS_LIKE_MESSAGES)


def test_messages_that_break_off_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"column 'prompt' of row 3 cannot be read: '\[{\"role\""):
        prepared(tmp_path, "reinforcement", lambda i: {"prompt": json.dumps([user(f"red {i}")])[: -1 if i == 3 else None]})


def test_what_is_called_or_refused_is_no_empty_row(tmp_path):
    """As OpenAI has written them: calls before there were tools, and refusals."""
    call = {"name": "add", "arguments": '{"a": 1}'}
    said = [assistant(None, function_call=call), assistant(None, refusal="blue"), assistant(None, refusal=None)]
    rest = [[{"role": "function", "name": "add", "content": "7"}, assistant("green")], [], []]
    task, encoded, counts, dropped = prepared(
        tmp_path, "chat", lambda i: {"messages": [user(f"red {i}"), said[i % 3], *rest[i % 3]]}, template=TOOLS_TEMPLATE
    )
    assert dropped == {"empty rows": ROWS // 3}
    found = {task.tokenizer.decode(learned(row)) for row in encoded}
    assert found == {'[add {"a": 1}]<|im_end|>green<|im_end|>', "blue<|im_end|>"}
    assert set(counts) == {"rows with name, of which nothing is learned: the chat template does not write it"}


@pytest.mark.parametrize("layout", [list, json.dumps])
@pytest.mark.parametrize("mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}, {"loss": False}])
def test_answers_that_are_marked_are_not_learned(tmp_path, mark, layout):
    more = {name: type(value)(1) for name, value in mark.items()}

    def make(i):
        if i % 4 == 0:
            return {"messages": layout([user(f"red {i}"), assistant("wrong", **mark)])}
        said = [user(f"red {i}"), assistant("wrong", **mark), user("no", **mark), assistant("blue", **more)]
        return {"messages": layout([*said, user("and"), assistant("wrong", **mark)] if i % 4 == 1 else said)}

    task, encoded, counts, _ = prepared(tmp_path, "chat", make)
    assert {task.tokenizer.decode(learned(row)) for row in encoded} == {"blue<|im_end|>"}
    assert set(encoded["reference"]) == {"blue"}
    assert all(text.endswith("no<|im_end|>\n<|im_start|>assistant\n") for text in texts(task, encoded, "prompt_ids"))
    assert counts.pop("rows left out: every answer is marked as not to be learned") > 0
    marked = sum(task.tokenizer.decode(ids).count("wrong") for ids in encoded["input_ids"])
    assert counts == {"answers not learned, as they are marked": marked}


def test_other_weights_and_answers_of_pairs_that_are_not_learned_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"column 'messages' of row 0 cannot be read: weight of a message is 0.5: it is learned"
    ):
        prepared(tmp_path, "chat", lambda i: {"messages": [user(f"red {i}"), assistant("blue", weight=0.5)]})
    row = {"prompt": "red", "chosen": [assistant("blue")], "rejected": [assistant("green", weight=0)]}
    with pytest.raises(InputError, match="an answer of row 0 of the train split is marked as not to be learned"):
        prepared(tmp_path, "preference", lambda i: {**row, "group": i})


SAID = {
    "conversations": {"conversations": [{"from": "human", "value": "red"}, {"from": "gpt", "value": "blue"}]},
    "messages": {"messages": [user("red"), assistant("blue")]},
    "messages with it": {"messages": [system("be nice"), user("red"), assistant("blue")]},
    "alpaca": {"instruction": "red", "output": "blue"},
    "prompts": {"prompt": "red", "chosen": "blue", "rejected": "green"},
    "messages and texts": {"prompt": [user("red")], "chosen": "blue", "rejected": "green"},
    "whole dialogues": {
        "prompt": [user("red")],
        "chosen": [system("be nice"), user("red"), assistant("blue")],
        "rejected": [user("red"), assistant("green")],
    },
}


@pytest.mark.parametrize("row", SAID.values(), ids=SAID)
def test_a_column_system_is_the_first_message(tmp_path, row):
    for name in ("preference", "reinforcement") if "prompt" in row else ("chat",):
        kept = {key: value for key, value in row.items() if key in TASKS[name].columns or "prompt" not in row}
        task, encoded, counts, _ = prepared(tmp_path, name, lambda i, kept=kept: {**kept, "system": "be nice", "group": i})
        column = "prompt" if name == "reinforcement" else "prompt_ids"
        assert texts(task, encoded, column) == {asked(task, system("be nice"), user("red"))}
        assert counts == {}
    # Without any, prompts stay as they are.
    for nothing in (None, "", " "):
        task, encoded, _, _ = prepared(tmp_path, name, lambda i, given=nothing: {**row, "system": given, "group": i})
        assert "be nice" not in texts(task, encoded, column).pop() or row is SAID["messages with it"]


def test_a_second_system_message_is_refused(tmp_path):
    with pytest.raises(InputError, match="has the roles system, system, user, assistant"):
        prepared(tmp_path, "chat", lambda i: {**SAID["messages with it"], "system": f"be {i}", "group": i})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_history_of_instructions_is_what_was_said_before(tmp_path, suffix):
    history = [["one", "two"], ["three", "four"]]
    given = json.dumps(history) if suffix == ".csv" else history
    row = {"instruction": "red", "input": "this", "output": "blue", "system": "be nice"}
    task, encoded, counts, _ = prepared(
        tmp_path, "chat", lambda i: {**row, "history": given if i % 2 else given[:0], "group": i}, suffix
    )
    pairs = [message for said, answer in history for message in (user(said), assistant(answer))]
    ends = {asked(task, system("be nice"), *before, user("red\n\nthis")) for before in (pairs, [])}
    assert texts(task, encoded, "prompt_ids") == ends
    assert counts == {}
    for wrong in (["red", "blue"], [["red"]], [["red", ["blue"]]], "red"):
        with pytest.raises(InputError, match=r"dataset: .*(row 0|history)"):
            prepared(tmp_path, "chat", lambda i, wrong=wrong: {**row, "history": wrong, "group": i})


READ = {
    "chat": {"messages": [user("red"), assistant("blue")]},
    "preference": {"prompt": "red", "chosen": "blue", "rejected": "green"},
    "reinforcement": {"prompt": "red"},
    "text-to-text": {"instruction": "red", "output": "blue"},
    "text-classification": {"text": "red", "label": "A"},
    "multiple-choice": {"question": "red", "choices": ["a", "b"], "label": 0},
}


@pytest.mark.parametrize("name", READ)
def test_columns_that_are_not_read_are_listed_once(tmp_path, name):
    def rows(*more):
        return [{**READ[name], "group": i, **dict.fromkeys(more, "x")} for i in range(ROWS)]

    def counts(dataset):
        return task_splits(sources.text_source(dataset), TASKS[name].columns, TASKS[name].group, 0.2, 0.2)[2]

    given = written(tmp_path / "rows.jsonl", rows("id", "history", "kind"))
    held_out = written(tmp_path / "held.jsonl", [{**row, "group": -row["group"] - 1} for row in rows("id", "more")])
    found = counts({**given, "where": {"kind": "x"}, "test": {**held_out, "where": {}}})
    assert found == {"train": {"columns not read: id, history": 2}, "test": {"columns not read: more": 1}}
    assert counts({**written(tmp_path / "plain.jsonl", rows())}) == {}
