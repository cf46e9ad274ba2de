"""The house's rules about imports: they run one way, nothing private of JAX, and what is heavy is imported where it is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from cenote import layers

ROOT = Path(__file__).resolve().parents[1] / "src" / "cenote"

# From the bottom up; a module imports only from its own level and from below.
LEVELS = [
    {"core", "files", "progress", "figures"},
    {"kernels", "initializers", "activations", "regularizers", "constraints", "schedules", "datasets"},
    {"layers", "losses", "metrics", "optimizers", "data"},
    {"train", "serving", "callbacks"},
    {"model", "networks", "built"},
    {"saving", "summary", "interop", "report", "keras", "explain", "tasks"},
    {"cli"},
]
# The doors: verbs of Model that belong to packages above it, and what notebooks show: imported when called, and nowhere else.
DOORS = {("built", "saving"), ("built", "summary"), ("model", "explain"), ("data", "train"), ("data", "report")}
HEAVY = {"matplotlib", "rich", "PIL", "pandas", "optax", "tensorboardX", "flax", "equinox", "safetensors"}


def files():
    return sorted(ROOT.rglob("*.py"))


def level(name: str) -> int:
    return next((i for i, names in enumerate(LEVELS) if name in names), -1)


def imports(path: Path):
    """(package of ours or outside module, at the top level of the file?) for each import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    package = parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split("."), id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            full = base + (node.module.split(".") if node.module else [])
            if full == ["cenote"]:
                for alias in node.names:
                    yield ["cenote", alias.name], id(node) in top
            else:
                yield full, id(node) in top


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_a_page_that_imports_one_way_and_nothing_private_or_heavy(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600
    own, found = path.relative_to(ROOT).with_suffix("").parts[0], list(imports(path))
    for name, top in found:
        assert "_src" not in name, f"{path}: {'.'.join(name)}"
        assert name[0] not in ("pickle", "cloudpickle", "dill", "joblib", "marshal"), f"{path}: {name}"
        assert not (top and name[0] in HEAVY), f"{path.name} imports {name[0]} at its top: import it where it is used"
    if own in ("__init__", "__main__"):
        return
    assert level(own) >= 0, f"{own} has no level: add it to LEVELS"
    for name, _ in found:
        if name[0] == "cenote" and len(name) > 1 and level(name[1]) >= 0 and (own, name[1]) not in DOORS:
            assert level(name[1]) <= level(own), f"{path.name} imports {'.'.join(name)}, which lies above it"


def test_the_table_of_layers_is_what_the_families_call_public():
    found = {}
    for path in sorted((ROOT / "layers").glob("[!_]*.py")):
        public = getattr(importlib.import_module(f"cenote.layers.{path.stem}"), "__all__", [])
        if public:
            found[path.stem] = sorted(public)
    assert {family: names.split() for family, names in layers._FAMILIES.items()} == found
    assert layers.__all__ == sorted(name for names in found.values() for name in names)


def test_a_family_of_layers_is_imported_when_it_is_asked_for():
    program = (
        "import sys, cenote as cn\n"
        "model = cn.Sequential([cn.layers.Dense(1)])\n"
        "print(*sorted(m.rpartition('.')[2] for m in sys.modules if m.startswith('cenote.layers.')))\n"
        "from cenote.layers import *\n"
        "print(LSTM.__name__, cn.layers.conv.__name__)\n"
        "try: cn.layers.Dens\n"
        "except AttributeError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "dense" in out[0].split() and not {"conv", "recurrent", "attention", "text"} & set(out[0].split())
    assert out[1] == "LSTM cenote.layers.conv" and "did you mean 'Dense'" in out[2]


def test_importing_cenote_is_light():
    program = "import sys, cenote, cenote.model; print(*[m for m in sys.argv[1:] if m in sys.modules])"
    heavy = sorted(HEAVY | {"tensorflow", "torch", "keras"})
    out = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True).stdout
    assert out.split() == []


def test_the_command_answers_without_jax():
    program = (
        "import sys\nfrom cenote.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print('JAX' if 'jax' in sys.modules else 'LIGHT')"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.split()[-1] == "LIGHT" and "train" in out
