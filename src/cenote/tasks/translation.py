"""Translation: a sequence of one language into a sequence of another, by a small transformer and beam search."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import layers
from ..data.answers import Answers
from ..data.examples import Examples, Finding
from ..data.preparation import Preparation
from ..data.split import Parts
from ..data.text.lines import essence
from ..data.text.pairs import read_pairs
from ..data.text.prepare import PairPreparation
from ..data.text.tell import tell
from ..data.text.tokenize import END, PAD, START, UNKNOWN, folded, ideographic_share, word_spans
from ..model import Model
from ..progress import track
from .base import Batches, Choice, Task, cosine
from .generation import logits_by, token_table
from .scores import Baseline, Scores, resampled

__all__ = ["SequenceToSequence", "Translation"]

TWINS = 0.01  # of the test translations; more of them that training has, too, are a warning


class SequenceToSequence(Model):
    """A transformer that reads a source and writes a target, both rows of token numbers with 0 for padding.

    ``model(source, target)`` gives for each place of the target, of which it sees what stands before, the logits of its token:
    the first from START alone. ``joint`` reads both sides and writes by one table. `beam_search` writes targets of its own.
    Shapes: (batch, time), (batch, place) -> (batch, place, target_size).
    Source: Vaswani et al. 2017, arXiv:1706.03762, normalised first (Xiong et al. 2020, arXiv:2002.04745).

    >>> model = SequenceToSequence(20, 20, width=8, heads=2, depth=1)
    >>> tokens = np.array([[5, 6, 3]], np.int32)
    >>> model.build({"source": tokens, "target": tokens}) is model, model(tokens, tokens).shape
    (True, (1, 3, 20))
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        width: int = 256,
        heads: int = 4,
        depth: int = 3,
        inner: int | None = None,
        dropout: float = 0.1,
        joint: bool = False,
    ) -> None:
        super().__init__()
        if joint and source_size != target_size:
            raise ValueError(f"one table for both sides needs as many tokens of each, got {source_size} and {target_size}")
        self.width, self.depth, self.joint = width, depth, joint
        self.target_table = token_table(target_size, width)
        self.source_table = self.target_table if joint else token_table(source_size, width)
        block = {"intermediate_dim": inner or 2 * width, "num_heads": heads, "dropout": dropout, "normalize_first": True}
        self.encoder = [layers.TransformerEncoder(**block, rotary=True) for _ in range(depth)]
        self.decoder = [layers.TransformerDecoder(**block, rotary=True) for _ in range(depth)]
        self.encoder_norm, self.decoder_norm = layers.LayerNormalization(), layers.LayerNormalization()
        self.dropout = layers.Dropout(dropout)

    def forward(
        self, source: Any, target: Any, *, beams: int | None = None, length: int | None = None, caches: Any = None
    ) -> Any:
        if caches is not None:  # in a search: the logits behind one more token
            logits, caches = self._write(target[:, None], None, None, caches)
            return logits[:, 0], caches
        source = jnp.asarray(source)
        if beams is None:
            target = jnp.asarray(target)
            before = jnp.concatenate([jnp.full_like(target[:, :1], START), target[:, :-1]], axis=1)
            return self._write(before, *self._read(source))[0]
        # A search begins: logits of the first token and caches, each source as often as there are beams.
        seen, there = (jnp.repeat(a, beams, axis=0) for a in self._read(source))
        rows = seen.shape[0]
        caches = [b.new_cache(rows, length or 1, seen.shape[1], width=self.width) for b in self.decoder]
        logits, caches = self._write(jnp.full((rows, 1), START, jnp.int32), seen, there, caches)
        return logits[:, 0], caches

    def _read(self, source: Any) -> tuple[Any, Any]:
        """What stands in the source, and where."""
        there = source != PAD
        h = self.dropout(self.source_table(source) * self.width**0.5)
        for block in self.encoder:
            h = block(h, padding_mask=there)
        return self.encoder_norm(h), there

    def _write(self, before: Any, seen: Any, there: Any, caches: Any = None) -> tuple[Any, list]:
        """Logits for the token behind each of ``before``, and the caches with them."""
        h, kept = self.dropout(self.target_table(before) * self.width**0.5), []
        for i, block in enumerate(self.decoder):
            if caches is None:
                h = block(h, seen, encoder_padding_mask=there)
            else:
                h, cache = block(h, seen, encoder_padding_mask=there, cache=caches[i])
                kept.append(cache)
        return logits_by(self.target_table, self.decoder_norm(h)), kept


def search(
    begin: Callable[[], tuple[Any, Any]],
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    rows: int,
    beams: int,
    length: int,
    alpha: float,
) -> tuple[Any, Any]:
    """The best finished sequence of each row, (row, length), and its score: ``log p / ((5 + length) / 6)^alpha``.

    ``begin()`` and ``step(tokens, state, parents)`` give logits, (row * beam, token), and a state of any kind; ``parents``
    (row * beam) says which of the old places each beam goes on from. Ends early once no unfinished beam can become better than
    the finished ones.
    Source: Wu et al. 2016, arXiv:1609.08144, for the normalisation by length.
    """
    logits, state = begin()
    size = logits.shape[-1]
    lowest = -1e9
    never = np.isin(np.arange(size), (PAD, UNKNOWN, START))  # what no text shall have
    alive = jnp.where(jnp.arange(beams) == 0, 0.0, lowest)[None].repeat(rows, 0)  # all beams begin alike: one of them counts
    carry = (
        jnp.int32(0), logits, state, alive,
        jnp.zeros((rows, beams, length), jnp.int32),
        jnp.full((rows, beams), lowest), jnp.zeros((rows, beams, length), jnp.int32),
    )  # fmt: skip

    def penalty(n: Any) -> Any:
        return ((5.0 + n) / 6.0) ** alpha

    def hopeful(carry: Any) -> Any:
        place, _, _, alive, _, done, _ = carry
        best = alive.max(1) / penalty(length if alpha > 0 else 1)
        return (place < length) & (best > done.min(1)).any()

    def body(carry: Any) -> Any:
        place, logits, state, alive, written, done, kept = carry
        logp = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(rows, beams, size)
        logp = jnp.where(never, lowest, logp)
        logp = jnp.where(place == length - 1, jnp.where(jnp.arange(size) == END, logp, lowest), logp)
        total = alive[..., None] + logp
        # The finished ones: the best of those that were, and of those that end here.
        ended = jnp.concatenate([done, total[:, :, END] / penalty(place + 1)], 1)
        texts = jnp.concatenate([kept, written.at[:, :, place].set(END)], 1)
        done, order = jax.lax.top_k(ended, beams)
        kept = jnp.take_along_axis(texts, order[..., None], 1)
        # Those that go on: the best of all continuations.
        alive, order = jax.lax.top_k(total.at[:, :, END].set(lowest).reshape(rows, -1), beams)
        parent, token = order // size, order % size
        written = jnp.take_along_axis(written, parent[..., None], 1).at[:, :, place].set(token)
        parents = (jnp.arange(rows)[:, None] * beams + parent).reshape(-1)
        logits, state = step(token.reshape(-1), state, parents)
        return place + 1, logits, state, alive, written, done, kept

    *_, done, kept = jax.lax.while_loop(hopeful, body, carry)
    return kept[:, 0], done[:, 0]


def _searcher(model: Any, beams: int, length: int, alpha: float) -> Callable:
    """A compiled search: ``run(params, state, source)``."""

    def run(params: dict, state: dict, source: Any) -> Any:
        def begin() -> Any:
            return model.apply(params, state, source, None, beams=beams, length=length)[0]

        def step(tokens: Any, caches: Any, parents: Any) -> Any:
            def follow(a: Any) -> Any:
                return a[parents] if jnp.ndim(a) else a

            moved = [{"self": jax.tree.map(follow, c["self"]), "cross": c["cross"]} for c in caches]  # sources stay in place
            return model.apply(params, state, None, tokens, caches=moved)[0]

        return search(begin, step, source.shape[0], beams, length, alpha)

    return jax.jit(run)


class Translation(Task):
    """A sentence of another language for each sentence; it is learned from pairs.

    The usual model is a `SequenceToSequence` of a size that fits the corpus, on byte pairs (words, without the library for
    them); translations are found by beam search. Its main score is BLEU, with chrF.

    Options: ``direction`` ("de-en") of a folder with files of two languages; ``text`` names the column of the sentences (target
    that of the translations); ``tokenizer``, ``size`` and ``joint`` of the vocabulary; ``longest`` sentence in tokens;
    ``beams`` and ``alpha``, the strength of the normalisation by length, of the search; ``encoding``.
    """

    name = "translation"
    about = "a translation for each sentence, learned from pairs"
    kind = "text"
    models = ("transformer",)
    options: ClassVar[dict[str, Any]] = {
        "direction": None, "text": None, "tokenizer": None, "size": None, "joint": None, "longest": None,
        "beams": 4, "alpha": 1.0, "encoding": "utf-8",
    }  # fmt: skip

    preparation: PairPreparation  # type: ignore[assignment]
    _searchers: tuple[Any, dict] = (None, {})

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        found = tell(source, target if isinstance(target, str) else None)
        return found[1] if found is not None and found[0] == "pairs" else None

    def read(self, source: Any) -> Examples:
        given = {name: self.option[name] for name in ("direction", "text", "encoding")}
        return read_pairs(source, self.target, **given)

    def part(self, examples: Examples, validation: float | int, test: float | int) -> Parts:
        """As any task, and a finding of the translations in the test part that training has under another sentence."""
        parts = super().part(examples, validation, test)
        theirs, ours = ({essence(text) for text in side} for side in (parts.train.targets, parts.train.inputs))
        pairs = enumerate(zip(parts.test.inputs, parts.test.targets, strict=True))
        again = [i for i, (text, written) in pairs if essence(written) in theirs and essence(text) not in ours]
        if again:
            count, total, names = len(again), len(parts.test), parts.test.names
            place = str(names[again[0]]) if len(names) else f"example {parts.rows['test'][again[0]] + 1}"
            text = (
                f"{count:,} of {total:,} test translations ({count / total:.1%}) stand in training under another sentence, "
                f"such as that of {place}: they are easier to write than new ones"
            )
            parts.findings.append(Finding(text, "warning" if count > TWINS * total else "note", place))
        return parts

    def prepare(self, training: Examples) -> tuple[Preparation, Answers | None]:
        given = {name: self.option[name] for name in ("tokenizer", "size", "joint", "longest")}
        return PairPreparation.fit(training, **given), None

    def arrays(self, examples: Examples, training: bool = False) -> Batches:
        return Pairs(self.preparation(examples.inputs), self.preparation.targets(examples.targets), self.preparation.lengths)

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        from .. import losses, optimizers

        count, p = len(training), self.preparation
        width, depth = (128, 2) if count < 100_000 else (256, 3) if count < 1_000_000 else (512, 4)
        dropout = 0.3 if count < 10_000 else 0.1
        model = SequenceToSequence(p.source.size, p.target.size, width=width, depth=depth, dropout=dropout, joint=p.joint)
        loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PAD, label_smoothing=0.1)
        return Choice(
            model,
            "transformer",
            loss,
            optimizer=optimizers.Adam(beta_2=0.98),
            learning_rate=3e-3 * (128 / width),
            schedule=cosine,
            epochs=int(np.clip(240_000 // count, 4, 30)),
            patience=3,
            batch_size=64 if count < 100_000 else 128,
            reasons={"model": f"{depth} blocks of {width} features on each side, for {count:,} pairs"},
        )

    def outputs(self, model: Any, x: Any) -> list[str]:
        sources = [part["source"] for part in x] if not isinstance(x, np.ndarray) else [x]
        return self.decode(model, np.concatenate(sources))

    def decode(self, model: Any, x: Any) -> list[str]:
        """The translations of prepared sources, by beam search, in batches of like length."""
        beams, alpha = int(self.option["beams"]), float(self.option["alpha"])
        if beams < 1:
            raise ValueError(f"beams={beams}: give 1 or more")
        filled = (x != PAD).sum(1)
        if self._searchers[0] is not model:
            self._searchers = model, {}  # compiled once, for many sentences
        searchers = self._searchers[1]
        texts = [""] * len(x)
        params, state = model.arrays()
        lengths = self.preparation.lengths[::-2][::-1]  # half of those of training: each is compiled, which takes seconds
        work = list(_in_batches(filled, lengths))
        for rows, length in track(work, "translating", unit=CHUNK):
            key = length, beams, alpha
            if key not in searchers:
                searchers[key] = _searcher(model, beams, length + length // 2 + 4, alpha)
            size = CHUNK if len(rows) > FEW else FEW
            source = np.full((size, length), PAD, np.int32)
            source[: len(rows)] = x[rows, :length]
            found = np.asarray(searchers[key](params, state, source)[0])
            for row, numbers in zip(rows.tolist(), found.tolist(), strict=False):
                texts[row] = self.preparation.decode(numbers)
        return texts

    def score(self, outputs: Any, examples: Examples) -> Scores:
        return translation_scores(list(outputs), list(examples.targets))

    def baselines(self, parts: Parts) -> list[Baseline]:
        test, said = list(parts.test.inputs), list(parts.test.targets)
        words = word_by_word(list(parts.train.inputs), list(parts.train.targets), test)
        scored = [translation_scores(texts, said).main.value for texts in (test, words)]
        return [
            Baseline("copy", scored[0], "leaving the sentences as they are"),
            Baseline("word by word", scored[1], "each word by its likeliest translation (IBM model 1)"),
        ]

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        return [{"source": name, "translation": text} for name, text in zip(names, outputs, strict=True)]


CHUNK, FEW = 64, 8  # sentences that are translated together


def _in_batches(filled: np.ndarray, lengths: Sequence[int]) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of like length, some at a time, and the least of the lengths that holds them."""
    least = 0
    for length in lengths:
        rows = np.flatnonzero((filled > least) & (filled <= length) if least else filled <= length)
        least = length
        for begin in range(0, len(rows), CHUNK):
            yield rows[begin : begin + CHUNK], length


@dataclass
class Pairs:
    """Pairs of sentences in batches of few lengths; short sentences stand together, so that little is padding."""

    source: np.ndarray
    target: np.ndarray
    lengths: Sequence[int]

    def __call__(self, size: int, seed: int | None) -> Iterable[tuple[Any, Any]]:
        return _Passes(self, size, seed)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: np.ndarray, length: int, size: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Those pairs, cut to a length, filled up with empty ones."""
        parts = []
        for side in (self.source, self.target):
            part = np.full((size, length), PAD, np.int32)
            part[: len(rows)] = side[rows, :length]
            parts.append(part)
        return {"source": parts[0], "target": parts[1]}, parts[1]


class _Passes:
    """The batches of one pass after another, each in another order; without a seed in the order of the examples."""

    def __init__(self, pairs: Pairs, size: int, seed: int | None) -> None:
        self.pairs, self.size, self.seed = pairs, size, seed
        filled = np.maximum(*((side != PAD).sum(1) for side in (pairs.source, pairs.target)))
        self.group = np.searchsorted(pairs.lengths, filled)

    def __len__(self) -> int:
        return sum(-(-int(n) // self.size) for n in np.bincount(self.group) if n) if self.seed is not None else self._plain()

    def _plain(self) -> int:
        return -(-len(self.pairs) // self.size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self.open_epoch(0)

    def open_epoch(self, epoch: int, skip: int = 0) -> Iterator[tuple[Any, Any]]:
        """The batches of a pass from number ``skip`` on; with a seed their order is a function of it and of ``epoch``."""
        return itertools.islice(self._batches(epoch), skip, None)

    def _batches(self, epoch: int) -> Iterator[tuple[Any, Any]]:
        longest = self.pairs.lengths[-1]
        if self.seed is None:
            for begin in range(0, len(self.pairs), self.size):
                rows = np.arange(begin, min(begin + self.size, len(self.pairs)))
                yield self.pairs.batch(rows, longest, len(rows) if begin else min(self.size, len(self.pairs)))
            return
        draw = np.random.Generator(np.random.Philox([self.seed, epoch]))
        work: list[tuple[np.ndarray, int]] = []
        for group, length in enumerate(self.pairs.lengths):
            rows = draw.permutation(np.flatnonzero(self.group == group))
            work += [(rows[i : i + self.size], length) for i in range(0, len(rows), self.size)]
        for i in draw.permutation(len(work)).tolist():
            rows, length = work[i]
            yield self.pairs.batch(rows, length, self.size)


def translation_scores(texts: list[str], references: list[str]) -> Scores:
    """BLEU and chrF of translations, with intervals by resampling sentences."""
    from .. import metrics

    bleu = metrics.BLEU(tokenize="zh" if ideographic_share(references[:2000]) > 0.3 else "13a")
    chrf = metrics.ChrF()
    found = []
    errors = np.zeros(len(texts))
    for metric, name in ((bleu, "BLEU"), (chrf, "chrF")):
        rows = np.array([metric.statistics([r], t) for t, r in zip(texts, references, strict=True)], float)
        found.append(resampled(name, lambda part, metric=metric: float(metric.compute(part.sum(0))), rows))
        if metric is chrf:
            errors = np.array([100 - float(chrf.compute(row)) for row in rows])
    return Scores(found, len(texts), {}, {"errors": errors})


def word_by_word(sources: list[str], targets: list[str], texts: list[str], rounds: int = 5) -> list[str]:
    """Texts with each word replaced by its likeliest translation, or left where it is unknown.

    ``t(f | e)`` is learned by ``rounds`` of expectation and maximisation: each word of a translation is shared out among the
    words of its source. Source: Brown et al. 1993, "The Mathematics of Statistical Machine Translation", model 1.
    """
    from ..data.text.tokenize import Words

    def numbered(side: list[str]) -> tuple[list[np.ndarray], list[str]]:
        known: dict[str, int] = {}
        return [np.array([known.setdefault(t[a:b], len(known)) for a, b in word_spans(t)], np.int64) for t in side], list(known)

    ours, words = numbered([folded(s, True) for s in sources])
    theirs, answers = numbered(targets)
    words_of = {w: i for i, w in enumerate(words)}
    pairs, places, first = [], [], 0
    for e, f in zip(ours, theirs, strict=True):
        pairs.append((e[:, None] * len(answers) + f[None]).reshape(-1))
        places.append((first + np.arange(len(f)))[None].repeat(len(e), 0).reshape(-1))
        first += len(f)
    if not first:
        return texts
    found, which = np.unique(np.concatenate(pairs), return_inverse=True)
    place, word = np.concatenate(places), found // len(answers)
    share = np.ones(len(found))
    for _ in range(rounds):
        each = share[which]
        each = each / np.bincount(place, each, minlength=first)[place]
        share = np.bincount(which, each, minlength=len(found))
        share = share / np.bincount(word, share, minlength=len(words))[word]
    order = np.lexsort((share, word))
    last = order[np.append(word[order][1:] != word[order][:-1], True)]
    best = dict(zip(word[last].tolist(), (found[last] % len(answers)).tolist(), strict=True))
    joined = Words([])
    result = []
    for text in texts:
        parts = [text[a:b] for a, b in word_spans(text)]
        said = [answers[best[i]] if (i := words_of.get(folded(p, True), -1)) in best else p for p in parts]
        result.append(joined.join(said))
    return result
