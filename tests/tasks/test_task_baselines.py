"""Baselines of rows of any script: each is computed of what the texts have, or left out with a line."""

import json

import pytest
from datasets import Dataset, DatasetDict
from tests.helpers.commands import run_command
from tests.helpers.recipes import task_values, write_recipe

from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.tasks import TASKS, TaskSettings, metrics, words


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([["red blue green small large ? which answer is wrong right"] * 9]), 300, 64)


def baselines(name, tokenizer, rows, **settings):
    """What the baselines score, by name, and the lines of those that are left out."""
    task = TASKS[name](tokenizer, TaskSettings(**settings))
    task.trained_on = DatasetDict({split: Dataset.from_list(rows) for split in ("train", "validation", "test")})
    found = task.baselines(task.trained_on, task.prepare(task.trained_on))
    return {row.pop("name"): row for row in found}, task.not_scored


# Two texts of each: one good, one bad, with a number that makes it another.
SIGNS = "零一二三四五六七八九"
SCRIPTS = {
    "english": lambda number, good: f"film number {number} was {'fine' if good else 'dull'}",
    "chinese": lambda number, good: f"这部{'好看' if good else '无聊'}的电影{SIGNS[number % 10]}",
    "japanese": lambda number, good: f"この映画は{'いい' if good else 'だめ'}{SIGNS[number % 10]}",
    "thai": lambda number, good: f"หนังเรื่องนี้{'ดี' if good else 'แย่'}{number}",
    "single letters": lambda number, good: f"a b {'c' if good else 'd'} {'xyz'[number % 3]}",
    "digits": lambda number, good: f"{number % 10} {'1' if good else '0'}",
    "symbols": lambda number, good: f"{':-)' if good else ':-('} {'!' * (number + 1)}",
    "emoji": lambda number, good: f"{'😀' if good else '😡'}{'🎬' * (number + 1)}",
}


def rated(script, count=12, as_number=False, pair=False):
    made = ((SCRIPTS[script](number // 2, number % 2), number % 2) for number in range(count))
    kinds = {True: lambda good: good + 0.5, False: lambda good: ["bad", "good"][good]}
    return [{"text": text, **({"text_pair": text} if pair else {}), "label": kinds[as_number](good)} for text, good in made]


@pytest.mark.parametrize("pair", [False, True], ids=["a text", "a pair"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_of_any_script_have_baselines(script, pair, tokenizer):
    found, left_out = baselines("text-classification", tokenizer, rated(script, pair=pair))
    assert not left_out
    kind, of = ("words", "") if script == "english" else ("characters", " of characters")
    also = f" and the {kind} that both texts have" if pair else ""
    always, plain, pairs = found
    assert always.startswith("always ")
    assert plain == f"TF-IDF{of} + logistic regression, scikit-learn's defaults"
    assert pairs.startswith(f"TF-IDF with pairs of {kind}{also} + logistic regression (C=")
    assert found[pairs]["accuracy"] > 0.9


@pytest.mark.parametrize("script", ["english", "chinese", "symbols"])
def test_numbers_for_texts_of_any_script_have_a_baseline(script, tokenizer):
    found, left_out = baselines("text-classification", tokenizer, rated(script, as_number=True))
    assert not left_out
    ((name, row),) = found.items()
    assert name.startswith("TF-IDF + ridge" if script == "english" else "TF-IDF of characters + ridge")
    assert row["pearson"] > 0.5


@pytest.mark.parametrize("texts", [["fine film", "dull play"], ["好", "坏"], ["!", "?"], ["fine", "坏"]])
def test_two_texts_with_nothing_in_common_have_baselines(texts, tokenizer):
    rows = [{"text": text, "label": label} for text, label in zip(texts, ("x", "y"))]
    found, left_out = baselines("text-classification", tokenizer, rows)
    assert (len(found), left_out) == (3, [])


def test_a_baseline_that_cannot_be_computed_is_left_out_with_a_line(tokenizer, monkeypatch):
    def nothing(*_):
        raise ValueError("After pruning,\nno terms remain.")

    monkeypatch.setattr(TASKS["text-classification"], "score_plain", nothing)
    found, left_out = baselines("text-classification", tokenizer, rated("english"))
    assert len(found) == 2
    assert left_out == [
        'The baseline "TF-IDF + logistic regression, scikit-learn\'s defaults" is left out, since it cannot be computed: After '
        "pruning, no terms remain."
    ]


SOURCE = "昨天下了大雨。今天天气很好！明天也是"


def test_beginnings_of_a_source_without_spaces(tokenizer):
    rows = [{"source": SOURCE, "target": "昨天下了大雨。"}] * 2
    found, left_out = baselines("text-to-text", tokenizer, rows, max_length=256)
    assert not left_out
    assert list(found) == ["first sentence of the source", "first 7 characters of the source"]
    for row in found.values():
        assert (row["rouge1"], row["bleu"], row["f1"]) == pytest.approx((100, 100, 100))
    rows = [{"source": "It rained. It is fine\nnow", "target": "It rained"}] * 2
    assert list(baselines("text-to-text", tokenizer, rows)[0]) == [
        "first sentence of the source",
        "first 2 words of the source",
    ]


def test_the_sentence_and_the_choice_that_share_characters_with_a_question(tokenizer):
    answers = {"text": ["今天天气很好！"], "answer_start": [7]}
    rows = [{"question": "今天天气怎么样？", "context": SOURCE, "answers": answers}] * 2
    found, _ = baselines("question-answering", tokenizer, rows, max_length=256, stride=8)
    assert found == {"sentence that shares most characters with the question": {"exact_match": 100, "f1": 100}}
    rows = [{"question": "谁在唱歌？", "choices": ["下雨了", "他在唱"], "label": label} for label in (1, 1, 0)]
    found, _ = baselines("multiple-choice", tokenizer, rows)
    assert found["choice that shares most characters with the question"]["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("text", ["今天天气很好", "сегодня хорошая погода", "आज मौसम अच्छा है", "วันนี้อากาศดี", "اليوم الطقس جميل"])
def test_figures_of_any_script(text):
    assert metrics.rouge([text], [text])["rouge2"] == pytest.approx(100)
    assert 0 < metrics.rouge([text[:4]], [text])["rouge1"] < 100 or " " in text
    assert metrics.rouge(["other"], [text])["rouge1"] == 0


def test_figures_without_spaces_are_of_characters():
    assert metrics.answer_match(["北京大学"], [["北京大学。"]]) == {"exact_match": 100, "f1": 100}
    assert metrics.answer_match(["北京"], [["北京大学"]])["f1"] == pytest.approx(200 / 3)
    assert metrics.rouge(["北京"], ["北京大学"])["rouge1"] == pytest.approx(200 / 3)
    assert metrics.translation(["今天天气很好吗"], ["今天天气很好"])["bleu"] > 50
    # rouge-score's own words, where it knows the letters.
    assert metrics.rouge(["the runs"], ["The RUN!"])["rouge1"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("found", "wanted", "f1"),
    [("golden age", "“golden age”", 0), ("Tokyo (東京", "Tokyo (東京都)", 50), ("1990-1995", "1990–1995", 0)],
)
def test_answers_in_english_are_compared_as_squads_own_script_does(found, wanted, f1):
    """Which leaves out the punctuation of ASCII alone, and splits at spaces alone."""
    assert metrics.answer_match([found], [[wanted]])["f1"] == pytest.approx(f1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two", "One"),
        ("\nOne\nTwo", "One"),
        ("一。二", "一。"),
        ("一！", "一！"),
        ("3.5 is one", "3.5 is one"),
        ("क। ख", "क।"),
        ("", ""),
    ],
)
def test_first_sentences(text, sentence):
    assert words.first_sentence(text) == sentence


def test_words_that_do_not_fit_are_said_before_they_are_scored(tokenizer):
    rows = [{"tokens": ["unheard-of", "x"], "tags": ["A", "B"]}] * 2
    with pytest.raises(ValueError, match="no word of the train split has room in max_length=3: make it longer"):
        baselines("token-classification", tokenizer, rows, max_length=3)


def test_a_run_on_chinese_texts_is_scored_beside_its_baselines(base, tmp_path, monkeypatch, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in rated("chinese", 40)))
    values = task_values(base, rows, tmp_path / "run", "text-classification", max_steps=2, eval_steps=2, save_steps=2)
    code, _, told = run_command(monkeypatch, capsys, "train", write_recipe(tmp_path, values))
    assert code == 0, told
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert len([row for row in record["baselines"] if "characters" in row["name"]]) == 2
