"""``cenote layers``: the inventory, a line each."""

import json

from cenote import layers
from cenote.cli.layers import KINDS, inventory
from cenote.cli.main import main


def test_every_layer_has_a_line(capsys):
    assert main(["layers"]) == 0
    out = capsys.readouterr().out
    for name in layers.__all__:
        assert name in out
    assert "\n  Dense " in out and "A fully connected layer" in out


def test_everything_public_has_a_sentence():
    for kind in KINDS:
        entries = inventory(kind)
        assert entries, kind
        for entry in entries:
            assert len(entry["says"]) > 6 and entry["says"][-1] in ".:?)", entry
            assert entry["family"], entry


def test_a_word_narrows_the_list(capsys):
    assert main(["layers", "crossentropy", "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {e["kind"] for e in found} == {"losses", "metrics"}
    assert main(["layers", "xylophone"]) == 1
    assert "'xylophone' in its name or line; --all looks further" in capsys.readouterr().err
