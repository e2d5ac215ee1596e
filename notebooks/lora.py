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
# # Fine-tune with LoRA and share it
#
# A model that writes is made one that judges: is a sentence about a film good or bad? Of its weights none is changed; beside each matrix two
# thin ones are trained (Hu et al. 2021). What comes out is a file of about a megabyte, measured beside its baselines.
#
# The sentences are those of Rotten Tomatoes (Pang and Lee 2005; the package that carries them is under the MIT licence), or `rows.csv` with
# the columns `text` and `label` if you put one here.

# %%
MINUTES = 0.7  # of training for the base, and as much for the adapter; with ten each it gets good

# %%
from pathlib import Path

from IPython.display import Image, display


TEXT = "my.txt" if Path("my.txt").is_file() else "pretrain/quickstart"
ROWS = "'dataset={path: csv, files: rows.csv}'" if Path("rows.csv").is_file() else ""
BASE, ADAPTER = "runs/base", "runs/adapter"

# %% [markdown]
# ## A base
#
# Any model of this family does, from a run of yours or from the Hub; here a short run of the quickstart.

# %%
# !hf-gpt train {TEXT} max_minutes={MINUTES} output_dir={BASE}

# %% [markdown]
# ## The adapter
#
# The recipe of the task, the base, and one key: `lora`. Without it, all weights would be trained. The extra `finetune` brings what is needed.

# %%
# !hf-gpt train finetune/rotten-tomatoes {ROWS} model_name_or_path={BASE} lora.r=16 learning_rate=2e-3 max_minutes={MINUTES} output_dir={ADAPTER}

# %%
display(Image(f"{ADAPTER}/loss.png", width=620))

# %%
import json


record = json.loads(Path(f"{ADAPTER}/record.json").read_text())
for row in [*record["baselines"], {"name": "this adapter", **record["test"]}]:
    print(f"{row['name']:<40} accuracy {row['accuracy']:.3f}")
share = record["trainable_parameters"] / record["parameters"]
print(f"\n{record['trainable_parameters']:,} of {record['parameters']:,} parameters were trained, {share:.1%}")
print(f"{record['saved_bytes'] / 1e6:.1f} MB are saved")

# %% [markdown]
# A base of a minute has not learned much that words alone do not tell, and words counted (TF-IDF) are a strong baseline for single sentences:
# `docs/finetuning.md` has what an hour's base does on every task.
#
# ## Use it
#
# With `peft`, as any adapter.

# %%
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer

import hf_gpt  # noqa: F401  (makes the auto classes know the family)


tokenizer = AutoTokenizer.from_pretrained(ADAPTER)
judge = AutoPeftModelForSequenceClassification.from_pretrained(ADAPTER, num_labels=2).eval()
names = {0: "negative", 1: "positive"}
for sentence in ("a warm, funny film with a great cast", "a dull and endless mess"):
    inputs = tokenizer(sentence, return_tensors="pt")
    with torch.no_grad():
        probabilities = judge(**inputs).logits.softmax(-1)[0]
    print(f"{sentence!r}: {names[int(probabilities.argmax())]}, {probabilities.max():.0%}")

# %% [markdown]
# ## Share it
#
# `--dry-run` lists what would be sent, and sends nothing. An adapter names its base, which has to be on the Hub too, so the base goes first.

# %%
# !hf-gpt push {BASE} --repo alice/base --dry-run

# %% [markdown]
# To send it, log in once (`hf auth login`), leave `--dry-run` out, and write your own name in place of `alice`. Then train the adapter on the
# base by its name on the Hub, so that whoever loads it finds the base there:
#
# ```bash
# hf-gpt push runs/base --repo alice/base
# hf-gpt train finetune/rotten-tomatoes model_name_or_path=alice/base lora.r=16 learning_rate=2e-3 output_dir=runs/film-judge
# hf-gpt push runs/film-judge --repo alice/film-judge
# ```
#
# Anybody then loads the base with `pipeline("text-generation", "alice/base", trust_remote_code=True)`. What a push refuses (tokens,
# home folders, numbers without a record) is in `docs/sharing.md`.
