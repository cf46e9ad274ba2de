"""Where data sets are looked for: the order of places, what counts, and the message when there is nothing."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest

from cenote import datasets
from cenote.datasets import fashion_mnist, mnist, store
from cenote.datasets.fetch import fetch
from cenote.datasets.store import DataSet, File, Form

CONTENT = b"the published bytes"


@pytest.fixture
def text(server):
    """A data set of one file on the server."""
    checksum = server.add("file", CONTENT)
    file = File("folder/file", len(CONTENT), checksum, (server.url("missing"), server.url("ok")))
    return DataSet("text", "a line of text", "https://example.org", (Form((file,), lambda path: path.read_bytes()),))


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tiny_mnist(server, name="mnist"):
    """Four small IDX files on the server, and the form that reads them."""
    images = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
    files = []
    for split in ("train", "t10k"):
        for kind, data in (
            ("images-idx3", b"\0\0\x08\x03" + struct.pack(">III", 3, 28, 28) + images.tobytes()),
            ("labels-idx1", b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes([7, 1, 2])),
        ):
            packed = gzip.compress(data)
            checksum = server.add(f"{split}-{kind}-ubyte.gz", packed)
            files.append((len(packed), checksum.removeprefix("sha256:")))
    return images, mnist.idx_form(name, (server.url("ok", ""),), tuple(files))


def test_downloads_once_and_then_needs_no_server(text, server, tmp_path):
    assert text.whence() == (len(CONTENT), "download from 127.0.0.1")
    assert text.load() == text.load() == CONTENT
    assert [path for path, *_ in server.log] == ["/missing/file", "/ok/file"]
    assert (tmp_path / "home/datasets/folder/file").read_bytes() == CONTENT
    assert text.whence() == (len(CONTENT), f"cache: {tmp_path / 'home/datasets'}")


def test_the_folder_named_in_cenote_data_comes_first_and_is_taken_as_it_is(text, server, tmp_path, monkeypatch):
    text.load()
    put(tmp_path / "mine", "folder/file", b"my own bytes")
    monkeypatch.setenv("CENOTE_DATA", str(tmp_path / "mine"))
    assert text.load() == b"my own bytes" and len(server.log) == 2


def test_keras_cache_counts_if_the_checksum_is_right(text, server, tmp_path):
    put(tmp_path / "keras/datasets", "folder/file", CONTENT)
    assert text.load() == CONTENT and server.log == []
    assert "Keras" in text.whence()[1]


def test_damaged_copies_are_passed_over(text, server, tmp_path, monkeypatch):
    put(tmp_path / "keras/datasets", "folder/file", b"damaged")
    cached = put(tmp_path / "home/datasets", "folder/file", b"damaged too")
    monkeypatch.setenv("CENOTE_OFFLINE", "1")
    with pytest.raises(datasets.DataNotFound, match="folder/file: its checksum is wrong"):
        text.load()
    monkeypatch.setenv("CENOTE_OFFLINE", "0")
    assert text.load() == CONTENT == cached.read_bytes()


def test_a_full_path_is_the_callers_own_file(text, server, tmp_path):
    mine = put(tmp_path, "mine", b"my own bytes")
    assert text.at(mine).load() == b"my own bytes" and server.log == []
    assert text.at(str(tmp_path / "new")).load() == CONTENT == (tmp_path / "new").read_bytes()


def test_nothing_found_says_where_what_and_how(text, server, tmp_path, monkeypatch):
    monkeypatch.setenv("CENOTE_DATA", str(tmp_path / "mine"))
    file = replace(text.forms[0].files[0], urls=(server.url("missing"), server.url("corrupt")))
    text = replace(text, forms=(replace(text.forms[0], files=(file,)),))
    with pytest.raises(FileNotFoundError) as failure:
        text.load()
    assert str(failure.value).splitlines() == [
        "the data set text (a line of text) was not found.",
        "Looked for:",
        f"  {tmp_path}/mine/folder/file: no such file",
        f"  {tmp_path}/home/datasets/folder/file: no such file",
        f"  {tmp_path}/keras/datasets/folder/file: no such file",
        "Tried to download:",
        f"  {server.url('missing')}: HTTP 404 Not Found",
        f"  {server.url('corrupt')}: the bytes it sends have the wrong checksum",
        "To supply it:",
        f"  put these files into {tmp_path}/home/datasets:",
        f"    folder/file   from {server.url('missing')}",
        "  or set CENOTE_DATA to a folder that holds them under these names.",
    ]


def test_offline_asks_no_server(text, server, monkeypatch):
    monkeypatch.setenv("CENOTE_OFFLINE", "1")
    with pytest.raises(datasets.DataNotFound, match="CENOTE_OFFLINE forbids the network"):
        text.load()
    assert server.log == []


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(text, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(datasets.DataNotFound, match=r"home/datasets cannot be written.*set CENOTE_HOME"):
        text.load()


@pytest.mark.parametrize("name", ["sentence_polarity", "trec"])
def test_sets_without_a_public_home_say_how_to_supply_them(name):
    with pytest.raises(datasets.DataNotFound, match="no public home") as failure:
        getattr(datasets, name).load_data()
    assert "CENOTE_DATA is not set" in str(failure.value)
    assert "set CENOTE_DATA to a folder that holds" in str(failure.value)


def test_mnist_falls_back_to_the_idx_files_elsewhere(server, monkeypatch, tmp_path):
    images, form = tiny_mnist(server)
    npz = replace(mnist.SET.forms[0].files[0], urls=(server.url("broken", "mnist.npz"),))
    monkeypatch.setattr(store, "fetch", lambda *a, **k: fetch(*a, **k, pause=0))
    monkeypatch.setattr(mnist, "SET", replace(mnist.SET, forms=(Form((npz,), mnist.read_npz_file), form)))
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    assert np.array_equal(x_train, images) and np.array_equal(x_test, images)
    assert y_train.tolist() == y_test.tolist() == [7, 1, 2]
    assert len(list((tmp_path / "home/datasets/mnist").glob("*.gz"))) == 4


def test_fashion_mnist_downloads_its_four_files(server, monkeypatch):
    images, form = tiny_mnist(server, "fashion-mnist")
    monkeypatch.setattr(fashion_mnist, "SET", replace(fashion_mnist.SET, forms=(form,)))
    (x_train, _), _ = fashion_mnist.load_data()
    assert np.array_equal(x_train, images) and len(server.log) == 4


def test_mnist_npz_at_a_full_path(tmp_path):
    x, y = np.zeros((5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    (x_train, _), (_, y_test) = mnist.load_data(path=str(tmp_path / "own.npz"))
    assert x_train.shape == (5, 28, 28) and y_test.tolist() == [0, 1]
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y)
    with pytest.raises(datasets.BadFile, match=r"own\.npz: holds no array 'x_test'"):
        mnist.load_data(path=str(tmp_path / "own.npz"))
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y[:4], x_test=x, y_test=y)
    with pytest.raises(datasets.BadFile, match=r"expected images .* found \(5, 28, 28\) and \(4,\)"):
        mnist.load_data(path=str(tmp_path / "own.npz"))


def test_every_download_has_a_checksum_and_a_bound():
    for name in datasets.catalogue.NAMES:
        for form in getattr(datasets, name).SET.forms:
            for file in form.files:
                assert file.size > 0 and bool(file.urls) == bool(file.checksum), file
                assert all(url.startswith(("https://", "http://fashion-mnist.s3")) for url in file.urls)
                assert not file.checksum or (file.checksum.startswith("sha256:") and len(file.checksum) == 71), file


def test_available_lists_names_sizes_and_sources(tmp_path, monkeypatch):
    rows = {row.name: row for row in datasets.available()}
    assert set(rows) == set(datasets.catalogue.NAMES)
    assert rows["digits"].source == rows["breast_cancer"].source == "bundled"
    assert rows["mnist"][2:] == (11_490_434, "download from storage.googleapis.com")
    assert rows["trec"].source == "not here; set CENOTE_DATA to a folder that holds it"
    put(tmp_path / "mine", "mnist.npz", b"123")
    monkeypatch.setenv("CENOTE_DATA", str(tmp_path / "mine"))
    assert {row.name: row for row in datasets.available()}["mnist"][2:] == (3, f"CENOTE_DATA: {tmp_path / 'mine'}")
    assert "mnist               11.49 MB" not in repr(datasets.available())
    assert len(repr(datasets.available()).splitlines()) == len(rows)


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(AttributeError, match=r"no 'fashion_minst'; did you mean fashion_mnist"):
        datasets.fashion_minst  # noqa: B018
    assert "mnist" in dir(datasets)
