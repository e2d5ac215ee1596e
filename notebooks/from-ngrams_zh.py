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
# # 从 n-gram 到现代 GPT
#
# 语言模型给每个下一个词元一个概率。这个笔记本先计数，再在同一份文本的同样词元上训练四个网络，各代表一年的想法：2003 年的神经 n-gram、
# 2018 年的 GPT-1、2019 年的 GPT-2 和现代 GPT。每个走的步数相同；它们很小，步数很少，所以请看次序，不要看小数。更长的训练见 `docs/lineage_zh.md`。
#
# 文本是影评（IMDb，Maas 等 2011；Rotten Tomatoes，Pang 与 Lee 2005；带有它们的软件包采用 MIT 许可证），或者你放在这里的 `my.txt`。

# %%
STEPS = 25  # 每个网络的步数；文档里是 300

# %%
from pathlib import Path

import numpy as np
from IPython.display import Image, display

import hf_gpt
from hf_gpt.recipe.parser import load_recipe


DATA = ["dataset={path: text, files: my.txt}"] if Path("my.txt").is_file() else []

# %% [markdown]
# ## 计数
#
# 文本只读一次、切分一次、分词一次，用的是配方运行的第一部分。

# %%
from hf_gpt.data.packing import flat_tokens
from hf_gpt.training.preparation import prepare_launch
from hf_gpt.training.pretraining import Pretraining


recipe = load_recipe("pretrain/small-modern", [*DATA, "output_dir=runs/line/counted", f"max_steps={STEPS}"])
job = Pretraining(recipe)
job.prepare_data(prepare_launch(recipe))
tokens = {name: flat_tokens(blocks) for name, blocks in job.data.blocks.items()}
vocabulary = len(job.tokenizer)
print(f"{len(tokens['train']):,} 个词元用来学习，词表 {vocabulary:,}")

# %% [markdown]
# P(词 | 前两个词) 是三个词一起出现的次数除以那两个词出现的次数。这样，只要有从未一起出现过的三个词元，整段文本的概率就是零。Kneser 和 Ney
# 从每个计数里拿出一点，分给更短的上文，并按一个词跟在多少个不同的词后面来加权。

# %%
from hf_gpt.evaluation.ngram import NgramModel


losses = {}
for order in (1, 2, 3):
    counted = NgramModel.fit(tokens["train"], order, vocabulary)
    losses[f"{order}-gram"] = -counted.log_probabilities(tokens["test"][:20_000]).mean()
    words = counted.sample(20, 0, job.tokenizer("This movie is")["input_ids"])
    print(f"{order}-gram：{losses[f'{order}-gram']:.3f} nats/词元。This movie is{job.tokenizer.decode(words)}\n")

unsmoothed = NgramModel.fit(tokens["train"], 3, vocabulary, "maximum_likelihood")
impossible = np.isinf(unsmoothed.log_probabilities(tokens["test"][:20_000])).mean()
print(f"不做平滑时，{impossible:.0%} 的下一个词元被认为不可能")

# %% [markdown]
# ## 网络
#
# - **2003**，Bengio 等：最后四个词，各是一个学出来的向量，经过一个隐藏层。用法相似的词得到相似的向量，这是任何计数表都没有的。
# - **2018**，GPT-1：用注意力代替固定窗口，十二个块，归一化放在每个部分之后。
# - **2019**，GPT-2：归一化移到前面，写入残差流的投影初始得更小。
# - **今天**：旋转位置、RMS 归一化、门控 MLP，矩阵用 Muon 优化。

# %%
import contextlib
import io

from hf_gpt.training.run import run


MODELS = {"2003，神经 n-gram": "nnlm", "2018，GPT-1": "small-gpt1", "2019，GPT-2": "small-gpt2", "现代": "small-modern"}
records = {}
for year, name in MODELS.items():
    settings = [*DATA, f"output_dir=runs/line/{name}", f"max_steps={STEPS}", "ngram_orders=[]", "overwrite=true"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        records[year] = run(load_recipe(f"pretrain/{name}", settings))
    losses[year] = records[year]["test"]["loss"]
    print(f"{year}: {losses[year]:.3f} nats/词元，用时 {records[year]['training_seconds']:.0f} 秒")

# %%
from matplotlib.figure import Figure

from hf_gpt.reports.fonts import make_readable


figure = Figure(figsize=(8, 3.6), layout="constrained")
axis = figure.subplots()
bars = axis.barh(list(losses), list(losses.values()), color=["#b5651d"] * 3 + ["#1f4e79"] * len(MODELS))
axis.bar_label(bars, fmt="%.2f", padding=3)
axis.set_xlabel("留出文本上的损失（nats/词元），越短越好")
axis.set_xlim(0, 1.1 * max(losses.values()))
axis.invert_yaxis()
make_readable(figure)
figure.savefig("runs/line/losses.png")
display(Image("runs/line/losses.png", width=680))

# %% [markdown]
# 三元模型读过全部词元，而这个笔记本里的网络只读了一小部分：一分钟之后，计数很难被打败。事实就是这样；给网络更多步数，次序就会反过来。
#
# ## 它们在看哪里
#
# 图的一行是一个词元，颜色深的是它在看的地方。同样的词，GPT-1 和现代 GPT。

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
