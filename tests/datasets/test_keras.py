"""The same files read by Keras and by us give the same arrays, for every argument."""

from __future__ import annotations

import io
import json
import os
import tarfile

import numpy as np
import pytest

from cenote import datasets

os.environ.setdefault("KERAS_BACKEND", "jax")


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras.src.datasets")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "mine"
    path.mkdir()
    monkeypatch.setenv("CENOTE_DATA", str(path))
    monkeypatch.setenv("CENOTE_OFFLINE", "1")
    return path


@pytest.fixture
def theirs(keras, folder, monkeypatch):
    """Keras's module of that name, reading from our folder instead of the network."""

    def module(name):
        found = getattr(keras, name)
        monkeypatch.setattr(found, "get_file", lambda *args, **kwargs: str(folder / (args or [kwargs["fname"]])[0]))
        return found

    return module


def texts(count, seed):
    random = np.random.RandomState(seed)
    rows = np.empty(count, object)
    rows[:] = [random.randint(1, 500, random.randint(1, 40)).tolist() for _ in range(count)]
    return rows


def same(ours, theirs):
    for (x, y), (u, v) in zip(ours, theirs, strict=True):
        assert x.dtype == u.dtype and y.dtype == v.dtype and x.shape == u.shape and y.shape == v.shape
        assert [list(row) for row in x] == [list(row) for row in u] if x.dtype == object else np.array_equal(x, u)
        assert np.array_equal(y, v)
        assert x.dtype != object or all(type(row) is list and type(word) is int for row in x for word in row)


OPTIONS = [
    {},
    {"num_words": 100},
    {"num_words": 100, "skip_top": 10, "oov_char": None},
    {"maxlen": 20, "seed": 5},
    {"start_char": None},
    {"start_char": None, "index_from": 0, "skip_top": 3},
    {"start_char": 7, "oov_char": 9, "index_from": 20, "num_words": 300, "maxlen": 30},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_imdb(theirs, folder, options):
    labels = np.random.RandomState(2).randint(0, 2, 60)
    np.savez(folder / "imdb.npz", x_train=texts(60, 0), y_train=labels, x_test=texts(30, 1), y_test=labels[:30])
    same(datasets.imdb.load_data(**options), theirs("imdb").load_data(**options))


@pytest.mark.parametrize("options", [*OPTIONS, {"test_split": 0.35}], ids=str)
def test_reuters(theirs, folder, options):
    np.savez(folder / "reuters.npz", x=texts(90, 0), y=np.random.RandomState(2).randint(0, 46, 90))
    same(datasets.reuters.load_data(**options), theirs("reuters").load_data(**options))


def test_texts_that_maxlen_leaves_nothing_of(folder):
    np.savez(folder / "reuters.npz", x=texts(9, 0), y=np.arange(9))
    with pytest.raises(ValueError, match="no text has fewer than maxlen=1 words"):
        datasets.reuters.load_data(maxlen=1)


def test_word_indices_and_label_names(theirs, folder, keras):
    for name in ("imdb", "reuters"):
        (folder / f"{name}_word_index.json").write_text(json.dumps({"the": 1, "été": 2}))
        assert getattr(datasets, name).get_word_index() == theirs(name).get_word_index() == {"the": 1, "été": 2}
    assert datasets.reuters.get_label_names() == keras.reuters.get_label_names()
    (folder / "imdb_word_index.json").write_text('{"the": "1"}')
    with pytest.raises(datasets.BadFile, match="expected an object of words"):
        datasets.imdb.get_word_index()
    (folder / "imdb_word_index.json").write_text("[" * 100_000)
    with pytest.raises(datasets.BadFile, match="not JSON"):
        datasets.imdb.get_word_index()


@pytest.mark.parametrize("name", ["boston_housing", "california_housing"])
@pytest.mark.parametrize("options", [{}, {"test_split": 0.33, "seed": 9}, {"test_split": 0}], ids=str)
def test_housing(theirs, folder, name, options):
    random = np.random.RandomState(0)
    np.savez(folder / f"{name}.npz", x=random.rand(701, 13).astype(np.float32), y=random.rand(701))
    ours, their = getattr(datasets, name), theirs(name)
    same(ours.load_data(**options), their.load_data(**options))
    if name == "california_housing":
        same(ours.load_data("small", **options), their.load_data("small", **options))
        with pytest.raises(ValueError, match="expected 'large' or 'small'"):
            ours.load_data("medium")
    with pytest.raises(ValueError, match="test_split is 1"):
        ours.load_data(test_split=1)


def test_mnist(theirs, folder):
    random = np.random.RandomState(0)
    x, y = random.randint(0, 256, (20, 28, 28), np.uint8), random.randint(0, 10, 20, np.uint8)
    np.savez(folder / "mnist.npz", x_train=x, y_train=y, x_test=x[:7], y_test=y[:7])
    same(datasets.mnist.load_data(), theirs("mnist").load_data())


def pack(path, **members):
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_cifar_binary_editions(folder):
    """Against the description on the CIFAR page: label bytes, then 1024 red, 1024 green, 1024 blue bytes, row by row."""
    random = np.random.RandomState(0)
    pictures = random.randint(0, 256, (12, 32, 32, 3), np.uint8)
    planes = pictures.transpose(0, 3, 1, 2).reshape(12, 3072)
    labels = random.randint(0, 10, (12, 1), np.uint8)
    rows = np.hstack([labels, planes])
    batches = {f"cifar-10-batches-bin/data_batch_{i + 1}.bin": rows[2 * i : 2 * i + 2].tobytes() for i in range(5)}
    pack(folder / "cifar-10-binary.tar.gz", **batches, **{"cifar-10-batches-bin/test_batch.bin": rows[10:].tobytes()})
    same(datasets.cifar10.load_data(), ((pictures[:10], labels[:10]), (pictures[10:], labels[10:])))

    rows = np.hstack([labels, labels + 50, planes])
    files = {"cifar-100-binary/train.bin": rows[:10].tobytes(), "cifar-100-binary/test.bin": rows[10:].tobytes()}
    pack(folder / "cifar-100-binary.tar.gz", **files)
    same(datasets.cifar100.load_data("coarse"), ((pictures[:10], labels[:10]), (pictures[10:], labels[10:])))
    same(datasets.cifar100.load_data(), ((pictures[:10], labels[:10] + 50), (pictures[10:], labels[10:] + 50)))
    with pytest.raises(ValueError, match="expected 'fine' or 'coarse'"):
        datasets.cifar100.load_data("medium")

    pack(folder / "cifar-100-binary.tar.gz", **{"cifar-100-binary/train.bin": rows[:10].tobytes()[:-1]})
    with pytest.raises(datasets.BadFile, match="not made of records of 3074 bytes"):
        datasets.cifar100.load_data()
    pack(folder / "cifar-100-binary.tar.gz", **{"elsewhere.bin": b""})
    with pytest.raises(datasets.BadFile, match=r"holds no cifar-100-binary/train\.bin, only \['elsewhere\.bin'\]"):
        datasets.cifar100.load_data()


def test_cifar_python_editions_against_keras(folder, keras, tmp_path):
    import pickle  # only to make the file

    random = np.random.RandomState(0)
    data, fine, coarse = random.randint(0, 256, (4, 3072), np.uint8), [3, 99, 0, 7], [1, 2, 3, 4]
    batch = pickle.dumps({b"data": data, b"fine_labels": fine, b"coarse_labels": coarse, b"labels": fine}, 3)
    (tmp_path / "batch").write_bytes(batch)
    images, labels = keras.cifar10.load_batch(str(tmp_path / "batch"))
    names = [*(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)), "cifar-10-batches-py/test_batch"]
    pack(folder / "cifar-10-python.tar.gz", **dict.fromkeys(names, batch))
    (x_train, y_train), (x_test, y_test) = datasets.cifar10.load_data()
    assert np.array_equal(x_test, images.transpose(0, 2, 3, 1)) and y_test.ravel().tolist() == labels
    assert x_train.shape == (20, 32, 32, 3) and y_train.shape == (20, 1) and y_train.dtype == np.uint8
    pack(folder / "cifar-100-python.tar.gz", **{"cifar-100-python/train": batch, "cifar-100-python/test": batch})
    assert datasets.cifar100.load_data("coarse")[1][1].ravel().tolist() == coarse
    assert datasets.cifar100.load_data("fine")[1][1].ravel().tolist() == fine


def test_cifar_jpeg_refuses_what_is_not_cifar(folder):
    image = pytest.importorskip("PIL.Image")

    def jpeg(size, kind="JPEG"):
        file = io.BytesIO()
        image.new("RGB", size, "red").save(file, kind)
        return file.getvalue()

    (folder / "cifar10").mkdir()
    names = [folder / f"cifar10/cifar10-{split}-jpg.tar.gz" for split in ("train", "test")]
    pack(names[1], **{"test/frog/0.jpg": jpeg((32, 32))})
    for members, reason in (
        ({"train/frog/0.jpg": jpeg((33, 32))}, r"is \(33, 32\) RGB"),
        ({"train/frog/0.jpg": jpeg((32, 32), "PNG")}, "cannot identify"),
        ({"train/unicorn/0.jpg": jpeg((32, 32))}, "unicorn"),
        ({"train/frog/1.jpg": jpeg((32, 32))}, "not 0, 1, 2"),
        ({}, "0 pictures"),
    ):
        pack(names[0], **members)
        with pytest.warns(datasets.DataNote), pytest.raises(datasets.BadFile, match=reason):
            datasets.cifar10.load_data()


def test_california_from_statlibs_archive_is_what_keras_made_of_it(folder):
    """Keras's upload script split each line at its commas, the last value being the target, all float32."""
    lines = ["-122.230000,37.880000,41.0,880.0,129.0,322.0,126.0,8.325200,452600.0", "-1,2,3,4,5,6,7,8,9"]
    pack(folder / "cal_housing.tgz", **{"CaliforniaHousing/cal_housing.data": "\n".join([*lines, ""]).encode()})
    (x, y), _ = datasets.california_housing.load_data(test_split=0)
    assert x.dtype == y.dtype == np.float32 and sorted(y) == [9, 452600]
    assert np.array_equal(x[y == 452600][0], np.float32([-122.23, 37.88, 41, 880, 129, 322, 126, 8.3252]))
