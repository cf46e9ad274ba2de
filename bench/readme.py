"""Put the figures that `run.py` has measured into the two READMEs, between their marks.

python bench/readme.py bench/results/<date>.jsonl
"""

from __future__ import annotations

import os
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import run
import workers
import workloads

import report

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures: bench/readme.py -->", "<!-- end of figures -->"
FAMILIES = ("torch", "keras-tf", "keras-jax", "keras-torch")

NAMES = {
    "linear": ("linear regression, 100 x 2, an epoch", "线性回归，100 x 2，一轮"),
    "mlp": ("MLP 784-128-10, batch 32", "MLP 784-128-10，批量 32"),
    "autoencoder": ("autoencoder 784-32-784, batch 256", "自编码器 784-32-784，批量 256"),
    "cnn": ("CNN 32-64 on MNIST, batch 128", "MNIST 上的 CNN 32-64，批量 128"),
    "resnet20": ("ResNet-20 on 32x32x3, batch 128", "32x32x3 上的 ResNet-20，批量 128"),
    "lstm": ("LSTM 128, 28 steps, batch 64", "LSTM 128，28 步，批量 64"),
    "transformer": ("Transformer encoder, 2 x 128, batch 32 x 128", "Transformer 编码器 2 x 128，批量 32 x 128"),
    "gpt": ("character GPT, 6 x 384, batch 12 x 256", "字符 GPT 6 x 384，批量 12 x 256"),
}

ENGLISH = """\
Times on {machine}, without a GPU; for the others, how many times as long they take: PyTorch by the fastest of its eager,
channels-last and compiled forms. A step of training:

{training}

An answer, numpy in and numpy out; Cenote by `model.compiled`, the others by the fastest way that they have:

{prediction}

From `python program.py` to a scored MNIST network of 5 epochs: Cenote {cenote:.1f} s, {first:.1f} s the first time;
PyTorch {torch:.1f} s, Keras on JAX {jax:.1f} s, on TensorFlow {tf:.1f} s. Medians of {rounds} interleaved rounds ({versions});
from the same weights all reach the same losses and answers. Rounds spread by {spread:.0%} in the middle: read what is within
that of 1 as equal. [All figures](bench/results/{page}); `make bench` measures your machine.
"""

CHINESE = """\
在 {machine} 上测得，没有 GPU；其他框架一栏是它们用时为 Cenote 的几倍，PyTorch 取普通、channels-last、编译
三种形式中最快的。一个训练步：

{training}

一次预测，输入输出都是 numpy；Cenote 用 `model.compiled`，其他框架取各自最快的方式：

{prediction}

从 `python program.py` 到训练 5 轮并在 MNIST 上评分：Cenote {cenote:.1f} 秒，第一次 {first:.1f} 秒；PyTorch {torch:.1f} 秒，
Keras 在 JAX 上 {jax:.1f} 秒，在 TensorFlow 上 {tf:.1f} 秒。{rounds} 轮交错测量的中位数（{versions}）；从同样的权重出发，
各框架得到同样的损失和答案。各轮相差的中位数是 {spread:.0%}，与 1 相差在此以内的应看作相等。[全部数字](bench/results/{page})；
`make bench` 在你的机器上测量。
"""


def tables(records: list[dict], chinese: bool) -> tuple[str, str]:
    """Training and prediction, a row for each workload (and number of rows)."""
    trained, answered = [], []
    for part, names in NAMES.items():
        mine = [r for r in records if r["workload"] == part]
        ours = steps(mine, "cenote")
        if ours is None:
            continue
        trained.append([names[chinese], microseconds(ours), *(report.ratio(steps(mine, name), ours) for name in FAMILIES)])
        for size in map(str, workloads.find(part).INFER):
            if (fastest := report.best(mine, "cenote", size)) is None:
                continue
            cells = [names[chinese].split("，" if chinese else ",")[0], size, microseconds(fastest)]
            for start in ("torch", "keras-", "onnxruntime"):
                found = [report.best(mine, r["framework"], size) for r in mine if r["framework"].startswith(start)]
                cells.append(report.ratio(min((f for f in found if f is not None), default=None), fastest))
            answered.append(cells)
    keras = (
        ("Keras（TensorFlow）", "Keras（JAX）", "Keras（PyTorch）")
        if chinese
        else ("Keras on TensorFlow", "on JAX", "on PyTorch")
    )
    rows = "行数" if chinese else "rows"
    return (
        "\n".join(report.table(["", "Cenote", "PyTorch", *keras], trained)),
        "\n".join(report.table(["", rows, "Cenote", "PyTorch", "Keras", "onnxruntime"], answered)),
    )


def steps(records: list[dict], start: str) -> float | None:
    """Microseconds of a training step by the fastest form of a framework."""
    found = [statistics.median(r["us"]) for r in records if r["framework"].startswith(start) and r.get("us")]
    return min(found, default=None)


def microseconds(value: float) -> str:
    """Of three digits or so.

    >>> microseconds(7.83), microseconds(1290.4), microseconds(20_100.0)
    ('7.8 us', '1,290 us', '20.1 ms')
    """
    if value < 10_000:
        return f"{value:.1f} us" if value < 100 else f"{value:,.0f} us"
    return f"{value / 1000:.1f} ms" if value < 100_000 else f"{value / 1000:,.0f} ms"


def words(records: list[dict], page: str, chinese: bool) -> str:
    machine = next(r for r in records if r["workload"] == "machine")
    programs = [r for r in records if r["workload"] == "program" and r["seconds"]]
    seconds = {r["framework"]: statistics.median(r["seconds"]) for r in programs}
    versions = {r["framework"].split("-")[0]: r["version"] for r in records if r.get("version")}
    said = {
        "PyTorch": versions["torch"],
        "Keras": versions["keras"],
        "onnxruntime": versions["onnxruntime"],
        **machine["versions"],
    }
    spreads = [workers.spread(r["us"]) for r in records if r.get("us") and r["workload"] != "linear"]
    training, prediction = tables(records, chinese)
    values: dict[str, Any] = {
        "cenote": seconds["cenote"],
        "first": seconds["cenote, first time"],
        "torch": seconds["torch"],
        "jax": seconds["keras-jax"],
        "tf": seconds["keras-tf"],
        "rounds": machine["rounds"],
        "spread": statistics.median(spreads),
        "machine": machine["says"].partition(", Python")[0],
        "versions": ("、" if chinese else ", ").join(f"{k} {v.partition('+')[0]}" for k, v in said.items() if k != "numpy"),
    }
    return (CHINESE if chinese else ENGLISH).format(training=training, prediction=prediction, page=page, **values)


def put(path: Path, text: str) -> None:
    """The text in place of what stands between the marks; the file is written whole or not at all."""
    whole = path.read_text("utf-8")
    marked = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(marked.findall(whole)) != 1:
        raise SystemExit(f"{path}: expected one pair of marks {BEGIN} ... {END}")
    new = path.with_suffix(".new")
    new.write_text(marked.sub(lambda _: f"{BEGIN}\n\n{text}\n{END}", whole), "utf-8")
    os.replace(new, path)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    lines = Path(sys.argv[1])
    for name, chinese in (("README.md", False), ("README.zh-CN.md", True)):
        put(ROOT / name, words(run.known(lines), f"{lines.stem}.md", chinese))


if __name__ == "__main__":
    main()
