"""Recordings of speech: which word (or speaker, or kind) it is, and what was said."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ..data.answers import Answers
from ..data.audio import AudioPreparation, Recordings, read
from ..data.audio.read import TEXT_COLUMNS
from ..data.audio.sound import ENDINGS
from ..data.examples import Examples, Finding
from ..data.media import any_file, first_rows, named_in
from ..data.preparation import Preparation
from ..data.split import Parts
from .base import Baseline, Choice, Score, Scores, Task, cosine
from .ctc import best_path, prefix_search, spell
from .images import MOMENTUM, epochs_for
from .kinds import Classification
from .linear import linear_baseline
from .scores import resampled, share

__all__ = ["SpeechClassification", "SpeechRecognition", "Transcripts", "mel_layers"]

SAMPLE = 500  # recordings that the statistics of the bands are taken from
FLOOR = 1e-3  # power below which a band is silent, where the loudest sample is 0.5
SECONDS = 240.0  # that training to spell may take, about: where letters lie must be found before they can be told
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class _Speech:
    """What tasks with recordings share: reading, preparing, the log-mel front of the network."""

    option: dict[str, Any]
    target: Any
    preparation: AudioPreparation

    def _fitted(self, training: Examples, **more: Any) -> AudioPreparation:
        return AudioPreparation.fit(training, rate=self.option["rate"], seconds=self.option["seconds"], **more)

    def _arrays(self, examples: Examples, y: Any) -> Any:
        from ..data.media import memory_share

        inputs = examples.inputs
        if isinstance(inputs, Recordings) and len(inputs) * self.preparation.length * 4 > memory_share(4):
            from ..data.workers import streamed

            return streamed(self.preparation, inputs.items, y)
        return self.preparation(inputs), y


def mel_layers(x: np.ndarray, rate: int) -> tuple[list[Any], int, int]:
    """Layers from waves (batch, time) to standardised log-mel spectrograms (batch, frame, band); their frames and bands.

    Frames of 25 ms, 10 ms apart; 40 bands up to 4 kHz, else 64; each band standardised by the sample ``x`` of waves.
    """
    from .. import layers

    frame, step = max(16, round(0.025 * rate)), max(8, round(0.010 * rate))
    length = 1 << (frame - 1).bit_length()
    bands = 40 if rate <= 8000 else 64
    mel = layers.MelSpectrogram(
        fft_length=length,
        sequence_length=frame,
        sequence_stride=step,
        sampling_rate=rate,
        num_mel_bins=bands,
        min_freq=60.0,
        min_power=FLOOR,
        top_db=1000.0,  # nothing may depend on what else is in the batch
    )
    if x.shape[1] <= length // 2:
        raise ValueError(
            f"recordings of {x.shape[1]:,} samples are too short for spectrograms: give seconds={2 * length / rate:.2g}"
        )
    shown = _shown(mel, x[:: max(1, len(x) // SAMPLE)][:SAMPLE]).astype(np.float64)
    mean, variance = shown.mean((0, 2)), np.maximum(shown.var((0, 2)), 1.0)
    front = [mel, layers.Permute((2, 1)), layers.Normalization(axis=-1, mean=mean.tolist(), variance=variance.tolist())]
    return front, shown.shape[2], bands


def _shown(mel: Any, x: np.ndarray, size: int = 256) -> np.ndarray:
    """Spectrograms of waves, some at a time."""
    import jax

    run = jax.jit(mel)  # one program, not one for each of its operations
    return np.concatenate([np.asarray(run(x[i : i + size])) for i in range(0, len(x), size)])


# -- which class -------------------------------------------------------------------------------------------------------------


class SpeechClassification(_Speech, Classification):
    """A class for each recording, from class folders, labels in file names, or a table of names; see `cenote.data.audio.read`.

    Options: ``rate`` and ``seconds`` of the prepared recordings; ``speakers`` (True keeps each in one part); ``skip_broken``.
    """

    name: ClassVar[str] = "speech-classification"
    about: ClassVar[str] = "a class for each recording: a word, a speaker, a kind of sound"
    kind: ClassVar[str] = "audio"
    models: ClassVar[tuple[str, ...]] = ("cnn", "linear")
    options: ClassVar[dict[str, Any]] = {"rate": None, "seconds": None, "speakers": None, "skip_broken": False}

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        found = _fits(source)
        return None if found is None or _transcribed(source, target) else found

    def read(self, source: Any) -> Examples:
        option = self.option
        return read(source, target=self.target, speakers=option["speakers"], skip_broken=bool(option["skip_broken"]))

    def prepare(self, training: Examples) -> tuple[Preparation, Answers]:
        answers = self.fit_answers(training)
        self.answers = answers
        return self._fitted(training), answers

    def arrays(self, examples: Examples, training: bool = False) -> Any:
        return self._arrays(examples, None if examples.targets is None else self.answers(examples.targets))

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        from .. import Sequential, layers, optimizers

        count = len(training)
        kind = self.kind_of_model("cnn")
        front, frames, bands = mel_layers(x, self.preparation.rate)
        seen = f"log-mel spectrograms of {frames} frames and {bands} bands"
        loss, metrics = self.objective()
        if kind == "linear":
            body: list[Any] = [layers.GlobalAveragePooling1D(), self.head()]
            work = frames * bands * 20.0
        else:
            blocks, work = _blocks(frames, bands)
            masks = layers.SpecAugment(2, bands // 5, 2, max(2, frames // 8))
            body = [masks, layers.Reshape((frames, bands, 1)), *blocks, layers.Dropout(0.3), self.head()]
        epochs, why = epochs_for(count, work, 40 if count < 5000 else 25)
        return Choice(
            Sequential([*front, *body]),
            kind,
            loss,
            metrics,
            optimizer=optimizers.AdamW(weight_decay=0.02),
            learning_rate=2e-3,
            schedule=cosine,
            epochs=epochs,
            batch_size=64 if count >= 2000 else 32 if count >= 500 else 16,
            patience=max(5, epochs // 3),
            reasons={
                "model": f"{'convolutions' if kind == 'cnn' else 'one linear layer'} on {seen}, computed inside the model"
                + ("; in training bands and stretches of them are hidden" if kind == "cnn" else ""),
                "epochs": why,
            },
        )

    def baselines(self, parts: Parts) -> list[Baseline]:
        found = super().baselines(parts)
        if self.multi_label:
            return found
        x, x_test = (self._bands(part.inputs) for part in (parts.train, parts.test))
        y, y_test = self.answers(parts.train.targets), self.answers(parts.test.targets)
        value = linear_baseline(x, y, x_test, y_test, len(self.answers.names))
        return [*found, Baseline("logistic regression", value, "on mean and spread of each mel band over time")]

    def _bands(self, inputs: Any) -> np.ndarray:
        x = self.preparation(inputs, show=False)
        front, _, _ = mel_layers(x, self.preparation.rate)
        bands = _shown(front[0], x)
        return np.concatenate([bands.mean(2), bands.std(2)], 1)


def _blocks(frames: int, bands: int) -> tuple[list[Any], float]:
    """Convolution, batch normalisation, pooling over (frame, band), 32 to 96 filters; and the multiplications they cost."""
    from .. import layers

    blocks: list[Any] = []
    work, channels = 0.0, 1
    for filters in (32, 48, 64, 96):
        work += 9.0 * frames * bands * channels * filters
        blocks += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=MOMENTUM),
            layers.ReLU(),
        ]
        channels = filters
        if min(frames, bands) >= 4 and filters < 96:
            blocks.append(layers.MaxPooling2D(2))
            frames, bands = frames // 2, bands // 2
    return [*blocks, layers.GlobalAveragePooling2D()], work


def _fits(source: Any) -> str | None:
    if not isinstance(source, (str, os.PathLike)):
        return None
    path = Path(source)
    if path.suffix.lower() in (".csv", ".tsv"):
        column = named_in(path, ENDINGS)
        return f"its column {column!r} names recordings" if column else None
    name = any_file(path, ENDINGS)
    return None if name is None else f"it holds recordings, such as {name}"


def _transcribed(source: Any, target: Any) -> str | None:
    """The column of a table of recordings that holds what was said; None where there is none."""
    path = Path(source)
    if path.is_dir():
        tables = [p for p in sorted(path.iterdir()) if p.suffix.lower() in (".csv", ".tsv")]
        path = tables[0] if len(tables) == 1 else path
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return None
    rows = first_rows(path)
    wanted = [target] if isinstance(target, str) else [n for n in rows[0] if n.strip().lower() in TEXT_COLUMNS]
    for name in wanted:
        if name in rows[0]:
            cells = [row[rows[0].index(name)] for row in rows[1:] if len(row) == len(rows[0])]
            if sum(" " in cell.strip() for cell in cells) * 4 > len(cells) or name.strip().lower() == "transcript":
                return name
    return None


# -- what was said -----------------------------------------------------------------------------------------------------------


class Transcripts(Answers):
    """Texts as numbers of characters from 1, padded with 0, which is CTC's blank.

    Texts are compared in lower case, without punctuation but for the apostrophe, with single blanks.

    >>> made = Transcripts.fit(["Ab!", "b"])
    >>> made.characters, made(["b a"]).tolist(), made.back([2, 1])
    (['a', 'b'], [[2, 1]], 'ba')
    """

    kind = "transcripts"

    def __init__(self, characters: Sequence[str], counts: Sequence[int] = ()) -> None:
        self.characters = [str(c) for c in characters]
        self.counts = [int(count) for count in counts]
        if not len(set(self.characters)) == len(self.characters) > 0 or any(len(c) != 1 for c in self.characters):
            raise ValueError(f"transcripts need different single characters, got {self.characters[:6]}")
        self._number = {c: i for i, c in enumerate(self.characters, 1)}
        self.findings: list[Finding] = []

    @classmethod
    def fit(cls, targets: Any, **options: Any) -> Self:
        """Learn the characters; raises ValueError where no text is left."""
        texts = [plain(text) for text in targets]
        counts = Counter("".join(texts))
        if not counts:
            raise ValueError("no transcript has a letter in it: give what was said in each recording")
        made = cls(sorted(counts), [counts[c] for c in sorted(counts)])
        if empty := sum(not text for text in texts):
            made.findings.append(Finding(f"{empty:,} of {len(texts):,} transcripts are empty", "warning"))
        changed = [str(t) for t, text in zip(targets, texts, strict=True) if str(t) != text]
        if changed:
            text = "transcripts are compared in lower case and without punctuation"
            made.findings.append(Finding(f"{text}: {len(changed):,} are changed by that, such as {changed[0]!r}"))
        return made

    def __call__(self, targets: Any) -> np.ndarray:
        """(texts, longest) of int32; characters that training has not seen are left out."""
        rows = [[self._number[c] for c in plain(text) if c in self._number] for text in targets]
        out = np.zeros((len(rows), max([1, *map(len, rows)])), np.int32)
        for i, row in enumerate(rows):
            out[i, : len(row)] = row
        return out

    def back(self, labels: Sequence[int]) -> str:
        """Label numbers as text."""
        return spell(labels, self.characters)

    def config(self) -> dict[str, Any]:
        return {"characters": self.characters, "counts": self.counts}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(config["characters"], config.get("counts", ()))

    def describe(self) -> str:
        return f"texts of {len(self.characters)} characters: {''.join(self.characters[:60])!r}"


def plain(text: Any) -> str:
    """A text in lower case, composed, without punctuation but for the apostrophe, words between single blanks.

    >>> plain("  Don't,   stop! ")
    "don't stop"
    """
    composed = unicodedata.normalize("NFC", str(text)).replace("’", "'").casefold()
    kept = (c if c == "'" or unicodedata.category(c)[0] in "LNM" else " " for c in composed)
    return " ".join("".join(kept).split())


class SpeechRecognition(_Speech, Task):
    """What is said in each recording, letter by letter, by connectionist temporal classification (CTC).

    Sources are a CSV of names and transcripts, or recordings with labels, whose labels are then what was said (digits as
    words). Options: ``beam``, the prefixes kept when decoding (1: the best path alone); ``rate``, ``seconds``, ``speakers``,
    ``skip_broken`` as for speech classification.
    Source: Graves et al. 2006, ICML.
    """

    name: ClassVar[str] = "speech-recognition"
    about: ClassVar[str] = "what is said in each recording, as text"
    kind: ClassVar[str] = "audio"
    models: ClassVar[tuple[str, ...]] = ("gru",)
    options: ClassVar[dict[str, Any]] = {"beam": 8, "rate": None, "seconds": None, "speakers": None, "skip_broken": False}

    answers: Transcripts

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        if _fits(source) is None or (column := _transcribed(source, target)) is None:
            return None
        return f"it names recordings, and its column {column!r} says what is said in them"

    def read(self, source: Any) -> Examples:
        option = self.option
        broken = bool(option["skip_broken"])
        examples = read(source, target=self.target, transcripts=True, speakers=option["speakers"], skip_broken=broken)
        if examples.targets is not None and set(map(str, examples.targets)) <= set(map(str, range(10))):
            examples.targets = np.array([DIGITS[int(t)] for t in examples.targets])
            examples.findings.append(Finding("labels 0 to 9 are taken as the words zero to nine"))
        return examples

    def prepare(self, training: Examples) -> tuple[Preparation, Answers]:
        # Nothing may be cut off: what is said there would be missing.
        return self._fitted(training, share=1.0, most_seconds=30.0), Transcripts.fit(training.targets)

    def arrays(self, examples: Examples, training: bool = False) -> Any:
        return self._arrays(examples, None if examples.targets is None else self.answers(examples.targets))

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        from .. import Sequential, layers, optimizers
        from ..losses import CTC

        count, classes = len(training), len(self.answers.characters) + 1
        front, frames, bands = mel_layers(x, self.preparation.rate)
        masks = layers.SpecAugment(2, bands // 5, 2, max(2, frames // 12))
        steps, places = -(-frames // 2), (bands + 3) // 4
        body: list[Any] = [masks, layers.Reshape((frames, bands, 1))]
        for strides in ((2, 2), (1, 2)):
            body += [
                layers.Conv2D(32, 3, strides, padding="same", use_bias=False),
                layers.BatchNormalization(momentum=MOMENTUM),
                layers.ReLU(),
            ]
        units = 128 if count >= 1000 else 64
        body += [layers.Reshape((steps, places * 32)), layers.Dense(units, activation="relu")]
        for _ in range(2):
            body += [layers.Bidirectional(layers.GRU(units, return_sequences=True)), layers.Dropout(0.2)]
        body.append(layers.Dense(classes))
        work = steps * (units * places * 32 + 27.0 * units**2) + 9 * 32 * frames * bands / 4 * (1 + 16)
        epochs, why = epochs_for(count, work, 80 if count < 5000 else 30, SECONDS)
        return Choice(
            Sequential([*front, *body]),
            "gru",
            CTC(zero_infinity=True),
            [],
            optimizer=optimizers.AdamW(weight_decay=0.01, clipnorm=1.0),
            learning_rate=2e-3,
            schedule=cosine,
            epochs=epochs,
            batch_size=32 if count >= 500 else 16,
            patience=max(6, epochs // 3),
            reasons={
                "model": f"convolutions and recurrent layers both ways over {frames} frames of {bands} mel bands, "
                f"{steps} steps to {classes - 1} characters",
                "loss": "sums over all ways in which a text may lie in time, so that nobody has to align it",
                "epochs": why,
            },
        )

    def outputs(self, model: Any, x: Any) -> list[str]:
        logits = np.asarray(model.predict(x, verbose=0))
        width = int(self.option["beam"])
        return [self.answers.back(best_path(row) if width == 1 else prefix_search(row, width)[0]) for row in logits]

    def score(self, outputs: Any, examples: Examples) -> Scores:
        from ..metrics.text import edit_distance

        said, true = list(outputs), [plain(t) for t in examples.targets]
        letters = np.array([[edit_distance(t, s), len(t)] for t, s in zip(true, said, strict=True)], np.float64)
        words = np.array([[edit_distance(t.split(), s.split()), len(t.split())] for t, s in zip(true, said, strict=True)])
        right = sum(t == s for t, s in zip(true, said, strict=True))

        def rate(counts: np.ndarray) -> float:
            return float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1))

        values: list[Score] = [
            resampled("character error rate", rate, letters, better="lower", percent=True),
            resampled("word error rate", rate, words, better="lower", percent=True),
            share("texts all right", right, len(true)),
        ]
        wrong = [{"true": t, "said": s} for t, s in zip(true, said, strict=True) if t != s]
        return Scores(values, len(true), {"mistakes": wrong[:10]}, {"errors": letters[:, 0] / np.maximum(letters[:, 1], 1)})

    def baselines(self, parts: Parts) -> list[Baseline]:
        usual = Counter(plain(t) for t in parts.train.targets).most_common(1)[0][0]
        value = self.score([usual] * len(parts.test), parts.test).main.value
        return [Baseline("commonest text", value, f"always answering {usual!r}")]

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        return [{"source": name, "text": text} for name, text in zip(names, outputs, strict=True)]
