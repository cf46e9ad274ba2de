"""The frameworks of `run.py`: how each trains and predicts any workload, with its best settings that its documentation names.

Each class here is made for one workload inside a worker, and has

``check()``                losses after the first steps from the drawn weights, in the order of the data, without dropout
``begin()``                makes the network that is timed, where that of the check was without its dropout; whether it was
``train(epochs)``          epochs over all the data, shuffled; the loss of the last
``restore()``              the drawn weights again
``ways()``                 names and functions that predict: numpy in, numpy out
``given(rows)``            the input that they take
``grown(rows, batch, width, epochs)``   a function that trains an MLP of that size
"""

import importlib

MODULES = {
    "cenote": "keras_like",
    "torch": "of_torch",
    "torch-channels-last": "of_torch",
    "torch-compile": "of_torch",
    "keras-tf": "keras_like",
    "keras-jax": "keras_like",
    "keras-torch": "keras_like",
    "onnxruntime": "of_onnxruntime",
}
NAMES = list(MODULES)
PICTURES = {"cnn", "resnet20"}  # where the order of the axes matters
ONNX = {"mlp", "autoencoder", "cnn", "resnet20", "lstm", "transformer"}


def of(workload: str, wanted: list[str]) -> list[str]:
    """Those that have something to do with a workload."""
    left_out = set()
    if workload not in PICTURES:
        left_out.add("torch-channels-last")
    if workload not in ONNX:
        left_out.add("onnxruntime")
    return [name for name in wanted if name not in left_out]


def load(name: str) -> None:
    """Import the package alone, with what it imports at first use. Raises: ImportError where it is not installed."""
    package = importlib.import_module(name.partition("-")[0])
    if hasattr(package, "Sequential"):
        _ = package.Sequential, package.layers.Dense, package.optimizers.Adam, package.losses.MeanSquaredError


def make(name: str, workload: str):
    from workloads import find

    return importlib.import_module(f"frameworks.{MODULES[name]}").Framework(name, find(workload))


def environment(name: str) -> dict[str, str]:
    """What a worker's environment must say before the framework is imported."""
    env = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    if name.startswith("keras-"):
        env["KERAS_BACKEND"] = {"tf": "tensorflow"}.get(name[6:], name[6:])
    return env
