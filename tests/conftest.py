"""What all tests share: Keras on JAX as the yardstick, real data where it lies beside the checkout, a private cache."""

import contextlib
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")
_beside = Path(__file__).resolve().parents[2] / "shared" / "data"
if "CENOTE_DATA" not in os.environ and _beside.is_dir():
    os.environ["CENOTE_DATA"] = str(_beside)

import pytest  # noqa: E402

collect_ignore_glob = ["parity/make_*.py"]  # they write stored answers, with libraries that tests do not need

# The folders and files whose tests and examples in docstrings compile thousands of programs that run once, for microseconds.
SMALL = {"cenote", "core", "interop", "kernels", "layers", "losses", "metrics", "optimizers"}
SMALL |= {
    "test_activations",
    "test_constraints",
    "test_losses",
    "test_metrics",
    "test_model",
    "test_regularizers",
    "test_saving",
}


@contextlib.contextmanager
def quickly(wanted=True):
    import jax

    jax.config.update("jax_disable_most_optimizations", wanted)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


class Programs:
    """Where programs are small, they are made without what makes programs fast, which takes longer than it saves."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        with quickly(item.path.parent.name in SMALL or item.path.stem in SMALL):
            return (yield)


def pytest_configure(config):
    config.pluginmanager.register(Programs())  # so that it counts for the examples in src/cenote, too


@pytest.fixture
def quick_programs():
    """The same for one test, such as one that holds a small fit beside Keras's."""
    with quickly():
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, or a skip that says so."""
    folder = os.environ.get("CENOTE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("the real data sets are not here: set CENOTE_DATA to their folder")
    return Path(folder)
