"""The readers of files from outside: right on honest files, and harmless on hostile ones."""

from __future__ import annotations

import ast
import gzip
import io
import pickle  # only to make honest and hostile files
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import cenote.datasets
from cenote.datasets import archive, objects
from cenote.datasets.objects import BadFile

ROWS = [[1, 14, 22], [], [70_000, 255, 256, 65_535, 65_536, -1, -(2**31)], [5] * 3000, [2**40, -(2**62)]]


def ragged(rows):
    array = np.empty(len(rows), object)
    array[:] = [list(row) for row in rows]
    return array


def npy(array, stream):
    """An .npy file of an object array with this pickle inside."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": array.shape})
    return file.getvalue() + stream


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


def python2(rows):
    """What Python 2's cPickle wrote: byte strings for text, and a memo entry for every list."""
    body = b"".join(
        b"]r" + struct.pack("<I", 100 + i) + b"(" + b"".join(b"J" + struct.pack("<i", n) for n in row) + b"e"
        for i, row in enumerate(rows)
    )
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K" + bytes([len(rows)]) + b"\x85cnumpy\ndtype\nq\x04U\x02O8K\x00K\x01\x87Rq\x05"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89](" + body + b"etb."
    )


def cifar_batch(pixels, labels):
    """A batch of the Python edition of CIFAR, in the instructions that Python 2's cPickle used."""
    raw = pixels.tobytes()
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x04testq\x03U\x06labelsq\x04]q\x05("
        + b"".join(b"K" + bytes([label]) for label in labels)
        + b"eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t"
        + b"(K\x01K"
        + bytes([len(pixels)])
        + b"M\x00\x0c\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(raw))
        + raw
        + b"tbU\tfilenamesq\x0c](U\x05a.pngq\rU\x05b.pngeu."
    )


def gz(path, data):
    path.write_bytes(gzip.compress(data, 1))
    return path


def tar_gz(path, **members):
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_object_arrays_of_every_protocol(tmp_path, protocol):
    array = ragged(ROWS)
    path = npz(tmp_path / "a.npz", x=npy(array, pickle.dumps(array, protocol)))
    found = archive.read_npz(path, 10**6)["x"]
    assert [row.tolist() for row in found] == ROWS and found[0].dtype == np.int64


def test_object_arrays_of_python_2():
    rows = [[1, 2], [], [70_000, -1]]
    stream = python2(rows)
    # The sample is a real one if Python itself can read it.
    assert [list(row) for row in pickle.loads(stream, encoding="latin1")] == rows
    assert [row.tolist() for row in objects.sequences(objects.rebuild(stream), 10**6)] == rows


def test_cifar_batches_of_python_2():
    pixels = np.random.RandomState(0).randint(0, 256, (2, 3072), np.uint8)
    stream = cifar_batch(pixels, [3, 9])
    assert np.array_equal(pickle.loads(stream, encoding="bytes")[b"data"], pixels)
    found = objects.rebuild(stream)
    assert np.array_equal(found["data"].content, pixels)
    assert objects.integers(found["labels"]).tolist() == [3, 9]


def test_npz_reads_what_numpy_writes(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "b": np.asfortranarray(np.random.rand(3, 4)),
        "c": np.array(7.5),
        "d": np.zeros((0, 5), np.float32),
        "e": np.array(["x", "yz"]),
        "f": ragged(ROWS),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = archive.read_npz(tmp_path / "a.npz", 10**6)
    for name in "abcde":
        assert np.array_equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype
        assert found[name].flags.writeable
    assert [row.tolist() for row in found["f"]] == ROWS


class Touch:
    """Unpickling this with Python's own machine would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_hostile_object_array_runs_nothing(tmp_path):
    mark = tmp_path / "mark"
    array = np.empty(2, object)
    array[:] = [[1], Touch(mark)]
    path = npz(tmp_path / "a.npz", x=npy(array, pickle.dumps(array, 2)))
    with pytest.raises(BadFile, match=r"a\.npz: it asks for .*open, which Cenote refuses"):
        archive.read_npz(path, 10**6)
    assert not mark.exists()


HEAD = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
O8 = b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R"


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval"),
        (b"\x80\x02cnumpy\nload\nU\x04file\x85R.", "numpy.load"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\n.", "scalar"),
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", "calls ndarray in an unknown way"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.", "calls encode in an unknown way"),
        (b"\x80\x02ccopyreg\n_reconstructor\n.", "copyreg"),
        (b"(i__main__\nf\n.", "instruction 0x69"),
        (b"\x80\x02\x82\x01.", "instruction 0x82"),
        (b"\x80\x02Pabc\n.", "instruction 0x50"),
        (b"\x80\x02}K\x01K\x02s.", "key that is not a string"),
        (b"\x80\x02}U\x01aK\x02s(b.", "byte"),
        (b"\x80\x02e.", "damaged"),
        (b"\x80\x02](K\x01K\x02.", "damaged"),
        (b"\x80\x02U\xffabc.", "too early"),
        (b"\x80\x02T\xff\xff\xff\xffabc.", "too early"),
        (b"\x80\x02\x8a\xff\x01.", "too early"),
        (b"\x80\x02h\x07.", "damaged"),
        (HEAD + b"(K\x01K\x05\x85" + O8 + b"\x89](K\x01etb.", "length"),
        (HEAD + b"(K\x01J\xff\xff\xff\xff\x85" + O8 + b"\x89](K\x01etb.", "length"),
        (HEAD + b"(K\x01K\x01\x85U\x02O8\x89](K\x01etb.", "something other than an array"),
        (HEAD + b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02V8K\x00K\x01\x87R\x89U\x08abcdefghtb.", "type V8"),
        (b"\x80\x02K\x01.", "expected an array"),
        (HEAD + b"(K\x01K\x01\x85" + O8 + b"\x89](U\x01aetb.", "list of integers"),
        (HEAD + b"(K\x01K\x01\x85" + O8 + b"\x89](](U\x01aeetb.", "found bytes in it"),
        (HEAD + b"(K\x01K\x01\x85" + O8 + b"\x89](](\x88eetb.", "found bool in it"),
    ],
)
def test_every_other_wish_is_refused(stream, reason):
    with pytest.raises(BadFile, match=reason):
        objects.sequences(objects.rebuild(stream), len(stream))


def test_one_list_many_times_does_not_fill_the_memory():
    rows = b"](" + b"K\x01" * 50_000 + b"e" + b"q\x01" + b"h\x01" * 65_000
    stream = HEAD + b"(K\x01M\xe9\xfd\x85" + O8 + b"\x89](" + rows + b"etb."
    with pytest.raises(BadFile, match="over and over"):
        objects.sequences(objects.rebuild(stream), len(stream))


def test_lists_without_end_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(objects, "MOST_STEPS", 1000)
    for stream in (b"\x80\x02" + b"]" * 2000 + b".", b"\x80\x02(" + b"K\x01" * 2000 + b"t."):
        with pytest.raises(BadFile, match="more than 1,000 instructions"):
            objects.rebuild(stream)
    assert len(objects.integers(objects.rebuild(b"\x80\x02](" + b"K\x01" * 2000 + b"e."))) == 2000


def test_a_list_that_holds_itself_is_refused():
    stream = HEAD + b"(K\x01K\x01\x85" + O8 + b"\x89](]q\x01h\x01aetb."
    with pytest.raises(BadFile, match="found list in it"):
        objects.sequences(objects.rebuild(stream), len(stream))


def test_damage_ends_in_bad_file_and_nothing_else():
    random = np.random.RandomState(0)
    array = ragged([[1, 300, 70_000], [2] * 5, []])
    streams = [pickle.dumps(array, 2), pickle.dumps(array, 4), python2([[1, 2], [3]])]
    streams.append(cifar_batch(np.zeros((2, 3072), np.uint8), [0, 1])[:200])
    for stream in streams:
        for cut in range(len(stream)):
            with pytest.raises(BadFile):
                objects.sequences(objects.rebuild(stream[:cut]), 10**4)
        for _ in range(1500):
            damaged = bytearray(stream)
            for at in random.randint(0, len(stream), random.randint(1, 4)):
                damaged[at] = random.randint(256)
            try:
                rows = objects.sequences(objects.rebuild(bytes(damaged)), 10**4)
            except BadFile:
                continue
            assert all(row.dtype == np.int64 for row in rows)


def test_a_damaged_header_ends_in_bad_file_and_nothing_else(tmp_path):
    random = np.random.RandomState(1)
    file = io.BytesIO()
    np.save(file, np.arange(4.0, dtype="<f4"))
    for _ in range(2000):
        damaged = bytearray(file.getvalue())
        for at in random.randint(0, 80, random.randint(1, 4)):
            damaged[at] = random.randint(256)
        try:
            archive._npy(bytes(damaged), Path("x.npz"))
        except BadFile:
            continue
    for code in ("<U0", "|b3", "|S99999999999999999999", "|O9"):
        header = f"{{'descr': '{code}', 'fortran_order': False, 'shape': (1000000000000,), }}\n".encode()
        with pytest.raises(BadFile):
            archive._npy(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header, Path("x.npz"))


def test_npz_bombs_and_damage(tmp_path):
    path = npz(tmp_path / "bomb.npz", x=bytes(10**7))
    with pytest.raises(BadFile, match="unpacks to more"):
        archive.read_npz(path, 10**6)
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }"
    path = npz(tmp_path / "claims.npz", x=header.ljust(127) + b"\n" + b"abc")
    with pytest.raises(BadFile, match="3 bytes for an array"):
        archive.read_npz(path, 10**6)
    for name, data in {
        "empty": b"",
        "magic": b"\x93NUMPX\x01\x00",
        "header": b"\x93NUMPY\x01\x00\x03\x00__(",
        "dates": b"\x93NUMPY\x01\x00\x40\x00{'descr': '<M8[s]', 'fortran_order': False, 'shape': (0,), }".ljust(73) + b"\n",
    }.items():
        with pytest.raises(BadFile, match=f"{name}.npz: not an array"):
            archive.read_npz(npz(tmp_path / f"{name}.npz", x=data), 10**6)
    np.savez(tmp_path / "whole.npz", x=np.arange(1000))
    whole = (tmp_path / "whole.npz").read_bytes()
    for damaged in (b"", whole[:500], whole[:300] + b"damage" + whole[306:]):
        (tmp_path / "part.npz").write_bytes(damaged)
        with pytest.raises(BadFile, match=r"part\.npz"):
            archive.read_npz(tmp_path / "part.npz", 10**6)


def test_gzip_bombs_and_damage(tmp_path):
    assert archive.gunzip(gz(tmp_path / "a.gz", b"abc"), 3) == b"abc"
    with pytest.raises(BadFile, match="unpacks to more"):
        archive.gunzip(gz(tmp_path / "b.gz", bytes(10**7)), 10**6)
    (tmp_path / "c.gz").write_bytes(gzip.compress(bytes(range(256)) * 50)[:-40])
    (tmp_path / "d.gz").write_bytes(b"not gzip")
    for name in "cd":
        with pytest.raises(BadFile, match="not a whole gzip"):
            archive.gunzip(tmp_path / f"{name}.gz", 10**6)


def test_tar_reads_wanted_files_and_writes_none(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("../escape.bin", "/tmp/escape.bin", "good.bin"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    assert dict(archive.members(path, 10**6, lambda name: name == "good.bin")) == {"good.bin": b"abc"}
    assert "link.bin" not in dict(archive.members(path, 10**6, lambda name: True))
    assert sorted(tmp_path.rglob("*")) == before


def test_tar_bombs_and_damage(tmp_path):
    path = tar_gz(tmp_path / "a.tar.gz", big=bytes(10**7), small=b"abc")
    with pytest.raises(BadFile, match="unpacks to more"):
        dict(archive.members(path, 10**6, lambda name: name == "small"))
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a" * 10**7))  # a header of ten megabytes
    with pytest.raises(BadFile, match="unpacks to more"):
        dict(archive.members(tmp_path / "b.tar.gz", 10**6, lambda name: True))
    (tmp_path / "c.tar.gz").write_bytes(path.read_bytes()[:2000])
    gz(tmp_path / "d.tar.gz", b"not a tar archive" * 100)
    for name in "cd":
        with pytest.raises(BadFile, match="not a whole tar"):
            dict(archive.members(tmp_path / f"{name}.tar.gz", 10**8, lambda name: True))


def test_idx(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    data = b"\0\0\x08\x03" + struct.pack(">III", 2, 3, 4) + values.tobytes()
    assert np.array_equal(archive.read_idx(gz(tmp_path / "a.gz", data), 1000), values)
    for name, bad in {
        "short": data[:-1],
        "long": data + b"x",
        "floats": b"\0\0\x0d" + data[3:],
        "rank": b"\0\0\x08\x00" + data[4:],
        "empty": b"",
        "stump": data[:6],
    }.items():
        with pytest.raises(BadFile, match=f"{name}.gz: not an IDX file"):
            archive.read_idx(gz(tmp_path / f"{name}.gz", bad), 1000)


def test_the_package_imports_numpy_and_the_standard_library_only():
    allowed = sys.stdlib_module_names - {"pickle", "shelve", "marshal", "_pickle"} | {"numpy", "cenote"}
    found = {}
    for path in Path(cenote.datasets.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("cenote") or name.startswith("cenote.datasets"), (path, name)
                found.setdefault(name.partition(".")[0], path.name)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), path
    assert {name: path for name, path in found.items() if name not in allowed - {"msvcrt"}} == {
        "rich": "fetch.py",
        "PIL": "cifar.py",
        "msvcrt": "fetch.py",
    }
