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
# # 用自己的文本训练第一个 GPT
#
# 在笔记本上或 Colab 的 GPU 上，十分钟，不需要账号，也不下载任何权重。你会得到一个几百万参数、只读过你的文本的模型，并且知道它值多少：
# 比一张计数表差，还是好。
#
# 把 UTF-8 文件 `my.txt` 放在这个笔记本旁边，至少几百 KB。没有的话就用 33,530 条影评（IMDb，Maas 等 2011；Rotten Tomatoes，Pang 与 Lee
# 2005；带有它们的软件包采用 MIT 许可证）。

# %%
MINUTES = 2  # 训练的分钟数；越多越好，没有 bfloat16 的笔记本上十分钟比较合适

# %%
# 没有安装 hf-gpt 的地方（如 Colab）：装它的 wheel（`make wheel`），发布之后可以直接按名字装，去掉下一行的注释号：
# # %pip install --quiet 'hf-gpt[train]'
from pathlib import Path

from IPython.display import HTML, Image, display


TEXT = "my.txt" if Path("my.txt").is_file() else "pretrain/quickstart"
RUN = "runs/first-gpt"

# %% [markdown]
# ## 训练
#
# 一条命令做完所有事：留出一部分文本，训练分词器，把文本切成 256 个词元的块，建立模型，给自己的步子计时，在给定的分钟内能走多少步就走多少步。
# 屏幕上的几行说明采用了哪些假设、进行到哪里。中断之后再运行这个格子，就会接着训练。

# %%
# !hf-gpt train {TEXT} max_minutes={MINUTES} output_dir={RUN}

# %% [markdown]
# ## 值多少？
#
# 损失是对每个下一个词元的平均意外程度，单位是 nats：什么都不知道的模型是 ln(词表大小)，词表为 8,192 时是 9。虚线是数过同一份文本的 n-gram 模型。
# 低于三元模型的线，网络就知道了连续三个词说不出来的东西。

# %%
display(Image(f"{RUN}/loss.png", width=620))

# %%
import json


record = json.loads(Path(f"{RUN}/record.json").read_text())
for name, loss in [*((row["name"], row["loss"]) for row in record["baselines"]), ("本模型", record["test"]["loss"])]:
    print(f"{name:<22} {loss:.3f} nats/词元")

# %% [markdown]
# ## 让它写
#
# 加载它和加载 transformers 的任何模型一样。

# %%
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline, set_seed

import hf_gpt  # noqa: F401  (让自动类认识这个家族)


tokenizer = AutoTokenizer.from_pretrained(RUN)
model = AutoModelForCausalLM.from_pretrained(RUN)
write = pipeline("text-generation", model=model, tokenizer=tokenizer)
prompt = record["samples"][0]["prompt"]
for seed in range(3):
    set_seed(seed)
    print(write(prompt, max_new_tokens=40, do_sample=True, top_k=50, temperature=0.8)[0]["generated_text"], "\n")

# %% [markdown]
# ## 看它预期什么
#
# 一段文本的每个词元，以及模型根据前文认为它有多大可能：颜色深的在预料之中，浅的出乎意料。第一个词元前面什么也没有。

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
print(f"困惑度 {reading.perplexity:.1f}")

# %% [markdown]
# ## 看它在看哪里
#
# 图的一行说明一个词元的向量由前面哪些词元混合而成。有的头看紧挨着的前一个，有的看开头，有的看与它相关的词。

# %%
from hf_gpt.reports.plots import attention_figure


pieces, weights = attention_maps(model, tokenizer, text[:60])
figure = attention_figure([piece.replace(" ", "␣") or "·" for piece in pieces], weights, 0, 0, len(pieces) - 1)
figure.savefig("runs/attention.png")
display(Image("runs/attention.png", width=760))

# %% [markdown]
# ## 接下来
#
# - 在第一格里给更多分钟，用更多文本，或更大的模型：`hf-gpt train my.txt preset=modern-15m max_minutes=30`。
# - 在浏览器里看同样的东西：`hf-gpt demo runs/first-gpt`。
# - 推到 Hub：英文笔记本 *Fine-tune with LoRA and share it*。
# - 这一切从何而来：笔记本《从 n-gram 到现代 GPT》。
