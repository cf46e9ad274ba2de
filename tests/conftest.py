"""What all tests share: Keras on JAX as the yardstick, real data where it lies beside the checkout, quick compilation."""

import contextlib
import ctypes
import gc
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # nobody reads where the operations of a program came from
_beside = Path(__file__).resolve().parents[2] / "shared" / "data"
if "CENOTE_DATA" not in os.environ and _beside.is_dir():
    os.environ["CENOTE_DATA"] = str(_beside)

import pytest  # noqa: E402

collect_ignore_glob = ["parity/make_*.py"]  # they write stored answers, with libraries that tests do not need

# The folders and files whose tests and examples in docstrings compile thousands of programs that run once, or for a moment.
# Those of training that hold runs against each other to the bit are not among them: what makes programs fast moves bits.
SMALL = {"cenote", "cli", "core", "data", "explain", "interop", "kernels", "layers"}
SMALL |= {"losses", "metrics", "optimizers", "report", "tasks"}
SMALL |= {
    "test_activations",
    "test_bad_input",
    "test_callbacks",
    "test_compilations",
    "test_compiling",
    "test_constraints",
    "test_feed",
    "test_history",
    "test_initializers",
    "test_keras",
    "test_losses",
    "test_metrics",
    "test_model",
    "test_objective",
    "test_predict",
    "test_progress",
    "test_regularizers",
    "test_saving",
    "test_schedules",
    "test_summary",
    "test_tour",
    "test_trackers",
}


MEMORY = 5 << 29  # bytes of a worker: 2.5 GiB, a small program takes some 2 MiB


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


def pytest_collection(session):
    """Of several workers one builds the C++ kernels, which the others then find; each would build its own otherwise."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        return
    from cenote.core.runtime import cache_home
    from cenote.kernels import native

    with contextlib.suppress(ImportError, OSError):  # Windows, or a home that cannot be written: nothing is shared
        import fcntl

        cache_home().mkdir(parents=True, exist_ok=True)
        with open(cache_home() / "tests.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            native.library()


def pytest_collection_finish(session):
    # Modules and collected tests stay to the end, and tracing makes many small objects: less is looked through, and less often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_runtest_teardown(item, nextitem):
    """Between files, what compiled programs hold is given back once it is much: models are cycles, and seldom collected."""
    if nextitem is not None and nextitem.path != item.path and _resident() > MEMORY:
        import jax

        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # glibc would keep it, and every file to come seem too large
            ctypes.CDLL(None).malloc_trim(0)


def _resident():
    """Bytes of memory that this process takes; 0 where that cannot be told."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@pytest.fixture
def quick_programs():
    """The same for one test, such as one that holds a small fit beside Keras's."""
    with quickly():
        yield


@pytest.fixture
def programs_of_users():
    """The opposite, for one test that holds runs against each other to the bit, where the others of its file are quick."""
    with quickly(False):
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, or a skip that says so."""
    folder = os.environ.get("CENOTE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("the real data sets are not here: set CENOTE_DATA to their folder")
    return Path(folder)
