"""Answers of sacrebleu, jiwer and torchmetrics for metrics that Keras lacks: writes metrics.json.

Run by hand: pip install sacrebleu jiwer torchmetrics.
"""

import json
from pathlib import Path

import jiwer
import numpy as np
import sacrebleu

ENGLISH = (
    [
        ["The cat sat on the mat.", "A cat was sitting on the mat."],
        ["It's 3,000.50 dollars -- isn't it?", "It is 3,000.50 dollars, is it not?"],
        ["Hello, world!", "Hello world"],
        ['He said: "no" (twice), and left at 10-12.', "He said no, two times; then he left."],
        ["Year 2020. End", "The year is 2020."],
        ["one", "two words"],
    ],
    [
        "The cat is on the mat.",
        "It&apos;s 3,000.50 dollars - isn't it ?",
        "Hello , world !",
        'He said "no" twice, then left at 10-11.',
        "The year 2020. end",
        "",
    ],
)
CHINESE = (
    [["今天天气很好，我们去公园吧。"], ["“人工智能”——改变世界……"], ["价格是3.5元(含税)，ABC公司。"], ["他会说English和中文！"]],
    ["今天天气不错，我们去公园吧！", "“人工智能”正在改变世界…", "价格为3.5元（含税），ABC 公司。", "他能说 English 和汉语！"],
)
SPEECH = (
    [
        "the quick  brown fox jumps",
        "hello world",
        " spaces at both ends ",
        "one two three",
        "nothing like it",
        "今天 天气 很好",
    ],
    ["the quick brown fox jumped over", "hello", "spaces at ends", "", "completely other words said", "今天 天 很 好"],
)
CHINESE_SPEECH = (["今天天气很好", "我们去公园吧", "人工智能"], ["今天天汽很好啊", "我们公园吧", "人工智能"])


def several(references):
    """sacrebleu wants one list for each reference number."""
    return [list(column) for column in zip(*references, strict=True)]


def bleu(data, **options):
    return sacrebleu.BLEU(**options).corpus_score(data[1], several(data[0])).score


def chrf(data, **options):
    return sacrebleu.CHRF(**options).corpus_score(data[1], several(data[0])).score


def texts():
    cases = []
    for name, data, grid in (
        ("BLEU", ENGLISH, [{}, {"lowercase": True}, *({"tokenize": t} for t in ("intl", "char", "none"))]),
        ("BLEU", ENGLISH, [{"smooth_method": m} for m in ("floor", "add-k", "none")] + [{"max_ngram_order": 2}]),
        ("BLEU", CHINESE, [{"tokenize": t} for t in ("zh", "char", "13a", "intl")]),
        ("BLEU", ([["a b c"], ["d e"]], ["a b", "d x"]), [{}, {"effective_order": True}, {"smooth_method": "floor"}]),
        ("BLEU", ([["a b c d e"]], ["x y z"]), [{}]),
        ("ChrF", ENGLISH, [{}, {"word_order": 2}, {"beta": 1}, {"lowercase": True, "whitespace": True}]),
        ("ChrF", ENGLISH, [{"eps_smoothing": True}, {"char_order": 4, "word_order": 1}]),
        ("ChrF", CHINESE, [{}, {"word_order": 2}]),
    ):
        for options in grid:
            value = (bleu if name == "BLEU" else chrf)(data, **options)
            cases.append({"metric": name, "options": options, "y_true": data[0], "y_pred": data[1], "value": value})
    for data in (SPEECH, CHINESE_SPEECH):
        for name, function in (("WordErrorRate", jiwer.wer), ("CharacterErrorRate", jiwer.cer)):
            value = function(data[0], data[1])
            cases.append({"metric": name, "options": {}, "y_true": data[0], "y_pred": data[1], "value": value})
    return cases


def numbers():
    import torch
    import torchmetrics.functional as tm

    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(4), 40).round(4)
    y = np.where(rng.uniform(size=40) < 0.5, p.argmax(-1), rng.integers(0, 4, 40))
    yes = (rng.uniform(size=40) < p[:, 0]).astype(int)
    tp, ty, tyes = torch.tensor(p), torch.tensor(y), torch.tensor(yes)
    cases = []

    def add(metric, options, y_true, y_pred, value):
        value = np.float32(value).tolist()
        cases.append(
            {"metric": metric, "options": options, "y_true": y_true.tolist(), "y_pred": y_pred.tolist(), "value": value}
        )

    for norm in ("l1", "l2", "max"):
        for bins in (15, 4):
            options = {"num_bins": bins, "norm": norm}
            value = tm.classification.multiclass_calibration_error(tp, ty, 4, n_bins=bins, norm=norm)
            add("ExpectedCalibrationError", options, y, p, value)
            value = tm.classification.binary_calibration_error(tp[:, 0], tyes, n_bins=bins, norm=norm)
            add("ExpectedCalibrationError", options, yes, p[:, 0], value)
    log_p = torch.log(tp)[None]
    add("Perplexity", {}, y, p, tm.text.perplexity(log_p, ty[None]))
    add("Perplexity", {"ignore_class": 2}, y, p, tm.text.perplexity(log_p, ty[None], ignore_index=2))
    return cases


if __name__ == "__main__":
    text = "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in texts() + numbers()) + "\n]\n"
    Path(__file__).with_name("metrics.json").write_text(text, encoding="utf-8")
