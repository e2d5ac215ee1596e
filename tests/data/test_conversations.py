"""What a model is shown is what it starts from in use, whatever tokenizer and template it has; and names of special tokens are text."""

import json

import pytest
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from hf_gpt.data.conversations import answer_ids, conversation_ids, prompt_ids
from hf_gpt.data.encoding import opening, plain
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.evaluation.few_shot import prompt_ids as few_shot_ids
from hf_gpt.inference import writing
from hf_gpt.inference.chat import Conversation
from hf_gpt.tasks import TASKS, TaskSettings
from hf_gpt.tasks.chat_template import CHAT_TEMPLATE, add_chat_template, turn_ends
from hf_gpt.training.objectives import held_out_beginnings


TEXTS = ["user assistant red blue green, and a small house."] * 9


def ours():
    return train_tokenizer(iter([TEXTS]), 320, 64)


def llama():
    """Puts `<s>` before each text."""
    tokenizer = ours()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    return tokenizer


def sentencepiece():
    """Puts a space before each text, and closes it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first", split=False)])
    special = ["<unk>", "<s>", "</s>", "<pad>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=360, special_tokens=special[:4], show_progress=False))
    vocabulary = [*special, *(token for token in tokenizer.get_vocab() if token not in special)]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    ids = {token: place for place, token in enumerate(vocabulary)}
    tokenizer.model = models.BPE(ids, [tuple(pair) for pair in merges], byte_fallback=True, unk_token="<unk>")
    pairs = [("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=pairs)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


MAKERS = {"ours": ours, "llama": llama, "sentencepiece": sentencepiece, "python": ByT5Tokenizer}


@pytest.fixture(params=MAKERS)
def tokenizer(request):
    return MAKERS[request.param]()


def encoded(name, tokenizer, rows, **settings):
    task = TASKS[name](tokenizer, TaskSettings(**{"max_length": 200, "prompt": "{source} ->", **settings}))
    return task, task.prepare(DatasetDict({"train": Dataset.from_list(rows), "test": Dataset.from_list(rows)}))["test"]


def learned(row):
    return [token for token, label in zip(row["input_ids"], row["labels"]) if label != -100]


def literal(tokenizer):
    """A text that holds the name of each special token that could end something."""
    return f"red {tokenizer.eos_token} blue{tokenizer.pad_token} <|im_end|> green"


TURNS = ["a small house", "red", "blue\n", " green"]


def messages(*contents):
    return [{"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(contents)]


# -------------------------------------------------------------------------------------------------------- prompts and answers


def test_a_prompt_is_learned_as_generation_and_evaluation_begin_it(tokenizer):
    for source, target in (("red", "blue"), ("red", " blue"), ("a small", "house."), ("", "red")):
        asked, answered = answer_ids(tokenizer, source, target)
        assert asked == prompt_ids(tokenizer, source)
        assert asked == (writing.prompt_ids(tokenizer, source) if source else opening(tokenizer))
        assert answered[-1] == tokenizer.eos_token_id
        assert "".join(tokenizer.decode([*asked, *answered[:-1]], skip_special_tokens=True).split()) == "".join(
            (source + target).split()
        )
    _, rows = encoded("text-to-text", tokenizer, [{"source": "red", "target": " blue"}])
    prompt = writing.prompt_ids(tokenizer, "red ->")
    assert rows["prompt_ids"][0] == prompt == rows["input_ids"][0][: len(prompt)]
    assert few_shot_ids(tokenizer, ["red ->"], 100)[0] == prompt


def test_names_of_special_tokens_are_text_in_prompts_and_answers(tokenizer):
    text = literal(tokenizer)
    special = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    _, rows = encoded("text-to-text", tokenizer, [{"source": text, "target": text}])
    begin = len(opening(tokenizer))
    row = rows[0]
    assert learned(row)[-1] == tokenizer.eos_token_id
    assert not special & set(row["input_ids"][begin:-1])
    assert tokenizer.decode(row["input_ids"][begin:-1]).replace(" ", "") == f"{text}->{text}".replace(" ", "")
    _, rows = encoded("preference", tokenizer, [{"prompt": text, "chosen": text, "rejected": f"{text}."}])
    for name in ("chosen_ids", "rejected_ids"):
        *ids, last = rows[name][0]
        assert last == tokenizer.eos_token_id
        assert not special & {*ids, *rows["prompt_ids"][0][begin:]}


def test_a_source_that_is_too_long_loses_its_end_and_the_answer_stays(tokenizer):
    rows = [{"source": "red blue green " * 40, "target": "house"}]
    task, found = encoded("text-to-text", tokenizer, rows, max_length=60)
    assert task.counts["test"] == {"sources cut to max_length": 1}
    assert 50 < len(found["input_ids"][0]) <= 60
    assert tokenizer.decode(learned(found[0])[:-1]).strip() == "house"
    assert tokenizer.decode(found["prompt_ids"][0]).endswith("->")
    with pytest.raises(InputError, match="no row of the train split can be used at max_length=60: 1 row left out: no room"):
        encoded("text-to-text", tokenizer, [{"source": "red", "target": "house " * 80}], max_length=60)


def test_what_a_task_reads_begins_as_a_document_of_pretraining():
    tokenizer = llama()
    begin, end, ids = tokenizer.bos_token_id, tokenizer.eos_token_id, plain(tokenizer, "red")["input_ids"]
    rows = [{"text": "red", "label": "a"}, {"text": "red", "label": "b"}]
    _, found = encoded("text-classification", tokenizer, rows)
    assert found["input_ids"][0] == [begin, *ids, end]
    assert tokenizer("red")["input_ids"] == [begin, *ids, end]
    assert tokenizer("red", "red")["input_ids"] == [begin, *ids, end, *ids, end]
    _, found = encoded(
        "token-classification", llama(), [{"tokens": ["red"], "tags": ["X"]}, {"tokens": ["red"], "tags": ["Y"]}]
    )
    assert found["input_ids"][0] == [begin, *ids, end]
    row = {"question": "red", "context": "red", "answers": {"text": ["red"], "answer_start": [0]}}
    _, found = encoded("question-answering", llama(), [row], stride=2)
    assert found["input_ids"][0] == [begin, *ids, end, *ids, end]


def test_a_pipeline_gives_a_classifier_what_training_gave_it(tokenizer):
    rows = [{"text": "red", "text_pair": "blue", "label": "a"}, {"text": "a", "text_pair": "b", "label": "b"}]
    _, found = encoded("text-classification", tokenizer, rows)
    assert found["input_ids"][0] == tokenizer("red", "blue")["input_ids"]
    _, found = encoded("text-classification", tokenizer, [{"text": row["text"], "label": row["label"]} for row in rows])
    assert found["input_ids"][0] == tokenizer("red")["input_ids"]


def test_prompts_of_a_run_hold_no_token_that_opens_a_text():
    tokenizer = llama()
    ids = [tokenizer.bos_token_id, *plain(tokenizer, "a small house.")["input_ids"], tokenizer.eos_token_id]
    assert held_out_beginnings([{"input_ids": ids}], tokenizer, True) == ["a small house."]


# ------------------------------------------------------------------------------------------------------------ conversations

# Templates as models have them, none with marks of what the assistant says.
PLAIN = CHAT_TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
TEMPLATES = {
    "chatml": PLAIN,
    "llama 2": "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "no end": "{% for m in messages %}{{ m.role.title() + ': ' + m.content.strip() + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    "thoughts of the last": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think></think>' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
}


def with_template(tokenizer, template):
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    if tokenizer.bos_token is None:
        tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_answer_is_learned_after_what_a_chat_begins_it_with(tokenizer, template):
    tokenizer = with_template(tokenizer, TEMPLATES[template])
    ids, is_answer, left_out = conversation_ids(tokenizer, messages(*TURNS))
    firsts = [place for place, said in enumerate(is_answer) if said and not is_answer[place - 1]]
    begun = [Conversation(tokenizer, turns=TURNS[:1]).ids(), Conversation(tokenizer, turns=TURNS[:3]).ids()]
    # The first answer is written otherwise when another one follows.
    begun = begun[1:] if template == "thoughts of the last" else begun
    assert (left_out, len(firsts)) == (2 - len(begun), len(begun))
    ends = turn_ends(tokenizer)
    for first, before in zip(firsts, begun):
        assert ids[:first] == before
        said = is_answer.index(False, first) if False in is_answer[first:] else len(ids)
        answer = ids[first:said]
        assert "green" in tokenizer.decode(answer) or "red" in tokenizer.decode(answer)
        if template != "no end" or first == firsts[-1]:
            assert answer[-1] in ends


def test_what_is_learned_is_what_the_marks_of_a_template_say():
    tokenizer = ours()
    add_chat_template(tokenizer)
    assert "{% generation %}" in tokenizer.chat_template
    given = tokenizer.apply_chat_template(messages(*TURNS), return_dict=True, return_assistant_tokens_mask=True)
    ids, is_answer, left_out = conversation_ids(tokenizer, messages(*TURNS))
    assert ids == given["input_ids"]
    assert is_answer == [bool(said) for said in given["assistant_masks"]]
    assert left_out == 0
    assert turn_ends(tokenizer) == [tokenizer.eos_token_id]


@pytest.mark.parametrize("template", ["chatml", "llama 2"])
def test_names_of_special_tokens_are_text_in_messages(tokenizer, template):
    tokenizer = with_template(tokenizer, TEMPLATES[template])
    text = literal(tokenizer)
    said = messages(text, text)
    special = set(tokenizer.all_special_ids) | set(tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]))
    special -= {tokenizer.unk_token_id}
    wanted, _, _ = conversation_ids(tokenizer, messages("red", "blue"))
    ids, is_answer, _ = conversation_ids(tokenizer, said)
    assert [token for token in ids if token in special] == [token for token in wanted if token in special]
    answer = [token for token, was_said in zip(ids, is_answer) if was_said]
    assert tokenizer.decode(answer[:-1]).replace(" ", "") == text.replace(" ", "")
    assert Conversation(tokenizer, turns=[text]).ids() == ids[: is_answer.index(True)]
    row = {"prompt": said[:1], "chosen": said[1:], "rejected": messages("red", "blue")[1:]}
    _, rows = encoded("preference", tokenizer, [row])
    assert rows["prompt_ids"][0] == ids[: is_answer.index(True)]
    assert rows["chosen_ids"][0] == answer
    # As some datasets have them: the prompt as a text, and once more before each answer.
    _, again = encoded(
        "preference", tokenizer, [{**row, "prompt": text, "chosen": said, "rejected": [*said[:1], *row["rejected"]]}]
    )
    assert again[:] == rows[:]


def test_a_template_of_the_base_is_kept_and_both_ends_stop_an_answer():
    tokenizer = with_template(ours(), PLAIN)
    task, rows = encoded("chat", tokenizer, [{"messages": messages("red", "blue")}])
    assert tokenizer.chat_template == PLAIN
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert learned(rows[0]) == [*plain(tokenizer, "blue")["input_ids"], end]
    assert task.stop_ids == [tokenizer.eos_token_id, end]


def test_chatml_begins_as_the_tokenizer_begins_a_text():
    tokenizer = llama()
    add_chat_template(tokenizer)
    ids, _, _ = conversation_ids(tokenizer, messages("red", "blue"))
    assert ids[:2] == [tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids("<|im_start|>")]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ raise_exception('no user') }}", "template refuses a question and an answer: no user"),
        ("{{ messages | length }}", "writes a question otherwise where an answer follows"),
    ],
)
def test_a_template_that_writes_no_answer_is_refused(template, told):
    tokenizer = ours()
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=told):
        encoded("chat", tokenizer, [{"messages": messages("red", "blue")}])


def test_a_conversation_that_the_template_refuses_is_named():
    tokenizer = ours()
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
    said = [{"role": "system", "content": "be kind"}, *messages("red", "blue")]
    with pytest.raises(InputError, match=r"template refuses row 1 of the train split: no system"):
        encoded("chat", tokenizer, [{"messages": messages("red", "blue")}, {"messages": said}])


def of(role, content):
    return {"role": role, "content": content}


@pytest.mark.parametrize("name", ["preference", "reward"])
def test_a_pair_of_which_both_answers_are_the_same_is_left_out_and_counted(tokenizer, name):
    row = {"prompt": "red", "chosen": "blue", "rejected": "green"}
    task, found = encoded(name, tokenizer, [row, {**row, "rejected": "blue"}])
    assert (len(found), task.counts["test"]) == (1, {"pairs left out: both answers are the same": 1})
    # Up to where they are cut.
    long = {**row, "chosen": "blue " * 100, "rejected": "blue " * 101}
    task, found = encoded(name, tokenizer, [row, long], max_length=40)
    assert (len(found), task.counts["test"]) == (1, {"pairs left out: both answers are the same": 1})
    with pytest.raises(
        InputError,
        match="no row of the train split can be used at max_length=200: 2 pairs left out: both answers are the same",
    ):
        encoded(name, tokenizer, [{**row, "rejected": "blue"}] * 2)
    listed = {"prompt": [of("user", "red")], "chosen": [of("assistant", "blue")], "rejected": [of("assistant", "blue")]}
    with pytest.raises(InputError, match="1 pair left out: both answers are the same"):
        encoded(name, tokenizer, [listed])


def test_prompts_without_an_answer_to_compare_with_are_said_where_no_row_remains(tokenizer):
    rows = [{"prompt": f"red {number}", "answer": None} for number in range(3)]
    told = "no row of the train split can be used at max_length=200: 3 prompts left out: no answer to compare with"
    with pytest.raises(InputError, match=told):
        encoded("reinforcement", tokenizer, rows, reward="arithmetic")


ASKED, SAID = of("user", "red"), of("assistant", "blue")


@pytest.mark.parametrize(
    ("prompt", "answer", "told"),
    [
        (
            [ASKED, SAID],
            [SAID],
            "the prompt of row 0 of the train split has the roles user, assistant: .* the user has the last word",
        ),
        ([ASKED, ASKED], [SAID], "has the roles user, user"),
        ([of("tool", "red")], [SAID], "has the roles tool"),
        ([ASKED], [of("user", "blue")], "the prompt with an answer of row 0 of the train split has the roles user, user"),
        ([ASKED], [SAID, ASKED], "has the roles user, assistant, user"),
    ],
)
def test_roles_of_prompts_and_answers_are_checked(tokenizer, prompt, answer, told):
    other = [of("assistant", "green")]
    for chosen, rejected in ((answer, other), (other, answer)):
        with pytest.raises(InputError, match=told):
            encoded("preference", tokenizer, [{"prompt": prompt, "chosen": chosen, "rejected": rejected}])
    if "prompt of" in told:
        with pytest.raises(InputError, match=told):
            encoded("reinforcement", tokenizer, [{"prompt": prompt}], reward="length")
