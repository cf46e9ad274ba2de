"""The table of names in the docs: all that Keras and PyTorch have is here, or stands there with the reason."""

import importlib
import inspect
import json
import re
from pathlib import Path

import keras
import pytest

import cenote as cn

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["from-keras-and-pytorch.md", "from-keras-and-pytorch.zh-CN.md"]
KINDS = ["layers", "activations", "losses", "metrics", "optimizers", "initializers", "regularizers", "constraints", "callbacks"]
PLACES = [*KINDS, "schedules", "interop", "core", "keras"]


def rows(page):
    """(their names, ours, difference) of each row of each table."""
    found = []
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            theirs, ours, difference = (cell.strip() for cell in line.strip()[1:-1].split("|"))
            found.append((re.findall(r"`([^`]+)`", theirs), ours, difference))
    return found


def here(name):
    """Whether ``layers.Dense`` or ``Dense`` or ``cn.Model`` is something of ours."""
    path = name.removeprefix("cn.").split(".")
    homes = [cn, *(importlib.import_module(f"cenote.{kind}") for kind in PLACES)]
    for home in homes:
        found = home
        for part in path:
            found = getattr(found, part, None)
            if found is None:
                break
        else:
            return True
    return False


@pytest.mark.parametrize("kind", [*KINDS, "optimizers.schedules"])
def test_every_name_of_keras(kind):
    theirs = keras
    for part in kind.split("."):
        theirs = getattr(theirs, part)
    ours = importlib.import_module(f"cenote.{kind.split('.')[-1]}")
    told = {name.split(".")[-1] for names, _, _ in rows(PAGES[0]) for name in names}
    public = [n for n, v in vars(theirs).items() if not n.startswith("_") and not inspect.ismodule(v)]
    missing = [n for n in public if n not in told and getattr(ours, n, None) is None]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_pytorch_is_in_the_table(page):
    names = json.loads((ROOT / "tests/parity/torch_names.json").read_text(encoding="utf-8"))
    told = {name for names, _, _ in rows(page) for name in names}
    for family in ("nn", "init", "optim", "lr_scheduler"):
        assert not [n for n in names[family] if f"{family}.{n}" not in told]


@pytest.mark.parametrize("page", PAGES)
def test_what_the_table_calls_ours_is_here(page):
    for theirs, ours, difference in rows(page):
        if ours in ("no", "无"):
            assert difference, theirs
        for name in re.findall(r"`([A-Za-z_][\w.]*)`", ours):
            assert here(name), (theirs, name)


def test_both_pages_have_the_same_rows():
    english, chinese = ([names for names, _, _ in rows(page)] for page in PAGES)
    assert english == chinese
