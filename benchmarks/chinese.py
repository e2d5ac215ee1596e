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
    "sentence that shares most words with the question": "与问题相同的词最多的句子",
    "most frequent tag of each word": "每个词最常见的标签",
    "the same model before fine-tuning": "微调前的同一模型",
    "the same model before": "此前的同一模型",
    "first sentence of the source": "原文的第一句",
    "TF-IDF with pairs of words + logistic regression": "TF-IDF（含词对）+ 逻辑回归",
    "TF-IDF + logistic regression": "TF-IDF + 逻辑回归",
    "scikit-learn's defaults": "scikit-learn 的默认值",
    "By prompting alone, no weight changed, the labels not calibrated:": "只靠提示，不改动权重，标签未经校准：",
    "By prompting alone, no weight changed, the labels calibrated:": "只靠提示，不改动权重，标签经过校准：",
    "The same task with adapters of several ranks:": "同一任务，不同秩的适配器：",
    "not run yet": "尚未运行",
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
    r"LoRA, rank (\d+)": r"LoRA，秩 \1",
    r"always '([^']*)'": r"总答 '\1'",
    r"\btrained(?=:| \|)": "训练过",
    r"trials: (\d+), the best at": r"试验 \1 次，最好的是",
    r"(\d+) and more": r"\1 个以上",
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
    r"All runs of this table that were made, one after the other: ([\d.]+) hours, on (.*?)\. `[^`]*` is a recipe of this base that "
    r"no record has been made of so far; `make finetune-report` makes those that are missing\.": (
        r"表中做过的运行一个接一个，共 \1 小时，处理器：\2。“尚未运行”是这个基座上还没有记录的配方，`make finetune-report` 会补齐。"
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
