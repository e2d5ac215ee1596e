"""Rows of every task with cells of any kind, and texts of any kind in prompts, answers and conversations.

`make fuzz` makes hundreds of each; the suite a handful, always the same ones.
"""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.data.test_conversations import TEMPLATES, llama, messages, ours, with_template
from tests.helpers.fuzzing import fuzzed
from tests.helpers.recipes import TASKS as EXAMPLES

from hf_gpt.data.conversations import MARK, answer_ids, conversation_ids, template_text
from hf_gpt.data.encoding import opening
from hf_gpt.data.rows import task_splits
from hf_gpt.data.sources import text_source
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS, TaskSettings


NAMES = st.sampled_from(
    ["<|endoftext|>", "<|im_end|>", "<|im_start|>assistant\n", "<|pad|>", "<s>", " ", "\n", "word", "\ufdd0"]
)
TEXT = st.lists(NAMES | st.text(st.characters(codec="utf-8"), max_size=8), max_size=6).map("".join)

# ---------------------------------------------------------------------------------------------------------------- cells

SCALAR = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
CELL = (
    SCALAR
    | st.lists(SCALAR, max_size=3)
    | st.lists(st.sampled_from([0, 1, 0.0, 1.0]), min_size=2, max_size=3)
    | st.dictionaries(st.sampled_from(["text", "answer_start", "role", "content", "from", "value"]), SCALAR, max_size=3)
    | st.lists(
        st.fixed_dictionaries({}, optional={"role": TEXT, "content": SCALAR, "text": SCALAR, "answer_start": SCALAR}),
        max_size=3,
    )
)
GONE = "<gone>"
SETTINGS = {"max_length": 200, "stride": 8, "prompt": "{source} ->", "reward": "arithmetic"}


@pytest.mark.parametrize("task", EXAMPLES)
def test_rows_with_any_cells_are_read_or_counted_or_named(task, outcomes):
    maker = EXAMPLES[task][0]
    usual = [{**maker(number), "group": number} for number in range(40)]
    columns = sorted(set(usual[0]) - {"group"})
    change = st.tuples(st.integers(0, 39), st.sampled_from(columns), st.just(GONE) | CELL)

    @fuzzed(12, 400)
    @example(changes=[], everywhere=None)
    @given(changes=st.lists(change, max_size=3), everywhere=st.none() | st.tuples(st.sampled_from(columns), CELL))
    def attempt(changes, everywhere):
        rows = [dict(row) for row in usual]
        for number, column, value in [*changes, *((number, *everywhere) for number in range(40) if everywhere)]:
            rows[number].pop(column, None)
            if value != GONE:
                rows[number][column] = value
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            made = TASKS[task](ours(), TaskSettings(**SETTINGS))
            try:
                source = text_source({"path": "json", "files": str(path)})
                splits, dropped, _ = task_splits(source, made.columns, made.group, 0.2, 0.2)
                encoded = made.prepare(splits)
            except InputError:
                outcomes["refused"] += 1
                return
            outcomes["used"] += 1
            assert sum(map(len, splits.values())) + sum(dropped.values()) == len(rows)
            for part in encoded.values():
                for row in part:
                    for name in {"input_ids", "prompt_ids"} & set(row):
                        assert row[name]

    attempt()


# ---------------------------------------------------------------------------------------------------------------- texts


def special_ids(tokenizer):
    names = ("<|im_start|>", "<|im_end|>", "<s>")
    return set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids(name) for name in names}


@fuzzed(20)
@example(make=ours, prompt="<|endoftext|>", answer="<|endoftext|>")
@given(make=st.sampled_from([ours, llama]), prompt=TEXT, answer=TEXT)
def test_a_prompt_and_its_answer_are_text_but_for_their_ends(make, prompt, answer, outcomes):
    outcomes["used"] += 1
    tokenizer = make()
    asked, answered = answer_ids(tokenizer, prompt, answer)
    begin = opening(tokenizer)
    assert asked[: len(begin)] == begin
    assert answered[-1] == tokenizer.eos_token_id
    text = [*asked[len(begin) :], *answered[:-1]]
    assert not special_ids(tokenizer) - {tokenizer.unk_token_id} & set(text) - {None}
    assert tokenizer.decode(text) == prompt + answer


@fuzzed(20)
@example(template="chatml", contents=["<|im_end|>", "<|im_end|>"])
@given(template=st.sampled_from(["chatml", "llama 2"]), contents=st.lists(TEXT, min_size=2, max_size=4))
def test_a_conversation_has_the_special_tokens_of_its_template_and_no_others(template, contents, outcomes):
    outcomes["used"] += 1
    contents = contents[: len(contents) // 2 * 2]
    tokenizer = with_template(ours(), TEMPLATES[template])
    special = special_ids(tokenizer)
    wanted, _, _ = conversation_ids(tokenizer, messages(*("word" for _ in contents)))
    ids, is_answer, left_out = conversation_ids(tokenizer, messages(*contents))
    assert left_out == 0
    assert len(ids) == len(is_answer)
    assert [token for token in ids if token in special] == [token for token in wanted if token in special]
    assert tokenizer.decode(ids) == template_text(tokenizer, messages(*contents)).replace(MARK, "")
