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
# # Train your first GPT on your own text
#
# Ten minutes on a laptop or on a GPU of Colab, no account, no weights to download. You get a model of a few million parameters that has
# read nothing but your text, and you find out what it is worth: less than a table of counts, or more.
#
# Put a file `my.txt` beside this notebook, UTF-8, a few hundred kilobytes at least. Without one, 33,530 film reviews are used (IMDb, Maas et
# al. 2011, and Rotten Tomatoes, Pang and Lee 2005; the package that carries them is under the MIT licence).

# %%
MINUTES = 2  # of training; more is better, and on a laptop without bfloat16 ten are a good number

# %%
# Where hf-gpt is not installed, as on Colab: its wheel (`make wheel`), or by name once it is released. Take the mark away:
# # %pip install --quiet 'hf-gpt[train]'
from pathlib import Path

from IPython.display import HTML, Image, display


TEXT = "my.txt" if Path("my.txt").is_file() else "pretrain/quickstart"
RUN = "runs/first-gpt"

# %% [markdown]
# ## Train
#
# One command does all of it: hold out a part of the text, train a tokenizer, cut the text into blocks of 256 tokens, build the model, time
# its own steps, and train as many as fit into the minutes. The lines say what was assumed, and how far it is. What is interrupted resumes when
# the cell is run again.

# %%
# !hf-gpt train {TEXT} max_minutes={MINUTES} output_dir={RUN}

# %% [markdown]
# ## What is it worth?
#
# The loss is the mean surprise at each next token, in nats: a model that knows nothing has ln(vocabulary), 9 for 8,192 tokens. The dashed
# lines are n-gram models that have counted the same text. Below the trigram's line the network knows something that three words in a
# row do not tell.

# %%
display(Image(f"{RUN}/loss.png", width=620))

# %%
import json


record = json.loads(Path(f"{RUN}/record.json").read_text())
for name, loss in [*((row["name"], row["loss"]) for row in record["baselines"]), ("this model", record["test"]["loss"])]:
    print(f"{name:<22} {loss:.3f} nats per token")

# %% [markdown]
# ## Let it write
#
# Loading it is what loading any model of transformers is.

# %%
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline, set_seed

import hf_gpt  # noqa: F401  (makes the auto classes know the family)


tokenizer = AutoTokenizer.from_pretrained(RUN)
model = AutoModelForCausalLM.from_pretrained(RUN)
write = pipeline("text-generation", model=model, tokenizer=tokenizer)
prompt = record["samples"][0]["prompt"]
for seed in range(3):
    set_seed(seed)
    print(write(prompt, max_new_tokens=40, do_sample=True, top_k=50, temperature=0.8)[0]["generated_text"], "\n")

# %% [markdown]
# ## Look at what it expects
#
# Each token of a text with how likely the model held it, given those before: dark is what it expected, light is what surprised it. The first
# token has nothing before it.

# %%
from html import escape
from math import exp

from hf_gpt.inference.inspect import attention_maps, read_text


text = record["samples"][0]["text"][:120]
reading = read_text(model, tokenizer, text)
marks = [
    f'<span style="background: rgba(59, 130, 246, {0 if loss is None else exp(-loss):.2f})">{escape(piece)}</span>'
    for piece, loss in zip(reading.pieces, reading.losses)
]
display(HTML(f'<p style="font-size: 1.1em">{"".join(marks)}</p>'))
print(f"perplexity {reading.perplexity:.1f}")

# %% [markdown]
# ## Look at where it looks
#
# A row of a map tells how the vector of one token is mixed from the tokens before it. Some heads look at the token just before, some at
# the beginning, some at what a token belongs to.

# %%
from hf_gpt.reports.plots import attention_figure


pieces, weights = attention_maps(model, tokenizer, text[:60])
figure = attention_figure([piece.replace(" ", "␣") or "·" for piece in pieces], weights, 0, 0, len(pieces) - 1)
figure.savefig("runs/attention.png")
display(Image("runs/attention.png", width=760))

# %% [markdown]
# ## Where next
#
# - More minutes in the first cell, more text, or a larger model: `hf-gpt train my.txt preset=modern-15m max_minutes=30`.
# - The same in a browser: `hf-gpt demo runs/first-gpt`.
# - To the Hub: the notebook *Fine-tune with LoRA and share it*.
# - Where this comes from: the notebook *From n-grams to a modern GPT*.
