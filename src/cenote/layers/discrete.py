"""Categories: whole numbers and words as indices and vectors, by a vocabulary or by a hash."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import describe, unknown
from ..core.notes import find_symbolic
from ..kernels.categories import combine_hashes, encode, encode_host, hash_texts
from .base import Layer
from .check import positive
from .host import HostLayer
from .vocabulary import Lookup, Places, Vocabulary, array_of, hash_bins, hash_key, texts_of, whole_numbers
from .vocabulary import output_mode as known_mode

__all__ = ["CategoryEncoding", "HashedCrossing", "Hashing", "IntegerLookup", "StringLookup"]


class CategoryEncoding(Layer):
    """Whole numbers below ``num_tokens`` as vectors: ``one_hot`` for each, ``multi_hot`` or ``count`` for all of an example.

    In ``count`` mode the call takes ``count_weights``, one for each number. A number outside 0 to ``num_tokens - 1`` adds
    nothing. Shapes: (..., number) -> (..., token); one_hot (...) -> (..., token), or (..., 1) -> (..., token).

    >>> import numpy as np
    >>> CategoryEncoding(4)(np.array([[0, 1], [3, 3]])).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        if num_tokens is None:
            raise ValueError("CategoryEncoding needs num_tokens; where it is not known, IntegerLookup finds it by adapt(data)")
        self.num_tokens = positive(self, "num_tokens", num_tokens)
        self.output_mode = known_mode(self, output_mode, ("one_hot", "multi_hot", "count"), sparse)

    def forward(self, x: Any, count_weights: Any = None) -> jax.Array:
        if count_weights is not None and self.output_mode != "count":
            raise ValueError(f"CategoryEncoding takes count_weights only with output_mode='count', not {self.output_mode!r}")
        if count_weights is not None and jnp.shape(count_weights) != jnp.shape(x):
            raise ValueError(
                f"CategoryEncoding takes a weight for each number: the input has shape {jnp.shape(x)}, but count_weights "
                f"has shape {jnp.shape(count_weights)}"
            )
        dtype = jnp.float32 if count_weights is None else jnp.result_type(count_weights, jnp.bfloat16)
        return encode(jnp.asarray(x).astype(jnp.int32), self.output_mode, self.num_tokens, count_weights, dtype)


# -- hashes ----------------------------------------------------------------------------------------------------------------


class Hashing(HostLayer):
    """Words or whole numbers to bins by a stable hash: ``bin = hash(text) mod num_bins``, with no vocabulary to learn.

    FarmHash64 of the text (of a number's digits); with ``salt`` SipHash-2-4, whose bins nobody can foresee without it.
    ``mask_value`` goes to bin 0, and the rest to the others. Modes as in `CategoryEncoding`, and ``int``.
    Shapes: (...) -> (...), or vectors of ``num_bins``.
    Source: Weinberger et al. 2009, arXiv:0902.2206.

    >>> Hashing(3)([["A"], ["B"], ["E"]]).tolist()
    [[1], [0], [2]]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.num_bins = positive(self, "num_bins", num_bins)
        self.output_mode = known_mode(self, output_mode, ("int", "one_hot", "multi_hot", "count"), sparse)
        self.mask_value, self.salt = mask_value, salt
        self._key = hash_key(self, salt)

    def __call__(self, x: Any, **options: Any) -> Any:
        return super().__call__(x if find_symbolic(x) is not None else array_of(x), **options)

    def prepare(self, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind in "fiub":
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                raise ValueError("Hashing found NaN or infinity, which belong to no bin: fill them first")
            flat = x.astype("int64").ravel()
            masked = x.ravel() == self.mask_value
        else:
            flat = np.array(texts_of(self, x), dtype=object)
            masked = flat == self.mask_value
        kept = self.mask_value is not None and self.num_bins > 1
        bins = hash_bins(flat, self.num_bins - kept, self._key)
        if kept:
            bins = np.where(masked, 0, bins + 1)
        bins = bins.reshape(x.shape)
        return bins if self.output_mode == "int" else encode_host(bins, self.output_mode, self.num_bins)


class HashedCrossing(HostLayer):
    """Two or more features as one: the bin of the hash of their values together, ``hash(a, b) mod num_bins``.

    Called on a list or tuple of arrays of texts or whole numbers. ``output_mode="one_hot"`` gives vectors.
    Shapes: (batch) or (batch, 1) each -> the same, or (batch, bin).

    >>> HashedCrossing(5)((["A", "B", "A"], [101, 101, 102])).tolist()
    [1, 4, 3]
    """

    def __init__(self, num_bins: int, output_mode: str = "int", sparse: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.num_bins = positive(self, "num_bins", num_bins)
        self.output_mode = known_mode(self, output_mode, ("int", "one_hot"), sparse)

    def __call__(self, x: Any, **options: Any) -> Any:
        if not isinstance(x, (list, tuple)) or len(x) < 2:
            raise ValueError(f"HashedCrossing takes a list or tuple of at least two features, got {describe(x)}")
        symbolic = find_symbolic(x)
        if symbolic is not None:
            return symbolic.record(self, (x,), {})
        if any(isinstance(a, jax.core.Tracer) for a in x):
            return self.forward(x)
        return self.prepare([np.asarray(array_of(a)) for a in x])

    def on_host(self, *specs: Any, free: int = 2) -> Any:
        return jax.eval_shape(lambda: self.prepare([np.zeros(s.shape, "int64") for s in specs]))

    def prepare(self, x: Any) -> np.ndarray:
        shape = x[0].shape
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1) or any(a.shape != shape for a in x):
            shown = ", ".join(str(a.shape) for a in x)
            raise ValueError(f"HashedCrossing takes features of equal shape, (batch) or (batch, 1), got {shown}")
        total = np.full(x[0].size, np.uint64(0xDECAFCAFFE))  # TensorFlow's start value
        for a in x:
            words = not (a.dtype.kind in "iub" or (a.dtype.kind == "O" and all(isinstance(v, int) for v in a.flat)))
            if a.dtype.kind == "f":
                raise ValueError(
                    f"HashedCrossing takes texts or whole numbers, but a feature is {describe(a)}: make bins of it"
                )
            hashes = (
                hash_texts([t.encode() for t in texts_of(self, a)]) if words else a.ravel().astype("int64").astype("uint64")
            )
            total = combine_hashes(total, hashes)
        bins = (total % np.uint64(self.num_bins)).astype("int64").reshape(shape)
        return bins if self.output_mode == "int" else encode_host(bins, "one_hot", self.num_bins)


# -- lookups ----------------------------------------------------------------------------------------------------------------


class StringLookup(Lookup):
    """Words to indices by a vocabulary, given or learned by ``adapt``; ``invert=True`` goes from indices to words.

    Index 0 is the mask (if ``mask_token`` is given and the output is ``int``), then come ``num_oov_indices`` for unknown words
    (several: by the word's hash), then the vocabulary. ``output_mode`` makes vectors of indices: ``one_hot`` of each word;
    ``multi_hot``, ``count`` and ``tf_idf`` of all words of an example, in which a mask counts nothing.
    tf_idf = count * log(1 + documents / (1 + documents with the word)).
    Shapes: (...) -> (...), or (..., word) -> (..., index) for vectors.
    Raises: ValueError without a vocabulary, for repeated tokens, a missing file, inputs that are no texts, and for unknown
    words with ``num_oov_indices=0``.

    >>> layer = StringLookup()
    >>> layer.adapt(["b", "a", "a"])
    >>> layer.get_vocabulary(), layer([["a", "b", "c"]]).tolist()
    (['[UNK]', 'a', 'b'], [[1, 2, 0]])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str | None = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        **options: Any,
    ) -> None:
        self.encoding = encoding
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary,
            idf_weights,
            invert,
            output_mode,
            sparse,
            pad_to_max_tokens,
            salt,
            name=name,
            **options,
        )

    def _tokens(self, array: np.ndarray) -> list:
        return texts_of(self, array, self.encoding)

    def _count(self, piece: Any, counts: Counter, documents: Counter | None) -> int:
        texts = texts_of(self, piece, self.encoding)
        counts.update(texts)
        if documents is not None:
            width = max(1, len(texts) // len(piece))
            documents.update(itertools.chain.from_iterable(set(texts[i : i + width]) for i in range(0, len(texts), width)))
        return len(piece)

    def _places(self, known: Vocabulary) -> dict:
        if "places" not in known.cache:
            places = Places(zip(known.tokens, itertools.count(len(self._specials))))
            if self.mask_token is not None:
                places[self.mask_token] = self._mask_index
            known.cache["places"] = places
        return known.cache["places"]

    def _find(self, known: Vocabulary, x: np.ndarray) -> np.ndarray:
        texts = texts_of(self, x, self.encoding)
        found = np.fromiter(map(self._places(known).__getitem__, texts), "int64", len(texts))
        return self._settle(found, texts)

    def _inverse(self, known: Vocabulary, x: np.ndarray) -> np.ndarray:
        if "words" not in known.cache:
            known.cache["words"] = np.array([*self._specials, *known.tokens, self.oov_token], dtype=object)
        words = known.cache["words"]
        return words[np.where((x >= 0) & (x < len(words) - 1), x, len(words) - 1)].astype(str)


class IntegerLookup(Lookup):
    """Whole numbers of any size to indices without gaps, by a vocabulary given or learned by ``adapt``.

    As `StringLookup`. Unknown numbers share ``num_oov_indices`` by ``number mod num_oov_indices``, or by their hash with
    ``oov_method="farmhash"``. It also works inside a compiled model, for vocabularies that int32 can hold.

    >>> import numpy as np
    >>> layer = IntegerLookup(vocabulary=[12, 36, 1138, 42])
    >>> layer(np.array([[12, 1138, 42], [42, 1000, 36]])).tolist()
    [[1, 3, 4], [4, 0, 2]]
    """

    integers = True

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int | None = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ValueError(f"IntegerLookup takes vocabulary_dtype='int64' only, got {vocabulary_dtype!r}")
        if oov_method not in ("floormod", "farmhash"):
            raise unknown("oov_method of IntegerLookup", oov_method, ["floormod", "farmhash"])
        if salt is not None and oov_method != "farmhash":
            raise ValueError(f"IntegerLookup takes a salt only with oov_method='farmhash', not {oov_method!r}")
        self.oov_method = oov_method
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary,
            idf_weights,
            invert,
            output_mode,
            sparse,
            pad_to_max_tokens,
            salt,
            name=name,
            **options,
        )

    def _tokens(self, array: np.ndarray) -> list:
        return whole_numbers(self, array).tolist()

    def _count(self, piece: Any, counts: Counter, documents: Counter | None) -> int:
        numbers = whole_numbers(self, piece).reshape(len(piece), -1)
        for counter, values in ((counts, numbers), (documents, None)):
            if counter is None:
                continue
            if values is None:  # each number once in each document
                ordered = np.sort(numbers, 1)
                values = ordered[np.pad(ordered[:, 1:] != ordered[:, :-1], ((0, 0), (1, 0)), constant_values=True)]
            tokens, times = np.unique(values, return_counts=True)
            counter.update(dict(zip(tokens.tolist(), times.tolist(), strict=True)))
        return len(piece)

    def _table(self, known: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
        """The tokens in order of size, and the index of each."""
        if "table" not in known.cache:
            tokens, start = np.asarray(known.tokens, "int64"), len(self._specials)
            indices = np.arange(start, start + len(tokens))
            if self.mask_token is not None:
                tokens, indices = np.append(tokens, int(self.mask_token)), np.append(indices, self._mask_index)
            order = np.argsort(tokens)
            known.cache["table"] = tokens[order], indices[order]
        return known.cache["table"]

    def _bucket(self, tokens: Any) -> np.ndarray:
        return tokens % self.num_oov_indices if self.oov_method == "floormod" else super()._bucket(tokens)

    def _find(self, known: Vocabulary, x: np.ndarray) -> np.ndarray:
        numbers = whole_numbers(self, x).ravel()
        tokens, indices = self._table(known)
        place = np.minimum(np.searchsorted(tokens, numbers), len(tokens) - 1)
        return self._settle(np.where(tokens[place] == numbers, indices[place], -1), numbers)

    def _inverse(self, known: Vocabulary, x: np.ndarray) -> np.ndarray:
        table = np.array([*self._specials, *known.tokens, -1 if self.oov_token is None else self.oov_token], "int64")
        return table[np.where((x >= 0) & (x < len(table) - 1), x, len(table) - 1)]

    def forward(self, x: Any) -> jax.Array:
        """The same inside a compiled computation."""
        known = self._vocabulary()
        x = jnp.asarray(x)
        if not jnp.issubdtype(x.dtype, jnp.integer):
            x = x.astype(jnp.int32)
        if self.invert:
            table = jnp.asarray(self._inverse(known, np.arange(self.vocabulary_size() + 1)))
            return table[jnp.where((x >= 0) & (x < len(table) - 1), x, len(table) - 1)]
        tokens, indices = self._table(known)
        limits = jnp.iinfo(x.dtype)
        if not jax.config.jax_enable_x64 and np.abs(tokens).max() > np.iinfo("int32").max:  # type: ignore[attr-defined]
            raise ValueError(
                "IntegerLookup knows numbers beyond int32, which a compiled model cuts off: put it first in the model"
            )
        if self.num_oov_indices == 0 or (self.num_oov_indices > 1 and self.oov_method != "floormod"):
            raise ValueError(
                "IntegerLookup with num_oov_indices=0 or oov_method='farmhash' works on the host: put it first in the model"
            )
        inside = (tokens >= limits.min) & (tokens <= limits.max)
        if not inside.any():
            found, hit = jnp.zeros(x.shape, jnp.int32), jnp.zeros(x.shape, bool)
        else:
            keys, values = jnp.asarray(tokens[inside], x.dtype), jnp.asarray(indices[inside], jnp.int32)
            place = jnp.minimum(jnp.searchsorted(keys, x), len(keys) - 1)
            found, hit = values[place], keys[place] == x
        first = len(self._specials) - self.num_oov_indices
        lost = first + (x.astype(jnp.int32) % self.num_oov_indices)
        found = jnp.where(hit, found, lost)
        if self.output_mode == "int":
            return found
        vectors = encode(found, "count" if self.output_mode == "tf_idf" else self.output_mode, self._depth)
        return vectors if known.weights is None else vectors * known.weights
