"""Speech recognition of sequences of digits, made from the Free Spoken Digit recordings: the word error rate of the defaults.

    CENOTE_DATA=../shared/data python bench/ctc.py                              # make the clips, train, and tell the scores
    CENOTE_DATA=../shared/data python bench/ctc.py --epochs 8                   # in some minutes
    python bench/ctc.py --folder clips --only-make && cenote train clips/clips.csv     # the same from the command line

Each clip is two to five recordings of one speaker, with up to 0.2 s of silence before each; its transcript is the digits as
words ("three one four"). The test clips (a fifth as many) are made of the recordings 0 to 4 of each speaker and digit alone,
which is the set's own test part; the others of 5 to 49. So no recording of the test is heard in training, but its voices are.
"""

import argparse
import csv
import os
import time
import wave
import zipfile
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

RATE = 8000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LENGTHS = (2, 5)  # digits of a clip, at least and at most
PAUSE = 0.2  # seconds of silence before a digit, at most
TEST_BELOW = 5  # recordings numbered below it are the test part
LOUDNESS = 8000  # of the loudest sample of each digit, as if one had been spoken as loud as another

Spoken = dict[str, list[list[np.ndarray]]]  # by speaker, then by digit


def recordings(archive: Path) -> tuple[Spoken, Spoken]:
    """The recordings of the training part and of the test part."""
    parts: tuple[Spoken, Spoken] = tuple(defaultdict(lambda: [[] for _ in WORDS]) for _ in range(2))  # type: ignore[assignment]
    with zipfile.ZipFile(archive) as packed:
        for name in sorted(n for n in packed.namelist() if n.endswith(".wav")):
            digit, speaker, number = Path(name).stem.split("_")
            with packed.open(name) as file, wave.open(file) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32)
            parts[int(number) < TEST_BELOW][speaker][int(digit)].append(samples)
    return parts


def clip(spoken: Spoken, draw: np.random.RandomState) -> tuple[np.ndarray, str]:
    """Some digits of one speaker, one after the other, and what they say."""
    digits = draw.randint(0, 10, draw.randint(LENGTHS[0], LENGTHS[1] + 1))
    of_speaker = spoken[sorted(spoken)[draw.randint(len(spoken))]]
    pieces: list[np.ndarray] = []
    for digit in digits:
        samples = of_speaker[digit][draw.randint(len(of_speaker[digit]))]
        pieces += [
            np.zeros(int(draw.uniform(0, PAUSE) * RATE), np.float32),
            samples * (LOUDNESS / max(np.abs(samples).max(), 1)),
        ]
    return np.concatenate(pieces), " ".join(WORDS[digit] for digit in digits)


def make(archive: Path, folder: Path, count: int, seed: int) -> Path:
    """Write the clips, and a table of their names, transcripts and parts, which comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.RandomState(seed)
    training, test = recordings(archive)
    rows = [["file", "transcript", "split"]]
    for part, spoken, number in (("train", training, count), ("test", test, count // 5)):
        for i in range(number):
            samples, said = clip(spoken, draw)
            name = f"{part}-{i:04}.wav"
            with wave.open(str(folder / name), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes(samples.astype("<i2").tobytes())
            rows.append([name, said, part])
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows(rows)
    return folder / "clips.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CENOTE_DATA"), help="the folder of real data sets")
    parser.add_argument("--folder", type=Path, help="where to leave the clips; otherwise they are not kept")
    parser.add_argument("--only-make", action="store_true", help="make the clips, and do not train")
    parser.add_argument("--count", type=int, default=2500, help="clips to learn from")
    parser.add_argument("--epochs", type=int, help="instead of as many as the task chooses")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the data sets are: --data DIR, or CENOTE_DATA")
    if args.only_make and args.folder is None:
        parser.error("--only-make needs a --folder")
    with TemporaryDirectory() as passing:
        archive = Path(args.data) / "free-spoken-digit" / "recordings.zip"
        table = make(archive, args.folder or Path(passing), args.count, args.seed)
        if args.only_make:
            print(f"written: {table}")
            return
        import cenote as cn

        began, work = time.perf_counter(), time.process_time()
        options = {} if args.epochs is None else {"epochs": args.epochs}
        trained = cn.tasks.train(table, seed=args.seed, **options)
        print(trained.scores)
        seconds, work = time.perf_counter() - began, time.process_time() - work
        print(f"{seconds:,.0f} s from the files to the scores, {work:,.0f} s of processor time")


if __name__ == "__main__":
    main()
