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

# The folders whose tests and examples in docstrings compile thousands of programs that each run once, for microseconds.
SMALL = {"cenote", "core", "interop", "kernels", "layers", "losses", "metrics", "optimizers"}


@contextlib.contextmanager
def quickly(wanted=True):
    import jax

    if wanted:
        jax.config.update("jax_disable_most_optimizations", True)
    yield
    if wanted:
        jax.config.update("jax_disable_most_optimizations", False)


class Programs:
    """In the folders of small programs, these are made without what makes programs fast, which takes longer than it saves."""

    @pytest.fixture(scope="module", autouse=True)
    def made_quickly(self, request):
        with quickly(request.path.parent.name in SMALL):
            yield


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
