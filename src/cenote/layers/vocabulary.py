"""What lookups share: texts as they come, hashed bins, and a vocabulary that is given or learned."""

from __future__ import annotations

import itertools
import numbers
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..core.errors import describe, unknown
from ..core.notes import find_symbolic
from ..kernels.categories import encode_host, hash_texts
from .host import HostLayer

_TOKENS = 1 << 20  # that `adapt` counts at a time
_MANY = 50_000  # words that are saved as bytes


def output_mode(layer: Any, mode: str, known: tuple[str, ...], sparse: bool) -> str:
    """The mode under its present name; Keras's older ones are taken, sparse output is refused."""
    mode = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(mode, mode)
    if mode not in known:
        raise unknown(f"output_mode of {type(layer).__name__}", mode, known)
    if sparse:
        raise ValueError(f"{type(layer).__name__}(sparse=True) is not supported: the output is a plain array; leave it out")
    return mode


# -- texts as they come ----------------------------------------------------------------------------------------------------


def array_of(x: Any) -> Any:
    """Lists of texts as arrays of objects: NumPy's own arrays of texts give each one the room of the longest."""
    if isinstance(x, (list, tuple, str, bytes)):
        array = np.array(x, dtype=object)
        numeric = array.size and all(issubclass(kind, numbers.Real) for kind in set(map(type, array.ravel().tolist())))
        return np.array(x) if numeric else array
    return x if hasattr(x, "dtype") and not hasattr(x, "iloc") else np.asarray(x)


def texts_of(layer: Any, x: np.ndarray, encoding: str = "utf-8") -> list[str]:
    """The texts of an array of any shape, one after the other."""
    if x.dtype.kind == "U":
        return x.ravel().tolist()
    flat = x.ravel().tolist()
    kinds = set(map(type, flat))
    if kinds <= {str}:
        return flat
    if all(issubclass(kind, (str, bytes)) for kind in kinds):
        return [t.decode(encoding) if isinstance(t, bytes) else str(t) for t in flat]
    which = next(i for i, t in enumerate(flat) if not isinstance(t, (str, bytes)))
    if isinstance(flat[which], (list, tuple, np.ndarray)):
        raise ValueError(f"{type(layer).__name__} takes an array of texts, but the lists in it differ in length: pad them")
    if flat[which] is None or flat[which] != flat[which]:
        raise ValueError(f"{type(layer).__name__} found no text at position {which}, but {flat[which]!r}: write '' for it")
    raise ValueError(
        f"{type(layer).__name__} takes texts, but the input is {describe(x)} with {flat[which]!r} at position {which}: use "
        f"IntegerLookup for whole numbers, or make texts of them, x.astype(str)"
    )


def whole_numbers(layer: Any, x: np.ndarray) -> np.ndarray:
    """The array as int64; texts and fractions are errors."""
    if x.dtype.kind in "iub":
        return x.astype("int64")
    try:
        floats = x.astype("float64")
    except (TypeError, ValueError):
        floats = None
    if floats is None or x.dtype.kind in "US":
        raise ValueError(f"{type(layer).__name__} takes whole numbers, but the input is {describe(x)}: texts need StringLookup")
    if not (np.isfinite(floats).all() and (floats == np.floor(floats)).all()):
        raise ValueError(f"{type(layer).__name__} takes whole numbers, but the input has fractions, NaN or infinity in it")
    return x.astype("int64")


# -- hashes ----------------------------------------------------------------------------------------------------------------


def hash_key(layer: Any, salt: Any) -> tuple[int, int] | None:
    if salt is None:
        return None
    pair = (salt, salt) if isinstance(salt, int) else tuple(salt) if isinstance(salt, (list, tuple)) else ()
    if len(pair) != 2 or not all(isinstance(s, int) and s >= 0 for s in pair):
        raise ValueError(f"{type(layer).__name__} needs salt to be a whole number from 0 up, or two of them, got {salt!r}")
    return pair


def hash_bins(values: Iterable[Any], bins: int, key: tuple[int, int] | None = None) -> np.ndarray:
    """The bin of each text, or of each whole number written in digits."""
    texts = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=object)
    if texts.dtype.kind in "iu":
        written, back = np.unique(texts, return_inverse=True)
        words = written.astype("S").tolist()
    else:
        places: dict[str, int] = {}
        back = np.fromiter((places.setdefault(t, len(places)) for t in texts.tolist()), "int64", texts.size)
        words = [t.encode() for t in places]
    return (hash_texts(words, key) % np.uint64(bins)).astype("int64")[back]


# -- vocabularies ----------------------------------------------------------------------------------------------------------


class Places(dict):
    """Where each token is; -1 for any other."""

    def __missing__(self, token: Any) -> int:
        return -1


def _packed(tokens: list[str]) -> Any:
    """Many words as one array of bytes: a model's file holds lists of up to a million entries only."""
    if len(tokens) < _MANY or any("\0" in t for t in tokens):
        return tokens
    return np.frombuffer("\0".join(tokens).encode(), "uint8")


class Vocabulary:
    """What a lookup knows; never changed, so that a new one is seen to be another."""

    def __init__(self, tokens: list, weights: np.ndarray | None) -> None:
        self.tokens, self.weights = tokens, weights
        self.cache: dict[str, Any] = {}  # tables made from it at first use


class Lookup(HostLayer):
    """What lookups share: learning a vocabulary, setting it, and what becomes of the indices."""

    integers = False
    reads_files = ("vocabulary",)  # arguments that may name a file, which no model file may

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        invert: bool,
        mode: str,
        sparse: bool,
        pad_to_max_tokens: bool,
        salt: Any = None,
        **options: Any,
    ) -> None:
        options.pop("dtype", None)  # Keras takes and drops it, too
        super().__init__(**options)
        name = type(self).__name__
        if max_tokens is not None and (not hasattr(max_tokens, "__index__") or max_tokens <= 1):
            raise ValueError(f"{name} needs max_tokens above 1 (it counts the mask and unknown words, too), got {max_tokens!r}")
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError(f"{name}(pad_to_max_tokens=True) needs max_tokens")
        if not hasattr(num_oov_indices, "__index__") or num_oov_indices < 0:
            raise ValueError(f"{name} needs num_oov_indices to be a whole number from 0 up, got {num_oov_indices!r}")
        self.output_mode = output_mode(self, mode, ("int", "one_hot", "multi_hot", "count", "tf_idf"), sparse)
        if invert and self.output_mode != "int":
            raise ValueError(f"{name}(invert=True) goes from indices to words, so output_mode must be 'int', not {mode!r}")
        self.max_tokens, self.num_oov_indices = max_tokens, int(num_oov_indices)
        self.mask_token, self.oov_token, self.invert = mask_token, oov_token, invert
        self.pad_to_max_tokens = pad_to_max_tokens
        self.salt, self._key = salt, hash_key(self, salt)
        self._known: Vocabulary | None = None
        if idf_weights is not None and vocabulary is None:
            raise ValueError(f"{name} was given idf_weights without the vocabulary that they belong to")
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    # -- the vocabulary

    @property
    def _specials(self) -> list:
        """What stands before the tokens: the mask, then the indices of unknown words."""
        masks = 1 if self.mask_token is not None and self.output_mode == "int" else 0
        return [self.mask_token] * masks + [self.oov_token] * self.num_oov_indices

    def get_vocabulary(self, include_special_tokens: bool = True) -> list:
        """The tokens in the order of their indices."""
        tokens = list(self._known.tokens) if self._known else []
        return (self._specials if include_special_tokens else []) + tokens

    def vocabulary_size(self) -> int:
        """How many indices there are, those of the mask and of unknown words included."""
        return len(self._specials) + (len(self._known.tokens) if self._known else 0)

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Give the vocabulary: a list or array of tokens, or the path of a file with one on each line."""
        name = type(self).__name__
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            say = "needs idf_weights, one for each token" if idf_weights is None else "takes no idf_weights"
            raise ValueError(f"{name} with a vocabulary and output_mode={self.output_mode!r} {say}")
        given = self._read(vocabulary)
        specials = self._specials
        found = given[: len(specials)] == specials
        tokens = given[len(specials) :] if found else given
        self._check(tokens, specials)
        weights = None
        if idf_weights is not None:
            weights = np.asarray(idf_weights, "float32")
            if weights.shape != (len(given),):
                raise ValueError(
                    f"{name} needs one idf weight for each of {len(given)} tokens, got an array of shape {weights.shape}"
                )
            if not found:  # nobody has counted unknown words: the mean will do
                weights = np.concatenate([np.full(len(specials), np.mean(weights), "float32"), weights])
        self._keep(tokens, weights, given, idf_weights)

    def _keep(self, tokens: list, weights: np.ndarray | None, given: list, idf_weights: Any) -> None:
        if weights is not None and self.pad_to_max_tokens:
            weights = np.pad(weights, (0, (self.max_tokens or 0) - len(weights)))
        self._known = Vocabulary(tokens, weights)
        kept: dict[str, Any] = {"vocabulary": np.asarray(given, "int64") if self.integers else _packed(given)}
        if idf_weights is not None:
            kept["idf_weights"] = np.asarray(idf_weights, "float32")
        self._adapted(**kept)

    def _check(self, tokens: list, specials: list) -> None:
        name = type(self).__name__
        if not tokens:
            raise ValueError(f"{name} was given an empty vocabulary")
        if len(set(tokens)) < len(tokens):
            repeated = [t for t, n in Counter(tokens).items() if n > 1]
            raise ValueError(f"{name} was given a vocabulary with repeated tokens, {repeated[:5]}: keep one of each")
        for kind, token in (("mask", self.mask_token), ("unknown", self.oov_token if self.invert else None)):
            if token is not None and token in tokens:
                raise ValueError(
                    f"{name} was given a vocabulary with the {kind} token {token!r} at position {tokens.index(token)}: leave "
                    f"such tokens out, or begin with exactly {specials}"
                )
        if self.max_tokens is not None and len(specials) + len(tokens) > self.max_tokens:
            raise ValueError(
                f"{name} was given {len(tokens)} tokens, {len(specials) + len(tokens)} with those for the mask and unknown "
                f"words, but max_tokens is {self.max_tokens}"
            )

    def _read(self, vocabulary: Any) -> list:
        """The tokens as a list, from an array, a list or a file."""
        if not isinstance(vocabulary, (str, os.PathLike)):
            array = np.asarray(array_of(vocabulary))
            if array.dtype == np.uint8 and not self.integers:
                return array.tobytes().decode().split("\0")
            if array.ndim != 1:
                raise ValueError(f"{type(self).__name__} needs a vocabulary of one axis, got shape {array.shape}")
            return self._tokens(array)
        path = Path(vocabulary)
        if not path.is_file():
            raise ValueError(f"{type(self).__name__}: the vocabulary file {str(vocabulary)!r} does not exist")
        if self.output_mode == "tf_idf":
            raise ValueError(f"{type(self).__name__}: a vocabulary file has no idf weights; give lists of both")
        lines = path.read_bytes().decode(getattr(self, "encoding", "utf-8")).split("\n")
        lines = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
        if not self.integers:
            return lines
        for number, line in enumerate(lines, 1):
            if not line.strip().lstrip("-").isdigit():
                raise ValueError(f"{vocabulary}, line {number}: {line!r} is not a whole number")
        return [int(line) for line in lines]

    # -- learning it

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Learn the vocabulary: the tokens in data, most frequent first, of equally frequent ones the greater first.

        ``data`` is an array or list, or an iterable of batches, of which ``steps`` are taken. It is read once, in pieces.
        """
        counts: Any = Counter()
        documents: Any = Counter()
        total = 0
        for piece in self._pieces(data, steps):
            total += self._count(piece, counts, documents if self.output_mode == "tf_idf" else None)
        counts, documents = self._as_tokens(counts), self._as_tokens(documents)
        for token in (self.mask_token, self.oov_token):
            counts.pop(token, None)
        if not counts:
            raise ValueError(f"{type(self).__name__}.adapt found no tokens in the data")
        tokens = sorted(sorted(counts, reverse=True), key=counts.__getitem__, reverse=True)
        if self.max_tokens is not None:
            tokens = tokens[: max(0, self.max_tokens - len(self._specials))]
        raw = weights = None
        if self.output_mode == "tf_idf":
            found = np.array([documents[t] for t in tokens], "float64")
            raw = np.log(1 + total / (1 + found)).astype("float32")
            weights = np.concatenate([np.full(len(self._specials), raw.mean(), "float32"), raw])
        self._keep(tokens, weights, tokens, raw)

    def _pieces(self, data: Any, steps: int | None) -> Iterator[np.ndarray]:
        """Documents by tokens, (document, token), some at a time."""
        if hasattr(data, "shape") or isinstance(data, (list, tuple, str, bytes)):
            array = np.atleast_1d(np.asarray(array_of(data)))
            array = array[:, None] if array.ndim == 1 else array
            rows = max(1, _TOKENS // max(1, array[0].size if len(array) else 1))
            for start in range(0, len(array), rows):
                yield array[start : start + rows]
            return
        for batch in itertools.islice(data, steps):
            array = np.atleast_1d(np.asarray(array_of(batch)))
            yield array[None] if array.ndim == 1 else array  # as in Keras: a batch of one axis is one document

    # -- what becomes of indices

    def __call__(self, x: Any, **options: Any) -> Any:
        ready = isinstance(x, jax.core.Tracer) or find_symbolic(x) is not None
        return super().__call__(x if ready else array_of(x), **options)

    def _vocabulary(self) -> Vocabulary:
        if self._known is None:
            raise ValueError(f"{type(self).__name__} has no vocabulary yet: call adapt(data) first, or give vocabulary=")
        return self._known

    @property
    def _depth(self) -> int:
        self._vocabulary()
        return (self.max_tokens or 0) if self.pad_to_max_tokens else self.vocabulary_size()

    @property
    def _mask_index(self) -> int:
        """0 where the mask has an index, a number that no vector has room for where it is dropped."""
        return 0 if self.output_mode == "int" else -2

    def _settle(self, found: np.ndarray, tokens: Any) -> np.ndarray:
        """Indices with those of unknown tokens, -1 so far, filled in."""
        missing = np.flatnonzero(found == -1)
        if not missing.size:
            return found
        first = len(self._specials) - self.num_oov_indices
        if self.num_oov_indices == 1:
            found[missing] = first
            return found
        lost = tokens[missing] if isinstance(tokens, np.ndarray) else [tokens[i] for i in missing.tolist()]
        if self.num_oov_indices == 0:
            shown = [t.item() if hasattr(t, "item") else t for t in list(lost[:5])]
            raise ValueError(
                f"{type(self).__name__}(num_oov_indices=0) found tokens that are not in its vocabulary, {shown}: say "
                f"num_oov_indices=1 to give them an index"
            )
        found[missing] = first + self._bucket(lost)
        return found

    def _bucket(self, tokens: Any) -> np.ndarray:
        return hash_bins(tokens, self.num_oov_indices, self._key)

    def prepare(self, x: np.ndarray) -> np.ndarray:
        known = self._vocabulary()
        if self.invert:
            return self._inverse(known, whole_numbers(self, x))
        found = self._find(known, x).reshape(x.shape)
        if self.output_mode == "int":
            return found
        vectors = encode_host(found, "count" if self.output_mode == "tf_idf" else self.output_mode, self._depth)
        return vectors if known.weights is None else vectors * known.weights

    def on_host(self, spec: Any, free: int = 2) -> Any:
        shape = tuple(spec.shape)
        if self.output_mode == "int":
            return jax.ShapeDtypeStruct(shape, np.dtype(str) if self.invert and not self.integers else np.dtype("int32"))
        one_by_one = self.output_mode == "one_hot" and not (len(shape) > 1 and shape[-1] == 1)
        return jax.ShapeDtypeStruct((*(shape if one_by_one else shape[:-1]), self._depth), np.dtype("float32"))

    # -- what each kind does its own way

    def _tokens(self, array: np.ndarray) -> list:
        raise NotImplementedError

    def _as_tokens(self, counts: Counter) -> Any:
        """What was counted, in the form in which the vocabulary is kept."""
        return counts

    def _count(self, piece: Any, counts: Counter, documents: Counter | None) -> int:
        raise NotImplementedError

    def _find(self, known: Vocabulary, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _inverse(self, known: Vocabulary, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError
