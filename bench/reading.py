"""Reading pictures, tables and recordings: Cenote beside PyTorch's DataLoader, tf.data and Keras, in one interleaved run.

    python bench/reading.py --data ../shared/data                                   # all workloads, every peer installed here
    python bench/reading.py small-pictures photos --python tf=OTHER/bin/python keras=OTHER/bin/python

Each peer runs in a process of its own that stays alive; the rounds go through the processes in turn, in reversed order every
other round. A round reads every example once, as batches of decoded arrays, from files that are in the system's cache; the
first round, which also starts workers, is reported apart. Ratios above 1: Cenote is faster. All peers may use all cores:
Cenote by threads ("cenote") or worker processes ("cenote-workers"), PyTorch by workers, tf.data by AUTOTUNE.
"""

import argparse
import csv
import gzip
import os
import statistics
import sys
import tarfile
import tempfile
import time
import zipfile
from datetime import date
from pathlib import Path

import workers

WORKLOADS = {
    "small-pictures": "10,000 JPEG files of 32x32 in class folders (CIFAR-10's test part), batches of 128",
    "photos": "140 JPEG photographs of about 500x375 in class folders, resized to 128x128, batches of 32",
    "table": "a CSV of 20,640 rows and 9 numbers, 20 copies of it in one file, batches of 1,024",
    "recordings": "3,000 WAV files of 8 kHz, cut or padded to 1 s, batches of 128",
}
PEERS = ["cenote", "cenote-workers", "torch", "tf", "keras"]
SIDE = {"small-pictures": 32, "photos": 128}
BATCH = {"small-pictures": 128, "photos": 32, "table": 1024, "recordings": 128}


# -- the files, unpacked once ----------------------------------------------------------------------------------------------


def unpack(data: Path, folder: Path, workload: str) -> Path:
    """The folder or file that every peer reads."""
    if workload == "photos":
        return data / "hymenoptera-subset" / "train"
    target = folder / workload
    if workload == "small-pictures":
        with tarfile.open(data / "cifar10" / "cifar10-test-jpg.tar.gz") as archive:
            archive.extractall(target, filter="data")
        return target / "test"
    if workload == "recordings":
        with zipfile.ZipFile(data / "free-spoken-digit" / "recordings.zip") as archive:
            archive.extractall(target)
        return target / "recordings"
    with gzip.open(data / "tabular" / "california-housing.csv.gz", "rt") as file:
        rows = [row[:9] for row in csv.reader(file)]
    head, body = rows[0], [row for row in rows[1:] if all(row)]
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *(body * 20)])
    return folder / "table.csv"


# -- one round of each peer: the number of examples read -------------------------------------------------------------------


def files_of(source: str, ending: str) -> tuple[list[str], list[int]]:
    paths = sorted(Path(source).rglob(f"*{ending}"))
    names = sorted({p.parent.name for p in paths})
    return [str(p) for p in paths], [names.index(p.parent.name) for p in paths]


def cenote_round(workload: str, source: str, workers: bool):
    import numpy as np

    batch = BATCH[workload]
    if workload == "table":
        if workers:
            raise SystemExit("tables are read by one process")
        from cenote.data.tables import read_table

        return (lambda: len(read_table(source)[0])), None
    if workload == "recordings":
        from cenote.data.audio import AudioPreparation, read
        from cenote.data.workers import Batches

        prepare = AudioPreparation(8000, 8000)
        if workers:
            files, _ = files_of(source, ".wav")
            return lambda: sum(len(x) for x in Batches(prepare, [[f, ""] for f in files], batch_size=batch)), None
        return lambda: len(prepare(read(source, labelled=False).inputs)), None
    from cenote.data.images import ImagePreparation, read
    from cenote.data.workers import Batches

    side = SIDE[workload]
    prepare = ImagePreparation(side, side, "RGB", fit="stretch")
    if workers:
        files, labels = files_of(source, ".jpg")
        y = np.array(labels)
        return lambda: sum(len(x) for x, _ in Batches(prepare, [[f, ""] for f in files], y, batch_size=batch)), None
    return lambda: len(prepare(read(source).inputs)), None


def torch_round(workload: str, source: str):
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset

    if workload == "table":
        import pandas

        return (lambda: len(torch.from_numpy(pandas.read_csv(source).to_numpy(np.float32)))), None
    files, labels = files_of(source, ".wav" if workload == "recordings" else ".jpg")

    class Files(Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            if workload == "recordings":
                import wave

                with wave.open(files[i]) as file:
                    x = np.frombuffer(file.readframes(8000), np.int16)
                return torch.from_numpy(np.pad(x, (0, 8000 - len(x))).astype(np.float32) / 32768), 0
            from PIL import Image

            with Image.open(files[i]) as image:
                x = np.asarray(image.convert("RGB").resize((SIDE[workload],) * 2, Image.Resampling.BILINEAR))
            return torch.from_numpy(x.copy()), labels[i]

    loader = DataLoader(Files(), BATCH[workload], num_workers=os.cpu_count() or 1, persistent_workers=True)
    return (lambda: sum(len(x) for x, _ in loader)), None


def tf_round(workload: str, source: str, keras: bool):
    import tensorflow as tf

    batch = BATCH[workload]
    if keras:
        import keras

        if workload == "recordings" or workload == "table":
            raise SystemExit("keras has no reader of this kind")
        size = (SIDE[workload],) * 2
        made = keras.utils.image_dataset_from_directory(source, image_size=size, batch_size=batch, shuffle=False, verbose=False)
    elif workload == "table":
        made = tf.data.experimental.make_csv_dataset(source, batch, num_epochs=1, shuffle=False)
        return (lambda: sum(len(next(iter(x.values()))) for x in made)), None
    else:
        files, labels = files_of(source, ".wav" if workload == "recordings" else ".jpg")

        def load(path, label):
            data = tf.io.read_file(path)
            if workload == "recordings":
                x = tf.audio.decode_wav(data, 1, 8000)[0][:, 0]
            else:
                side = SIDE[workload]
                x = tf.cast(tf.image.resize(tf.io.decode_jpeg(data, 3), (side, side)), tf.uint8)
            return x, label

        made = tf.data.Dataset.from_tensor_slices((files, labels)).map(load, num_parallel_calls=tf.data.AUTOTUNE)
        made = made.batch(batch).prefetch(tf.data.AUTOTUNE)
    return (lambda: sum(int(x.shape[0]) for x, _ in made)), None


def worker(peer: str, workload: str, source: str) -> None:
    """Answers each line with the seconds of one round."""
    answers = workers.channel()
    began = time.perf_counter()
    if peer.startswith("cenote"):
        round_, _ = cenote_round(workload, source, peer.endswith("workers"))
    elif peer == "torch":
        round_, _ = torch_round(workload, source)
    else:
        round_, _ = tf_round(workload, source, peer == "keras")
    imported = time.perf_counter() - began
    began = time.perf_counter()
    count = round_()
    hello = {"import": imported, "first": time.perf_counter() - began, "count": count}
    workers.serve(lambda asked: workers.timed(round_), hello, answers)


# -- the run ---------------------------------------------------------------------------------------------------------------


def measure(workload: str, source: Path, peers: list[str], rounds: int, pythons: dict[str, str]) -> dict:
    running, facts = {}, {}
    env = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    for peer in peers:  # one after the other, so that first rounds do not disturb each other
        python = pythons.get(peer.split("-")[0], sys.executable)
        running[peer] = workers.Worker(peer, __file__, [peer, workload, str(source)], python, env)
        try:
            facts[peer] = running[peer].hear()
        except workers.WorkerError as error:
            print(f"  {peer}: not measured ({error})", file=sys.stderr)
            running.pop(peer).end()
    times: dict[str, list[float]] = {peer: [] for peer in running}
    for peer in workers.in_turn(list(running), rounds):
        times[peer].append(running[peer].ask("go"))
    for process in running.values():
        process.end()
    return {
        peer: {"rate": facts[peer]["count"] / statistics.median(seconds), "spread": workers.spread(seconds), **facts[peer]}
        for peer, seconds in times.items()
    }


def table(workload: str, found: dict) -> str:
    ours = found.get("cenote", {}).get("rate")
    lines = [f"### {workload}", "", WORKLOADS[workload] + ".", ""]
    lines += ["| reader | examples/s | Cenote is faster by | spread of rounds | first round, s | import, s |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for peer, f in found.items():
        ratio = f"{ours / f['rate']:.2f}" if ours else "-"
        lines.append(f"| {peer} | {f['rate']:,.0f} | {ratio} | {f['spread']:.0%} | {f['first']:.2f} | {f['import']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"some of {', '.join(WORKLOADS)}")
    parser.add_argument("--data", type=Path, default=os.environ.get("CENOTE_DATA"), help="the folder of real data sets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PATH", help="another interpreter for a peer")
    parser.add_argument("--write", action="store_true", help="keep the tables in bench/results/<date>-reading.md")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker)
    if strangers := set(args.workloads) - set(WORKLOADS):
        parser.error(f"no workload called {', '.join(strangers)}; there are {', '.join(WORKLOADS)}")
    if args.data is None:
        parser.error("say where the data sets are: --data DIR, or CENOTE_DATA")
    pythons = workers.pythons(args.python)
    tables = [f"# Reading\n\n{date.today()}, {workers.machine()}, {args.rounds} rounds. Ratios above 1: Cenote is faster.\n"]
    with tempfile.TemporaryDirectory() as folder:
        for workload in args.workloads or list(WORKLOADS):
            source = unpack(Path(args.data), Path(folder), workload)
            text = table(workload, measure(workload, source, args.peers, args.rounds, pythons))
            print(text, flush=True)
            tables.append(text)
    if args.write:
        path = Path(__file__).parent / "results" / f"{date.today()}-reading.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(tables))


if __name__ == "__main__":
    main()
