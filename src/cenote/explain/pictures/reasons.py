"""The usual reasons of an explanation in Chinese; what is not known here stays as it is."""

from __future__ import annotations

import re

__all__ = ["in_chinese"]

REASONS = {
    r"exact Shapley values, since there are only (\d+) (?:columns|features)": r"只有 \1 个特征，求精确 Shapley 值",
    r"Shapley values of the (\d+) columns by permutations": r"用随机排列求 \1 列的 Shapley 值",
    r"(DeepSHAP|DeepLIFT), since the function is differentiable(?:: exact, against (?:one baseline|the training rows))?": (
        r"函数可微，用 \1"
    ),
    r"(DeepSHAP|DeepLIFT), since ([\d,]+) rows of (\d+) columns are many": r"有 \2 行、\3 列，数量较多，用 \1",
    r"compared with the mean of the training examples": "与训练样本的均值比较",
    r"compared with (?:the mean of )?(\d+) background rows": r"与 \1 个背景样本比较",
    r"compared with one background row": "与一个背景样本比较",
    r"compared with the baseline": "与基准比较",
    r"compared with an empty text": "与空文本比较",
    r"the output explained is the predicted class's": "解释的是预测类别的输出",
    r"numbers are the log-odds of the class": "数值为该类别的对数几率",
    r"words taken out": "依次去掉词语",
    r"the model is linear in its n-grams: what each adds is shared among its words": (
        "模型对 n-gram 是线性的：每个 n-gram 的贡献平分给其中的词"
    ),
    r"attribution to the outputs of (\S+)": r"解释的是 \1 层的输出",
}


def in_chinese(reason: str) -> str:
    """A reason's parts, each translated if it is a usual one.

    >>> in_chinese("exact Shapley values, since there are only 3 columns; something else")
    '只有 3 个特征，求精确 Shapley 值；something else'
    """
    return "；".join(_part(part) for part in reason.split("; "))


def _part(text: str) -> str:
    for pattern, said in REASONS.items():
        found = re.fullmatch(pattern, text)
        if found is not None:
            return found.expand(said)
    return text
