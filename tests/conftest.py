"""What all tests share: Keras on JAX as the yardstick, real data where it lies beside the checkout, a private cache."""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")
_beside = Path(__file__).resolve().parents[2] / "shared" / "data"
if "CENOTE_DATA" not in os.environ and _beside.is_dir():
    os.environ["CENOTE_DATA"] = str(_beside)

import pytest  # noqa: E402

collect_ignore_glob = ["parity/make_*.py"]  # they write stored answers, with libraries that tests do not need


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, or a skip that says so."""
    folder = os.environ.get("CENOTE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("the real data sets are not here: set CENOTE_DATA to their folder")
    return Path(folder)
