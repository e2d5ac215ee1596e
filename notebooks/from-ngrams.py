# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From n-grams to a modern GPT
#
# A language model gives every next token a probability. This notebook counts, then trains four networks, each the idea of its year, on the
# same tokens of the same text: the neural n-gram of 2003, GPT-1 of 2018, GPT-2 of 2019, and a modern GPT. Each gets as many steps as the
# others; they are small and the steps are few, so read the order, not the digits. The page `docs/lineage.md` has the longer runs.
#
# The text is film reviews (IMDb, Maas et al. 2011, and Rotten Tomatoes, Pang and Lee 2005; the package that carries them is under the MIT
# licence), or `my.txt` if you put one here.

# %%
STEPS = 25  # of each network; the page has 300

# %%
from pathlib import Path

import numpy as np
from IPython.display import Image, display

import hf_gpt
from hf_gpt.recipe.parser import load_recipe


DATA = ["dataset={path: text, files: my.txt}"] if Path("my.txt").is_file() else []

# %% [markdown]
# ## Counting
#
# The text is read, split and tokenised once, by the first part of a recipe's run.

# %%
from hf_gpt.data.packing import flat_tokens
from hf_gpt.training.preparation import prepare_launch
from hf_gpt.training.pretraining import Pretraining


recipe = load_recipe("pretrain/small-modern", [*DATA, "output_dir=runs/line/counted", f"max_steps={STEPS}"])
job = Pretraining(recipe)
job.prepare_data(prepare_launch(recipe))
tokens = {name: flat_tokens(blocks) for name, blocks in job.data.blocks.items()}
vocabulary = len(job.tokenizer)
print(f"{len(tokens['train']):,} tokens to learn from, a vocabulary of {vocabulary:,}")

# %% [markdown]
# P(word | the two before) is how often the three came together, by how often the two did. A text that holds three tokens never seen together
# then has probability zero. Kneser and Ney take a little from each count and give it to shorter contexts, weighted by how many
# different words a word has followed.

# %%
from hf_gpt.evaluation.ngram import NgramModel


losses = {}
for order in (1, 2, 3):
    counted = NgramModel.fit(tokens["train"], order, vocabulary)
    losses[f"{order}-gram"] = -counted.log_probabilities(tokens["test"][:20_000]).mean()
    words = counted.sample(20, 0, job.tokenizer("This movie is")["input_ids"])
    print(f"{order}-gram: {losses[f'{order}-gram']:.3f} nats per token. This movie is{job.tokenizer.decode(words)}\n")

unsmoothed = NgramModel.fit(tokens["train"], 3, vocabulary, "maximum_likelihood")
impossible = np.isinf(unsmoothed.log_probabilities(tokens["test"][:20_000])).mean()
print(f"without smoothing, {impossible:.0%} of the next tokens are held impossible")

# %% [markdown]
# ## Networks
#
# - **2003**, Bengio and others: the last four words, each a vector that is learned, through one hidden layer. Words that behave alike get
#   vectors alike, which no table of counts has.
# - **2018**, GPT-1: attention in place of a fixed window, twelve blocks of it, norms behind each part.
# - **2019**, GPT-2: norms in front, the projections into the stream started smaller.
# - **today**: rotary positions, RMS norms, a gated MLP, and Muon as the optimizer of the matrices.

# %%
import contextlib
import io

from hf_gpt.training.run import run


MODELS = {"2003, neural n-gram": "nnlm", "2018, GPT-1": "small-gpt1", "2019, GPT-2": "small-gpt2", "modern": "small-modern"}
records = {}
for year, name in MODELS.items():
    settings = [*DATA, f"output_dir=runs/line/{name}", f"max_steps={STEPS}", "ngram_orders=[]", "overwrite=true"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        records[year] = run(load_recipe(f"pretrain/{name}", settings))
    losses[year] = records[year]["test"]["loss"]
    print(f"{year}: {losses[year]:.3f} nats per token after {records[year]['training_seconds']:.0f} s")

# %%
from matplotlib.figure import Figure

from hf_gpt.reports.fonts import make_readable


figure = Figure(figsize=(8, 3.6), layout="constrained")
axis = figure.subplots()
bars = axis.barh(list(losses), list(losses.values()), color=["#b5651d"] * 3 + ["#1f4e79"] * len(MODELS))
axis.bar_label(bars, fmt="%.2f", padding=3)
axis.set_xlabel("loss on held-out text (nats per token): shorter is better")
axis.set_xlim(0, 1.1 * max(losses.values()))
axis.invert_yaxis()
make_readable(figure)
figure.savefig("runs/line/losses.png")
display(Image("runs/line/losses.png", width=680))

# %% [markdown]
# The trigram has read every token there is, and a network of this notebook a small part of them: after a minute, counting is hard to
# beat. That is what it looks like; give the networks more steps, and the order turns.
#
# ## Where they look
#
# A row of a map is one token; dark is where it looks. GPT-1 and the modern one, on the same words.

# %%
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_gpt.inference.inspect import attention_maps
from hf_gpt.reports.plots import attention_figure


for name in ("small-gpt1", "small-modern"):
    folder = f"runs/line/{name}"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pieces, weights = attention_maps(model, tokenizer, "The film was long, but the actors were so good that")
    shown = attention_figure([piece.replace(" ", "␣") or "·" for piece in pieces], weights, 0, 0, len(pieces) - 1)
    shown.savefig(f"{folder}/attention.png")
    print(name, f"{hf_gpt.__version__=}")
    display(Image(f"{folder}/attention.png", width=760))
