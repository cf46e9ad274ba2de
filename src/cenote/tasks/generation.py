"""Text generation: a language model of a corpus, and texts that go on where a beginning ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import layers
from ..data.answers import Answers
from ..data.examples import Examples
from ..data.preparation import Preparation
from ..data.split import Parts
from ..data.text.prepare import CorpusPreparation
from ..data.text.read import read_corpus
from ..data.text.tell import tell
from ..data.text.tokenize import END, PAD, SPECIALS, START, UNKNOWN, Tokenizer, ideographic_share
from ..model import Model
from .base import Choice, Task, cosine
from .scores import Baseline, Score, Scores

__all__ = ["LanguageModel", "TextGeneration"]

SEEN = 4_500_000  # tokens in all passes: minutes on two cores


def token_table(size: int, width: int) -> Any:
    """A table that reads tokens and writes logits.

    Its first rows are so small that no logit stands out, and the first loss is near ln(size). With rows of length 1 the token
    that was just read would, and much of the training would go into unlearning that.
    """
    from ..initializers import RandomNormal

    return layers.ReversibleEmbedding(size, width, embeddings_initializer=RandomNormal(stddev=0.02))


def logits_by(table: Any, h: Any) -> Any:
    """(batch, time, width) -> (batch, time, size), as one product of two axes: its gradient is twice as fast on a CPU."""
    return table(h.reshape(-1, h.shape[-1]), reverse=True).reshape(*h.shape[:-1], -1)


class LanguageModel(Model):
    """A transformer that gives for each place of a text, of which it sees what came until then, the logits of the next token.

    Call: ``model(tokens)``, (batch, time) -> (batch, time, size). One table reads and writes; places are told by rotation
    (Su et al. 2021, arXiv:2104.09864). Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".

    >>> model = LanguageModel(20, width=8, heads=2, depth=1)
    >>> tokens = np.array([[5, 6, 7]], np.int32)
    >>> model.build(tokens)(tokens).shape
    (1, 3, 20)
    """

    def __init__(self, size: int, *, width: int = 128, heads: int = 4, depth: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.table = token_table(size, width)
        block = {"intermediate_dim": 4 * width, "num_heads": heads, "dropout": dropout, "normalize_first": True}
        self.blocks = [layers.TransformerDecoder(**block, activation="gelu", rotary=True) for _ in range(depth)]
        self.norm = layers.LayerNormalization()
        self.dropout = layers.Dropout(dropout)

    def forward(self, tokens: Any, *, caches: Any = None, room: int | None = None) -> Any:
        h, kept = self.dropout(self.table(tokens) * self.width**0.5), []
        if room is not None:  # a text is begun, for which so many tokens may be written
            caches = [b.new_cache(h.shape[0], room, width=self.width) for b in self.blocks]
        for i, block in enumerate(self.blocks):
            if caches is None:
                h = block(h)
            else:
                h, cache = block(h, cache=caches[i])
                kept.append(cache)
        logits = logits_by(self.table, self.norm(h))
        return logits if caches is None else (logits, kept)


class TextGeneration(Task):
    """A language model, learned from one text or many; `predict` goes on with a beginning.

    The usual model is a small GPT on characters; ``tokenizer="bpe"`` takes byte pairs, which pays on a corpus of some million
    characters or more. The main score is bits per character, which compares models of any tokens; perplexity is that of tokens.
    The last part of the text is the test.

    Options: ``tokenizer``, ``size`` of the vocabulary, ``window`` tokens that are seen at once; ``length`` characters or tokens
    to write, ``temperature`` (0: always the likeliest), ``top_k`` and ``top_p`` of the choice; ``encoding``.
    """

    name = "text-generation"
    about = "a language model of a text, which goes on with what you begin"
    kind = "text"
    models = ("gpt",)
    options: ClassVar[dict[str, Any]] = {
        "tokenizer": None, "size": None, "window": 128, "length": 300, "temperature": 0.8, "top_k": None, "top_p": 0.95,
        "encoding": "utf-8",
    }  # fmt: skip

    preparation: CorpusPreparation  # type: ignore[assignment]
    _writer: tuple[Any, Writer] | None = None

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        found = tell(source, target if isinstance(target, str) else None)
        return found[1] if found is not None and found[0] == "corpus" else None

    def read(self, source: Any) -> Examples:
        return read_corpus(source, encoding=self.option["encoding"])

    def prepare(self, training: Examples) -> tuple[Preparation, Answers | None]:
        given = {name: self.option[name] for name in ("tokenizer", "size", "window")}
        return CorpusPreparation.fit(training, **given), None

    def arrays(self, examples: Examples, training: bool = False) -> tuple[Any, Any]:
        return self.preparation.windows(examples.inputs)

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        from .. import losses, optimizers

        tokens = int(x.size)
        width, depth = (96, 2) if tokens < 300_000 else (128, 3) if tokens < 10_000_000 else (256, 4)
        epochs = int(np.clip(SEEN // max(tokens, 1), 1, 20))
        dropout = 0.2 if epochs > 10 else 0.1 if epochs > 5 else 0.0  # what is seen a few times is not learned by heart
        model = LanguageModel(self.preparation.tokenizer.size, width=width, depth=depth, dropout=dropout)
        return Choice(
            model,
            "gpt",
            losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=optimizers.Adam(beta_2=0.99),
            learning_rate=3e-3 * min(1.0, 128 / width),
            schedule=cosine,
            epochs=epochs,
            patience=2,
            batch_size=16,
            reasons={"model": f"{depth} blocks of {width} features for {tokens:,} tokens"},
        )

    def outputs(self, model: Any, x: Any) -> np.ndarray:
        """Nats that each token of windows that lie side by side costs, but for the first, from the tokens before it.

        Each is seen with half a window before it at least, as far as there is so much: windows overlap by their halves.
        """
        numbers = np.asarray(x).reshape(-1)
        window, known = self.preparation.window, len(numbers) - 1
        half = window // 2
        begins = np.arange(0, max(known - half, 1), half)
        at = np.minimum(begins[:, None] + np.arange(window), known - 1)

        @jax.jit
        def nats(params: dict, state: dict, x: Any, y: Any) -> Any:
            logits = model.apply(params, state, x)[0]
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1)[..., 0]

        params, state = model.arrays()
        size, cost = 64, np.zeros(known)
        for begin in range(0, len(at), size):
            rows = np.resize(at[begin : begin + size], (size, window))
            found = np.asarray(nats(params, state, numbers[rows], numbers[rows + 1]))[: len(at) - begin]
            for row, place in zip(found, begins[begin : begin + size].tolist(), strict=True):
                first = half if place else 0
                last = min(window, known - place)
                cost[place + first : place + last] = row[first:last]
        return cost

    def score(self, outputs: Any, examples: Examples) -> Scores:
        numbers = self.preparation.numbers(examples.inputs)[1 : len(outputs) + 1]
        return text_scores(np.asarray(outputs, np.float64), numbers, self.preparation.tokenizer)

    def baselines(self, parts: Parts) -> list[Baseline]:
        train, test = (self.preparation.numbers(part.inputs) for part in (parts.train, parts.test))
        found = []
        for order, name in ((1, "how often each token occurs"), (5, "the four tokens before (5-grams, interpolated)")):
            nats = backed_off(train, test, order, self.preparation.tokenizer.size)
            value = text_scores(nats[1:], test[1:], self.preparation.tokenizer).main.value
            found.append(Baseline("unigram" if order == 1 else f"{order}-gram", value, name))
        return found

    def decode(self, model: Any, x: Any) -> list[str]:
        """Beginnings, prepared, with what was written behind them."""
        options = {name: self.option[name] for name in ("length", "temperature", "top_k", "top_p")}
        if self._writer is None or self._writer[0] is not model:  # compiled once, for many beginnings
            self._writer = model, writer_of(model, self.preparation.window)
        rows, writer = [], self._writer[1]
        for number, begin in enumerate(np.asarray(x)):
            rows.append(sample(model, begin[begin != PAD], writer=writer, seed=self.seed + number, **options))
        return [self.preparation.tokenizer.decode(row) for row in rows]

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        return [{"source": name, "text": text} for name, text in zip(names, outputs, strict=True)]


def text_scores(nats: np.ndarray, numbers: np.ndarray, tokenizer: Tokenizer) -> Scores:
    """Bits per character and perplexity of tokens that cost so many nats, with intervals from stretches of 100 tokens."""
    spaced = tokenizer.kind == "words"  # a space stands behind each word, in scripts that have such
    own = [len(t) + (spaced and ideographic_share([t]) == 0) for t in tokenizer.vocabulary[len(SPECIALS) :]]
    long = [*[1] * len(SPECIALS), *own]  # what is unknown counts as one
    characters = np.array(long)[numbers]
    count = max(1, len(nats) // 100)
    sums = np.array([[part[0].sum(), part[1].sum(), len(part[0])] for part in
                     zip(np.array_split(nats, count), np.array_split(characters, count), strict=True)])  # fmt: skip
    bits, perplexity = sums[:, 0].sum() / sums[:, 1].sum() / math.log(2), math.exp(sums[:, 0].sum() / sums[:, 2].sum())
    # The error of a ratio of sums over stretches that hardly depend on each other.
    half = 1.96 * float(np.std(sums[:, 0] - sums[:, 0].sum() / sums[:, 1].sum() * sums[:, 1])) * math.sqrt(count)
    half = half / sums[:, 1].sum() / math.log(2) if count > 1 else math.nan
    values = [
        Score("bits per character", float(bits), float(bits - half), float(bits + half), "lower"),
        Score("perplexity", perplexity, better="lower"),
    ]
    return Scores(values, len(nats))


def backed_off(train: np.ndarray, test: np.ndarray, order: int, size: int) -> np.ndarray:
    """Nats that each token of ``test`` costs a model of counted runs of up to ``order`` tokens.

    ``p_n(w | h) = (c(h w) + d p_{n-1}(w | h')) / (c(h) + d)`` with d the number of different tokens seen behind h, from the
    even distribution up: a rare history leaves more to shorter ones. Source: Witten and Bell 1991, IEEE Trans. Inf. Theory 37.
    """
    share = np.full(len(test), 1 / size)
    for n in range(1, order + 1):
        seen, histories = _runs(train, n), _runs(train[:-1], n - 1) if n > 1 else None
        runs, counts = np.unique(seen, return_counts=True)
        behind = _runs(test, n)
        both = _looked_up(runs, counts, behind)
        if n == 1:
            total, kinds = np.full(len(test), len(train)), np.full(len(test), len(runs))
        else:
            assert histories is not None
            old, total_of = np.unique(histories[: len(seen)], return_counts=True)
            prefix, kinds_of = np.unique(_prefixes(train, n), return_counts=True)
            before = _runs(test[:-1], n - 1)
            total, kinds = _looked_up(old, total_of, before), _looked_up(prefix, kinds_of, before)
        lower = share[n - 1 :]
        known = total > 0
        share[n - 1 :] = np.where(known, (both + kinds * lower) / np.maximum(total + kinds, 1), lower)
    return -np.log(share)


def _runs(numbers: np.ndarray, n: int) -> np.ndarray:
    """A hash of each run of n tokens."""
    result = np.zeros(len(numbers) - n + 1, np.uint64)
    with np.errstate(over="ignore"):
        for i in range(n):
            value = numbers[i : len(numbers) - n + 1 + i].astype(np.uint64) + np.uint64(1)
            result = (result * np.uint64(0x9E3779B97F4A7C15) + value) * np.uint64(0xBF58476D1CE4E5B9)
    return result


def _prefixes(numbers: np.ndarray, n: int) -> np.ndarray:
    """The history of each different run of n tokens."""
    _, first = np.unique(_runs(numbers, n), return_index=True)
    return _runs(numbers, n - 1)[first]


def _looked_up(known: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, counts[at], 0)


# -- writing ---------------------------------------------------------------------------------------------------------------


def sample(
    model: LanguageModel,
    begin: Sequence[int] | np.ndarray,
    *,
    length: int = 300,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    window: int = 128,
    seed: int = 0,
    writer: Any = None,
) -> np.ndarray:
    """A beginning and ``length`` tokens behind it, each drawn from ``softmax(logits / temperature)``.

    ``temperature=0`` takes the likeliest. ``top_k`` keeps the k likeliest tokens, ``top_p`` the fewest that have so much of the
    probability (Holtzman et al. 2019, arXiv:1904.09751). Keys and values of earlier tokens are kept; when the window is full,
    its second half begins the next. ``writer`` is what `writer_of` compiled before, with its window.

    Raises: ValueError for options out of range.
    """
    if temperature < 0 or not math.isfinite(temperature):
        raise ValueError(f"temperature={temperature}: give 0 (the likeliest token) or more")
    if (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1) or length < 0:
        raise ValueError(f"top_k={top_k} must be 1 or more, top_p={top_p} above 0 and at most 1, length={length} not negative")
    written = [int(t) for t in begin] or [UNKNOWN]
    run, key = writer or writer_of(model, window), jax.random.key(seed)
    params, state = model.arrays()
    options = float(temperature), 1 << 30 if top_k is None else int(top_k), 1.0 if top_p is None else float(top_p)
    window = run.window
    half, left = window // 2, length
    while left > 0:
        seen = np.asarray(written[-half:], np.int32)
        room = min(left, window - half)
        padded = np.full((1, half), PAD, np.int32)
        padded[0, : len(seen)] = seen
        key, own = jax.random.split(key)
        found = run(params, state, padded, len(seen), own, *options)
        written += np.asarray(found)[:room].tolist()
        left -= room
    return np.asarray(written[1:] if not len(begin) else written)


@dataclass(frozen=True)
class Writer:
    """A compiled way to write, and how many tokens it sees at once."""

    run: Any
    window: int

    def __call__(self, *args: Any) -> Any:
        return self.run(*args)


def writer_of(model: Any, window: int) -> Writer:
    """A compiled writer of ``window - window // 2`` tokens behind up to ``window // 2`` given ones."""
    half = window // 2

    def choose(logits: Any, key: Any, temperature: Any, top_k: Any, top_p: Any) -> Any:
        logits = logits.at[jnp.array([PAD, UNKNOWN, START, END])].set(-jnp.inf)
        ranked = jnp.sort(logits)[::-1]
        ranked = jnp.where(jnp.arange(len(ranked)) < top_k, ranked, -jnp.inf)
        warm = jnp.maximum(temperature, 1e-6)
        share = jax.nn.softmax(ranked / warm)
        kept = jnp.cumsum(share) - share < top_p  # those that are needed to reach it
        least = jnp.min(jnp.where(kept, ranked, jnp.inf))
        logits = jnp.where(logits < least, -jnp.inf, logits)
        drawn = jax.random.categorical(key, logits / warm)
        return jnp.where(temperature > 0, drawn, jnp.argmax(logits)).astype(jnp.int32)

    def run(params: dict, state: dict, seen: Any, count: Any, key: Any, *options: Any) -> Any:
        logits, caches = model.apply(params, state, seen, room=window)[0]
        # Padding stands behind what was given: the cache is set back to it, and written over.
        caches = [{**c, "self": _cut(c["self"], count)} for c in caches]

        def step(carry: Any, key: Any) -> Any:
            logits, caches = carry
            token = choose(logits, key, *options)
            logits, caches = model.apply(params, state, token[None, None], caches=caches)[0]
            return (logits[0, 0], caches), token

        _, tokens = jax.lax.scan(step, (logits[0, count - 1], caches), jax.random.split(key, window - half))
        return tokens

    return Writer(jax.jit(run), window)


def _cut(cache: dict[str, Any], count: Any) -> dict[str, Any]:
    """A cache that has seen no more than the first tokens."""
    there = cache["mask"] & (jnp.arange(cache["mask"].shape[1]) < count)
    return {**cache, "mask": there, "index": jnp.asarray(count, jnp.int32)}
