"""Conversations with calls of tools: a chat template is given all of them, as by transformers, and what it leaves out is told."""

import json

import pytest
from datasets import Dataset, DatasetDict
from tests.data.test_conversations import PLAIN, learned, ours, with_template
from tests.data.test_json_columns import rows_of

from hf_gpt.data.cells import read_columns
from hf_gpt.data.conversations import MARK, template_text
from hf_gpt.data.dialogues import as_given
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS, TaskSettings


# As models that call tools have them, and like none of them in particular.
TOOLS_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '[' + call.function.name + ' ' + (call.function.arguments | tojson) + ']' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


def said(number, **arguments):
    """One call of a tool, its answer, and what follows from it."""
    call = {"id": f"call-{number}", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return [
        {"role": "user", "content": f"red {number}"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "7", "tool_call_id": f"call-{number}"},
        {"role": "assistant", "content": f"blue {number}", "tool_calls": []},
    ]


def task_of(rows, template=TOOLS_TEMPLATE, name="chat", **settings):
    tokenizer = with_template(ours(), template)
    task = TASKS[name](tokenizer, TaskSettings(**{"max_length": 400, **settings}))
    part = read_columns(Dataset.from_list(rows))
    return tokenizer, task, task.prepare(DatasetDict({"train": part, "test": part}))["test"]


def as_transformers(tokenizer, messages, **settings):
    given = [{"content": "", **{key: part for key, part in message.items() if part is not None}} for message in messages]
    return tokenizer.apply_chat_template(given, tokenize=False, **settings)


ARGUMENTS = [{"a": 1, "b": 2}, {"a": 2.5}, {"a": "007"}, {"c": {"d": [True]}}, {"a": "", "e": None}]


@pytest.mark.parametrize("is_text", [False, True])
def test_what_a_template_is_given_is_what_the_file_has(is_text, tmp_path):
    """Whatever types the arguments have in other rows; those of the API of OpenAI are JSON in a string."""
    rows = [{"messages": said(i, **ARGUMENTS[i % 5]), "tools": [TOOL] if i % 2 else None, "group": i} for i in range(60)]
    given = json.loads(json.dumps(rows))
    for row in given if is_text else []:
        function = row["messages"][1]["tool_calls"][0]["function"]
        function["arguments"] = json.dumps(function["arguments"])
        row["tools"] = json.dumps(row["tools"])
    found = {row["group"]: row for row in rows_of(tmp_path, "chat", given)}
    tokenizer = with_template(ours(), TOOLS_TEMPLATE)
    assert len(found) == len(rows)
    for i, row in enumerate(rows):
        read, tools = found[i]["messages"], json.loads(found[i]["tools"] or "null")
        wanted = as_transformers(tokenizer, row["messages"], tools=row["tools"])
        wanted = wanted if is_text else wanted.replace(', "e": null', "")
        assert template_text(tokenizer, as_given(read), tools=tools) == wanted
        assert "tool_calls" not in as_given(read)[3]


def test_calls_are_learned_and_what_a_template_leaves_out_is_counted():
    rows = [{"messages": said(i, a=i), "tools": json.dumps([TOOL])} for i in range(3)]
    tokenizer, task, found = task_of([*rows, {"messages": said(3, a=3), "tools": None}])
    assert task.counts["test"] == {
        "rows with tool_call_id, of which nothing is learned: the chat template does not write it": 4,
    }
    row = found[0]
    assert tokenizer.decode(row["input_ids"]) == as_transformers(tokenizer, said(0, a=0), tools=[TOOL])
    assert tokenizer.decode(learned(row)) == '[add {"a": 0}]<|im_end|>blue 0<|im_end|>'
    asked = as_transformers(tokenizer, said(0, a=0)[:-1], tools=[TOOL], add_generation_prompt=True)
    assert tokenizer.decode(row["prompt_ids"]) == asked
    assert "parameters" not in tokenizer.decode(found[3]["input_ids"])


def test_a_call_that_no_template_writes_is_no_empty_answer():
    spoken = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "blue", "name": "Ann"}]
    rows = [{"messages": said(0, a=1), "tools": [TOOL]}, {"messages": spoken, "tools": [TOOL]}]
    _, task, found = task_of(rows, PLAIN)
    assert len(found) == 1
    assert task.counts["test"] == {
        "rows left out: the chat template writes no tool_calls, and a message is nothing else": 1,
        "rows with name, of which nothing is learned: the chat template does not write it": 1,
        "rows with tools, of which nothing is learned: the chat template does not write it": 1,
    }


def test_a_field_that_a_template_asks_for_counts_as_known():
    strict = TOOLS_TEMPLATE.replace(
        "{{ '<|im_start|>' + m.role",
        "{% if m.role == 'tool' and not m.tool_call_id %}{{ raise_exception('no id') }}{% endif %}{{ '<|im_start|>' + m.role",
    )
    assert task_of([{"messages": said(0, a=1)}], strict)[1].counts["test"] == {}


def test_names_of_special_tokens_are_text_in_calls():
    tokenizer, _, found = task_of([{"messages": said(0, a="<|im_end|>"), "tools": [{**TOOL, "name": "<|im_start|>"}]}])
    ends = found["input_ids"][0].count(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert ends == 5
    assert MARK not in tokenizer.decode(found["input_ids"][0])


def test_prompts_and_answers_have_calls_too():
    messages = said(0, a=1)
    bad = [{"role": "assistant", "content": "green", "more": "kept as any field"}]
    row = {"prompt": messages[:3], "chosen": messages, "rejected": bad, "tools": [TOOL]}
    tokenizer, task, found = task_of([row, row], name="preference")
    asked = as_transformers(tokenizer, messages[:3], tools=[TOOL], add_generation_prompt=True)
    assert tokenizer.decode(found["prompt_ids"][0]) == asked
    assert tokenizer.decode(found["chosen_ids"][0]) == "blue 0<|im_end|>"
    assert task.counts["test"]["rows with more, of which nothing is learned: the chat template does not write it"] == 2
    # An answer may be a call.
    call = {**row, "prompt": messages[:1], "chosen": messages[:2]}
    tokenizer, _, found = task_of([call], name="preference")
    assert tokenizer.decode(found["chosen_ids"][0]) == '[add {"a": 1}]<|im_end|>'
    tokenizer, _, found = task_of([row], name="reinforcement", reward="length")
    assert tokenizer.decode(found["prompt"][0]) == asked
    plain = {"prompt": "red", "chosen": "blue", "rejected": "green", "tools": [TOOL]}
    for name in ("preference", "reward", "reinforcement"):
        (told,) = task_of([plain], name=name, reward="length")[1].counts["test"]
        assert told.startswith("rows with tools, of which nothing is learned")


@pytest.mark.parametrize(
    "roles",
    [
        "user tool assistant",
        "user call assistant",
        "user call tool",
        "user call tool user assistant",
        "user call user assistant",
    ],
)
def test_tools_answer_calls_and_the_assistant_has_the_last_word(roles):
    call = said(0, a=1)[1]
    messages = [call if role == "call" else {"role": role, "content": "red"} for role in roles.split()]
    told = " ".join(message["role"] for message in messages).replace(" ", ", ")
    with pytest.raises(InputError, match=f"row 0 of the train split has the roles {told}: .* a tool answers"):
        task_of([{"messages": messages}])


def test_tools_that_are_none_are_refused():
    for tools in ('["add"]', "add", "7"):
        with pytest.raises(InputError, match="column 'tools' of row 0 cannot be read"):
            task_of([{"messages": said(0, a=1), "tools": tools}])


def test_a_row_is_the_same_whether_or_not_others_have_fields(tmp_path):
    """Its split is drawn from it, and what is held out is compared with it."""
    rows = [{"messages": [{"role": "user", "content": f"{i}"}, {"role": "assistant", "content": "a"}]} for i in range(60)]

    def order(given):
        return [row["messages"][0]["content"] for row in rows_of(tmp_path, "chat", given)]

    alone, beside = order(rows), order([*rows, {"messages": said(0, a=1)}])
    assert [content for content in beside if content != "red 0"] == alone
