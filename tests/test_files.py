"""Files that appear whole or not at all, of arrays of every type."""

import os
import threading

import ml_dtypes
import numpy as np
import pytest

from cenote import files
from cenote.files import BadFile, load_tensors, save_tensors, write_atomically

SMALL = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
USUAL = ["float16", "float32", "float64", "int8", "int64", "uint8", "uint32", "bool", "complex64"]


def test_arrays_of_every_type_come_back(tmp_path):
    arrays = {name: np.array([[1, 0.5, 2]]).astype(np.dtype(name)) for name in USUAL}
    arrays |= {name: np.array([[1, 0.5, 2]], "float32").astype(getattr(ml_dtypes, name)) for name in SMALL}
    save_tensors(tmp_path / "a", arrays, {}, kind="test")
    found, _ = load_tensors(tmp_path / "a", kind="test")
    assert {k: (v.dtype, v.shape, v.tobytes()) for k, v in found.items()} == {
        k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays.items()
    }


def test_equal_contents_are_equal_files(tmp_path):
    """safetensors itself writes metadata in an order that differs between calls."""
    found = set()
    for i in range(8):
        found.add(
            save_tensors(tmp_path / f"{i}", {"b": np.ones(3), "a": np.zeros((2, 0))}, {"é": 1}, kind="model").read_bytes()
        )
    assert len(found) == 1 and load_tensors(tmp_path / "0", kind="model")[1] == {"é": 1}


def test_an_array_that_no_file_can_hold_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"'w' is an array of complex128.*convert it before"):
        save_tensors(tmp_path / "a", {"w": np.zeros(2, "complex128")}, {}, kind="test")
    assert not list(tmp_path.iterdir())


def test_a_header_or_description_that_is_no_object_is_refused(tmp_path):
    save_tensors(tmp_path / "a", {}, [1], kind="test")  # type: ignore[arg-type]
    with pytest.raises(BadFile, match="no JSON object"):
        load_tensors(tmp_path / "a", kind="test")
    for text in (b"[1]", b'{"__metadata__": [1]}', b'{"__metadata__": null}'):
        (tmp_path / "b").write_bytes(len(text).to_bytes(8, "little") + text)
        with pytest.raises(BadFile, match="is not a Cenote file"):
            load_tensors(tmp_path / "b", kind="test")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_file_gets_the_mode_that_the_umask_says_and_the_umask_is_left_alone(tmp_path, monkeypatch):
    old = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to all threads"))
        path = write_atomically(tmp_path / "a", b"abc")
    finally:
        monkeypatch.undo()
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640 and path.read_bytes() == b"abc"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")], ids=["ctrl-c", "full"])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_nothing_half_written_is_left(tmp_path, monkeypatch, stop, where):
    def stopped(*_):
        raise stop

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(files.os, where, stopped)
    with pytest.raises((KeyboardInterrupt, OSError)):
        write_atomically(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_many_threads_write_one_file(tmp_path):
    contents = [bytes([i]) * 1000 for i in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(tmp_path / "a", c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() in contents
