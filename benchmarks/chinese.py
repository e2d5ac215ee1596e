"""Made sections on the Chinese form of a page: phrases that are known are translated, others stay as they are."""

import re


# Words of ours that a made section may have, whole cells and parts of sentences alike.
PHRASES = {
    # docs/finetuning.md
    "figure on the test split": "测试集上的指标",
    "fine-tuned": "微调后",
    "rows trained on": "训练行数",
    "from scratch": "从零开始",
    "trained parameters": "训练的参数",
    "saved megabytes": "保存的 MB",
    "peak memory, GiB": "峰值内存，GiB",
    "minutes of training": "训练分钟数",
    "always choice 1": "总选第一项",
    "choice that shares most words with the question": "与问题相同的词最多的选项",
    "choice that shares most characters with the question": "与问题相同的字最多的选项",
    "sentence that shares most words with the question": "与问题相同的词最多的句子",
    "sentence that shares most characters with the question": "与问题相同的字最多的句子",
    "most frequent tag of each word": "每个词最常见的标签",
    "the longer answer is better": "较长的回答更好",
    "the same model before fine-tuning": "微调前的同一模型",
    "the same model before": "此前的同一模型",
    "first sentence of the source": "原文的第一句",
    "TF-IDF with pairs of words + logistic regression": "TF-IDF（含词对）+ 逻辑回归",
    "TF-IDF with pairs of characters + logistic regression": "TF-IDF（含字对）+ 逻辑回归",
    "TF-IDF + logistic regression": "TF-IDF + 逻辑回归",
    "TF-IDF of characters + logistic regression": "TF-IDF（按字）+ 逻辑回归",
    "TF-IDF + ridge regression": "TF-IDF + 岭回归",
    "TF-IDF of characters + ridge regression": "TF-IDF（按字）+ 岭回归",
    "scikit-learn's defaults": "scikit-learn 的默认值",
    "By prompting alone, no weight changed, the labels not calibrated:": "只靠提示，不改动权重，标签未经校准：",
    "By prompting alone, no weight changed, the labels calibrated:": "只靠提示，不改动权重，标签经过校准：",
    "The same task with adapters of several ranks:": "同一任务，不同秩的适配器：",
    "not run yet": "尚未运行",
    "TF-IDF with pairs of words and the words that both texts have + logistic regression": (
        "TF-IDF（含词对，以及两段文字共有的词）+ 逻辑回归"
    ),
    "TF-IDF with pairs of characters and the characters that both texts have + logistic regression": (
        "TF-IDF（含字对，以及两段文字共有的字）+ 逻辑回归"
    ),
    # docs/data.md
    "25,000 IMDb reviews (Maas et al. 2011, training half) and 8,530 of Rotten Tomatoes (Pang and Lee 2005)": (
        "IMDb 影评 25,000 条（Maas 等，2011，训练的那一半）和烂番茄影评 8,530 条（Pang 和 Lee，2005）"
    ),
    "Brown corpus (Francis and Kucera 1964, revised 1979): American English of 1961 with part-of-speech tags": (
        "布朗语料库（Francis 和 Kucera，1964，1979 年修订）：1961 年的美国英语，带词性标签"
    ),
    "SQuAD v1.1 development set (Rajpurkar et al. 2016) as in BIG-bench": (
        "SQuAD v1.1 的开发集（Rajpurkar 等，2016），取自 BIG-bench"
    ),
    "SQuAD questions on other Wikipedia articles (Miller et al. 2020) as in BIG-bench": (
        "针对另一些维基百科条目的 SQuAD 问题（Miller 等，2020），取自 BIG-bench"
    ),
    "QuaRTz (Tafjord et al. 2019): questions on qualitative relations, without the sentence that answers them": (
        "QuaRTz（Tafjord 等，2019）：关于定性关系的问题，不带含有答案的句子"
    ),
    "English instructions and answers (alpaca, the demonstration part of LLaMA-Factory)": (
        "英文指令与回答（alpaca，LLaMA-Factory 里作演示的那一部分）"
    ),
    "English prompts with a better and a worse answer (the demonstration part of LLaMA-Factory)": (
        "英文提示，各有一好一差两个回答（LLaMA-Factory 里作演示的那一部分）"
    ),
    "Quan Tangshi, poems of the Tang dynasty in traditional characters": "《全唐诗》，繁体字",
    "Long descriptions of Debian packages, each with its own synopsis or another package's of the same section": (
        "Debian 软件包的长描述，各配自己的简介，或同一分区里另一个软件包的简介"
    ),
    "Long descriptions of Debian packages and their one-line synopses": "Debian 软件包的长描述与一行的简介",
    "Every sum of two numbers of two digits, with its answer and a worse one; written by this package from a seed": (
        "两个两位数的每一道加法，带正确答案和一个较差的答案；由本包用一个种子写出"
    ),
    "MIT, as the package states; the corpus: distributed with permission, redistribution permitted": (
        "软件包注明 MIT；语料本身：经许可分发，允许再分发"
    ),
    "MIT, as the package states; the poems are in the public domain": "软件包注明 MIT；诗本身属于公有领域",
    "MIT, as the package states; QuaRTz: CC BY 4.0": "软件包注明 MIT；QuaRTz：CC BY 4.0",
    "MIT, as the package states": "软件包注明 MIT",
    "CC BY-SA 4.0 (SQuAD); the package states none": "CC BY-SA 4.0（SQuAD）；软件包没有注明",
    "CC BY 4.0 (its authors) on texts of Wikipedia; the package states none": (
        "CC BY 4.0（作者所定），文本来自维基百科；软件包没有注明"
    ),
    "Apache-2.0, as the package states; the terms of the model that wrote the texts may say less": (
        "软件包注明 Apache-2.0；写出这些文字的模型，其条款允许的也许更少"
    ),
    "that of each package's packaging, free by Debian's guidelines": "随各软件包的打包文件，按 Debian 的准则都是自由的",
    "Evaluation only. ": "只用于评测。",
    "Benchmark data: its files carry a canary that asks to keep them out of training corpora.": (
        "评测数据：文件里带有 canary 标记，请求不要把它们收进训练语料。"
    ),
    " A model trained on it is for demonstrations: publish no weights.": "用它训练的模型只供演示，不要发布权重。",
    "Benchmark data. Questions come in pairs of opposite answer that differ in a word; ": (
        "评测数据。问题成对出现，只差一个词，答案相反；"
    ),
    " keeps them in one split.": " 让同一对留在同一个划分里。",
    "Written by a language model: for demonstrations, publish no weights trained on it.": (
        "由语言模型写成：只供演示，不要发布用它训练的权重。"
    ),
    "Some poems come twice, and some hold notes on variant readings in brackets.": "有些诗出现两次，有些在括号里带有异文的注。",
    "Labels are derived, not annotated. ": "标签是推导出来的，不是人工标注的。",
    "One domain, and Debian changes it in place: compare scores of the same release only, and split by group.": (
        "只有一个领域，而且 Debian 会就地更改：只比较同一版本上的分数，并且按组划分。"
    ),
    # docs/distributed.md
    "loss, greatest": "损失，最大",
    "loss, mean": "损失，平均",
    "gradient norm": "梯度范数",
    "one process": "一个进程",
    "activation checkpointing": "重新计算激活",
    "accumulation": "累积",
    "tensor parallel": "张量并行",
    # docs/reliability.md
    "nothing: the last bit is equal": "没有丢失：逐位相同",
    "while evaluating": "在评估时",
    "while finishing": "在收尾时",
    "while starting": "在启动时",
    "while stepping": "在训练一步时",
    "while writing a checkpoint": "在写检查点时",
    ", in all": "，合计",
    "times tried": "试过的次数",
    "what was lost": "丢了什么",
    "every other fault, made to happen by": "其他每种故障，由谁制造",
    "cases tried": "试过的情形",
    "as it says": "与所述一致",
    "kills and signals, to one process and to one of several": "强行终止和信号，发给唯一的进程或其中一个",
    "checkpoints, data and caches that are damaged, full, gone or in use": "损坏、写满、不见了或使用中的检查点、数据和缓存",
    "losses that are no number, or explode": "不是数或爆炸的损失",
    "run folders: what is foreign stays as it is": "运行文件夹：别人的东西保持原样",
    "run folders: a run is resumed, moved, extended and finished again": "运行文件夹：续跑、搬动、延长和补完",
    "foreign code, links, archives, tokens": "外来的代码、链接、压缩包、令牌",
    "odd surroundings: streams, environment, full disks, names, folders that move": (
        "奇怪的环境：输入输出流、环境变量、写满的磁盘、名字、会动的文件夹"
    ),
    "recipes: numbers out of range, keys of no effect, YAML of ill will, wrong types": (
        "配方：超出范围的数、不起作用的键、恶意的 YAML、错误的类型"
    ),
    "places: what may be written to, and what a kill or a full disk leaves": "位置：哪里可以写，强行终止或磁盘写满之后剩下什么",
    "models: damaged or missing weights, configs of no use, sizes beyond the memory, names": (
        "模型：损坏或缺失的权重、没有用的配置、超出内存的尺寸、名字"
    ),
    "the demo page: every field beyond its limits, models that fail, uploads": "演示页：每个字段越界、会失败的模型、上传",
    "records and cards: fields that are missing or of another type, text of ill will": (
        "记录和卡片：缺失或类型不对的字段、恶意的文本"
    ),
    "secrets and home folders in what is shared": "要分享的内容里的密钥和主目录",
    "the end of a run, rehearsed: what fails there fails in the first minute": "排练训练的结尾：会在那里失败的，在第一分钟就失败",
    "broken at random": "随机弄坏",
    "refused with our message": "以我们的说明拒绝",
    "a config works or is refused before a weight is made": "一份配置可用，否则在建立任何权重之前被拒绝",
    "a recipe with a value of any kind is read or refused": "含有任意类型的值的配方，读入或拒绝",
    "a recipe whose bytes are broken is read or refused": "字节损坏的配方，读入或拒绝",
    "any text comes back from its tokens": "任何文本都能从它的词元还原",
    "any text has a hash and so a split": "任何文本都有哈希，因而属于一个划分",
    "a model whose files are broken is loaded or refused": "文件损坏的模型，加载或拒绝",
    "an adapter whose files are broken is loaded or refused": "文件损坏的适配器，加载或拒绝",
    "a record of any bytes is read or refused": "由任意字节构成的记录，读入或拒绝",
    "a folder with broken files is used or refused": "文件损坏的文件夹，接受或拒绝",
    "a folder with broken files is pushed or refused": "文件损坏的文件夹，发布或拒绝",
    "a run folder with broken files is resumed or refused": "文件损坏的运行文件夹，续跑或拒绝",
    "a recipe with any values is used or refused": "取任意值的配方，接受或拒绝",
    "any text file is used or refused": "任意文本文件，接受或拒绝",
    "any file of nanogpt is refused": "任意的 nanoGPT 文件，一律拒绝",
    "any request to the page is answered or refused": "对演示页的任意请求，回答或拒绝",
    "a record of any kind with any field changed makes a card or is refused": "改动了任意字段的各类记录，写成卡片或拒绝",
    "any arguments are used or refused": "任意的命令行参数，接受或拒绝",
    "anything else": "其他",
    "how long": "多久",
    "resident memory, MiB": "常驻内存，MiB",
    "grown by, MiB": "增长，MiB",
    # docs/scaling.md
    "memory of a process": "进程的内存",
    "inputs of blocks kept": "只保留各块的输入",
    "all kept": "全部保留",
    "FLOPs per token": "每词元的 FLOPs",
    "training FLOPs": "训练 FLOPs",
    "minutes of training, planned": "训练分钟数，规划",
    "tokens/s, planned": "词元/秒，规划",
    "steps, planned": "步数，规划",
    "planned, MiB": "规划，MiB",
    "measured, MiB": "实测，MiB",
    "width, layers": "宽度，层数",
    "loss, nats per token": "损失，奈特/词元",
    "bits per byte": "比特/字节",
    "times the compute": "倍算力",
    "extrapolated": "外推",
    # docs/serving.md
    "largest difference of log-probabilities": "对数概率的最大差",
    "the same greedy text": "贪心文本相同",
    "another text": "文本不同",
    "our own folders": "自己的文件夹",
    "our own folder": "自己的文件夹",
    "not measured here": "这里没有测",
    "its own classes": "自己的类",
    "to a server that is up": "连到已经启动的服务",
    "an export": "一个导出",
    "on a Linux CPU": "Linux CPU",
    "the same embeddings within": "嵌入相同，误差在以下范围内：",
    "activations that are kept": "保留的激活",
    "pages of heads and of all layers": "各个头和所有层的页面",
    "ExecuTorch's recipe in transformers": "transformers 里 ExecuTorch 的做法",
    "its text": "它写出的文字",
    "on a CPU": "在 CPU 上",
    ", exports": "，导出",
    " of transformers |": "（transformers 自带） |",
    "torchao, int8 and int4": "torchao，int8 和 int4",
    "bitsandbytes, int8 and nf4": "bitsandbytes，int8 和 nf4",
    ", then ": "，然后 ",
}
# Single words are translated as whole cells alone.
CELLS = {
    "recipe": "配方",
    "goal": "目标",
    "baselines": "基线",
    "minutes": "分钟",
    "accuracy": "准确率",
    "all weights": "全部权重",
    "base": "基座",
    "examples": "例子",
    "rows": "行",
    "figures": "指标",
    "figure": "指标",
    "run": "运行",
    "processes": "进程",
    "weights": "权重",
    "parameters": "参数",
    "ratio": "比值",
    "planned": "规划",
    "measured": "实测",
    "published": "已发表",
    "source": "出处",
    "tokens": "词元",
    "fit": "拟合",
    "fault": "故障",
    "tests": "测试",
    "used": "接受",
    "training": "训练",
    "nothing": "没有",
    "package": "包",
    "what it is": "是什么",
    "columns": "列",
    "licence": "许可证",
    "caveat": "注意",
    "engine": "引擎",
    "how": "怎样运行",
    "version": "版本",
    "compared": "比较了什么",
}
SENTENCES = {
    r"first (\d+) words of the source": r"原文的前 \1 个词",
    r"first (\d+) characters of the source": r"原文的前 \1 个字",
    r"LoRA, rank (\d+)": r"LoRA，秩 \1",
    r"always '([^']*)'": r"总答 '\1'",
    r"\btrained(?=:| \|)": "训练过",
    r"trials: (\d+), the best at": r"试验 \1 次，最好的是",
    r"(\d+) and more": r"\1 个以上",
    r"(\d+) x (\d+) tokens": r"\1 × \2 词元",
    r"see \[ONNX\]": "见 [ONNX]",
    r"(\d+) billion tokens": r"\1×10⁹ 词元",
    r"the same, minutes on (\d+ x \w+) at its MFU of ([\d.]+)%": r"同上，\1 上的分钟数，取它的 MFU \2%",
    r"minutes on (\d+ x \w+) at (\d+)% MFU": r"\1、MFU \2% 时的分钟数",
    r"\babout (\d+) \|": r"约 \1 |",
    r"report of its speedrun": "它的 speedrun 报告",
    r"([\d,]+) steps in (\d+) minutes": r"\2 分钟 \1 步",
    r"([\d,]+) calls": r"\1 次调用",
    r", resumed \|": "，续跑 |",
    r"^\| resumed \|": "| 续跑 |",
    r"It peaked at (\d+) MB, PyTorch included, and stood at (\d+) MB half way; the pass took (\d+) s, the first block ([\d.]+) s, and "
    r"going on after nine tenths (\d+) s\.": (
        r"峰值 \1 MB，包括 PyTorch 在内，读到一半时是 \2 MB；读一遍用了 \3 s，第一块 \4 s，读完十分之九后再续跑用 \5 s。"
    ),
    r"; the largest residual is ([\d.]+)\.": r"；最大的残差是 \1。",
    r"Fitted to all but the largest, the curve foretells ([\d.]+) for it; measured was ([\d.]+)\.": (
        r"不用最大的那个来拟合，曲线对它的预测是 \1；实测是 \2。"
    ),
    r"All of these runs, one after the other: ([\d.]+) hours\.": r"这些运行一个接一个，共 \1 小时。",
    r"All of these runs, and the others of the next table, one after the other: ([\d.]+) hours, on (.*?)\.": (
        r"这些运行和下一张表里的其他运行一个接一个，共 \1 小时，处理器：\2。"
    ),
}


def in_chinese(line: str) -> str:
    """Return the line with the phrases that are known in Chinese; code and addresses stay as they are."""
    for pattern, meaning in SENTENCES.items():
        line = re.sub(pattern, meaning, line)
    if line.startswith("|"):
        line = "|".join(f" {CELLS[cell.strip()]} " if cell.strip() in CELLS else cell for cell in line.split("|"))
    # The odd parts are code and what links lead to.
    parts = re.split(r"(`[^`]*`|\]\([^)]*\))", line)
    for phrase in sorted(PHRASES, key=len, reverse=True):
        parts[::2] = [part.replace(phrase, PHRASES[phrase]) for part in parts[::2]]
    return "".join(parts)
