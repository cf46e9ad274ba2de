"""Files that appear whole or not at all: atomic writes, and tensors with their description in one safetensors file.

A `.cenote` file and a checkpoint are plain safetensors: any tool that reads safetensors opens them. The description is JSON
in the header's metadata, and a SHA-256 over description and tensors tells a damaged file from a good one. Nothing in such a
file is ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import struct
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - with it, NumPy knows bfloat16 and float8 by name
import numpy as np

MAX_HEADER = 64 << 20  # bytes of JSON that we are willing to parse

_DTYPES = {  # what safetensors calls them
    **{f"F{n}": f"float{n}" for n in (16, 32, 64)},
    **{f"I{n}": f"int{n}" for n in (8, 16, 32, 64)},
    **{f"U{n}": f"uint{n}" for n in (8, 16, 32, 64)},
    **{"BOOL": "bool", "C64": "complex64", "BF16": "bfloat16", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
    **{"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
}


class BadFile(ValueError):
    """A file that is not what it should be: truncated, altered, or of another kind."""


def write_atomically(path: str | os.PathLike, *pieces: bytes | memoryview) -> Path:
    """Write a file so that others see the old one or the new one, never a part; an error names the path and the cure."""
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The system applies the umask itself: to ask for it is to change it, for all threads.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C, too, leaves nothing half written behind
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        kept = "the old file is untouched" if path.exists() else "no file was left"
        size = sum(map(len, pieces))
        raise type(error)(
            error.errno,
            f"could not write {path} ({size:,} bytes): {error.strerror}; {kept}; free some space or choose a folder that "
            f"you may write to",
        ) from error
    return path


def save_tensors(path: str | os.PathLike, tensors: dict[str, Any], info: dict[str, Any], *, kind: str) -> Path:
    """Write arrays by name, and a JSON-able description, as one safetensors file of a kind ("model", "checkpoint")."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in tensors.items()}
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES.values():
            raise ValueError(f"{path}: {name!r} is an array of {array.dtype}, which such a file cannot hold: convert it before")
    text = json.dumps(info, ensure_ascii=False, allow_nan=True)
    metadata = {"format": "cenote", "kind": kind, "info": text, "sha256": _digest(kind, text, arrays)}
    return write_atomically(path, *_ordered(save(arrays, metadata)))


def _ordered(data: bytes) -> tuple[bytes, memoryview]:
    """The same file with its metadata in one order (safetensors takes another one each time): equal models, equal files."""
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, memoryview(data)[begin:]


def load_tensors(path: str | os.PathLike, *, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read such a file back, ``(arrays, info)``; raises BadFile if it is damaged, foreign, or of another kind."""
    from safetensors import SafetensorError, deserialize

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}" + ("" if path.parent.exists() else f" (nor a folder {path.parent})"))
    data = path.read_bytes()
    metadata = _metadata(path, data)
    try:
        arrays = {name: _array(found) for name, found in deserialize(data)}
        info = json.loads(metadata["info"])
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise BadFile(f"{path} is damaged and cannot be read: {error}") from error
    if not isinstance(info, dict):
        raise BadFile(f"{path} is damaged: its description is no JSON object")
    if metadata.get("kind") != kind:
        raise BadFile(f"{path} is a Cenote {metadata.get('kind')} file, not a {kind} file")
    if _digest(kind, metadata["info"], arrays) != metadata.get("sha256"):
        raise BadFile(f"{path} is damaged: its contents do not match its checksum")
    return arrays, info


def _array(found: dict[str, Any]) -> np.ndarray:
    # safetensors.numpy.load knows neither bfloat16 nor float8, although its save does.
    if found["dtype"] not in _DTYPES:
        raise ValueError(f"it holds tensors of type {found['dtype']}, which this version does not know")
    return np.frombuffer(found["data"], np.dtype(_DTYPES[found["dtype"]])).reshape(found["shape"])


def _metadata(path: Path, data: bytes) -> dict[str, str]:
    problem = "is not a Cenote file"
    if len(data) >= 8:
        (size,) = struct.unpack("<Q", data[:8])
        if size > min(MAX_HEADER, len(data) - 8):
            problem = f"is truncated or not a Cenote file ({len(data):,} bytes, but its header claims {size:,})"
        else:
            with contextlib.suppress(ValueError, RecursionError, AttributeError):
                metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
                if metadata.get("format") == "cenote":
                    return metadata
    raise BadFile(f"{path} {problem}")


def _digest(kind: str, text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(f"{kind}\n{text}\n".encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
