"""The sums that recipes of alignment are trained on: right, of every kind of fault, and kept apart by their numbers."""

from collections import Counter

from hf_gpt.data.packages import PACKAGES, read_package
from hf_gpt.data.packages.sums import worse_answers
from hf_gpt.data.rows import task_splits
from hf_gpt.data.sources import text_source
from hf_gpt.tasks import TASKS


def test_the_sums_are_right_and_no_pair_of_numbers_is_in_two_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_GPT_CACHE", str(tmp_path))
    rows = list(read_package("arithmetic"))
    assert len(rows) == 8100
    for row in rows:
        first, second = (int(word) for word in row["prompt"][0]["content"].removeprefix("What is ").rstrip("?").split(" + "))
        assert row["answer"] == row["chosen"][0]["content"] == str(first + second) != row["rejected"][0]["content"]
        assert row["messages"] == [*row["prompt"], *row["chosen"]]
        assert row["rejected"][0]["content"] in worse_answers(first, second)[row["fault"]]
    shares = Counter(row["fault"] for row in rows)
    assert len(shares) == 4
    assert min(shares.values()) > 0.24 * len(rows)
    groups = []
    for name in ("chat", "reward", "reinforcement"):
        task = TASKS[name]
        splits, dropped, _ = task_splits(text_source("arithmetic"), task.columns, task.group, 0.05, 0.05)
        assert not dropped
        groups.append({split: set(part["group"]) for split, part in splits.items()})
    assert groups[0] == groups[1] == groups[2]
    assert not groups[0]["train"] & (groups[0]["validation"] | groups[0]["test"])
    assert PACKAGES["arithmetic"].is_publishable
