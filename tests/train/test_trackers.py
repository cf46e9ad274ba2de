"""Callbacks that tell other programs how the run goes, told to stand-ins; and that all callbacks take Keras's arguments."""

from __future__ import annotations

import inspect
import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from cenote.train import callbacks
from cenote.train.callbacks import CallbackList, MLflowLogger, ProgbarLogger, Progress, RemoteMonitor, WandbLogger
from cenote.train.history import History

KERAS = [
    *("BackupAndRestore", "CSVLogger", "EarlyStopping", "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint"),
    *("ReduceLROnPlateau", "RemoteMonitor", "SwapEMAWeights", "TensorBoard", "TerminateOnNaN", "ProgbarLogger", "History"),
]


@pytest.mark.parametrize("name", KERAS)
def test_arguments_are_those_of_keras_in_its_order(name):
    keras = pytest.importorskip("keras")
    theirs = inspect.signature(getattr(keras.callbacks, name).__init__).parameters
    ours = inspect.signature(getattr(callbacks, name).__init__).parameters
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    wanted = {k: p.default for k, p in theirs.items() if k != "self" and p.kind not in kinds}
    found = {k: p.default for k, p in ours.items() if k != "self" and p.kind not in kinds}
    if name == "TensorBoard":  # what has no effect is taken by name
        wanted = {k: v for k, v in wanted.items() if k not in ("profile_batch", "embeddings_freq", "embeddings_metadata")}
    assert list(found.items())[: len(wanted)] == list(wanted.items())


class Run:
    """What trackers look at."""

    def __init__(self, optimizer=None):
        self.epochs, self.batch_size, self.steps, self.learning_rate = 3, 32, 10, 0.25
        self.history, self.interrupted = History(), False
        self.model = None if optimizer is None else SimpleNamespace(optimizer=optimizer)


def play(callback, logs, run=None, memory=None, until=None):
    run = run or Run()
    if run.model is not None:
        run.model = type("Model", (), {"optimizer": run.model.optimizer})()
    with CallbackList(callback, run) as hooks:
        if memory is not None:
            hooks.recall(memory)
        hooks.on_train_begin()
        for epoch, values in enumerate(logs):
            if epoch == until:
                return hooks.memory()
            hooks.on_epoch_begin(epoch)
            hooks.on_epoch_end(epoch, dict(values))
        hooks.on_train_end({})
    return None


# -- a server --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            heard.append((self.path, self.headers["Content-Type"], self.headers["X-Who"], body))
            self.send_response(500 if "refuse" in self.path else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    listener = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}", heard
    listener.shutdown()
    listener.server_close()
    thread.join()


def test_a_server_gets_each_epoch_as_keras_sends_it(server):
    root, heard = server
    logs = [{"loss": 0.5, "matrix": np.arange(2)}, {"loss": np.float32(0.25)}]
    play(RemoteMonitor(root, headers={"X-Who": "me"}), logs)
    play(RemoteMonitor(root, "/other/", send_as_json=True), logs[:1])
    play(RemoteMonitor(root, "/refuse/", field="epoch"), logs[:1])
    (path, kind, who, body), second, third, fourth = heard
    assert (path, kind, who) == ("/publish/epoch/end/", "application/x-www-form-urlencoded", "me")
    assert json.loads(urllib.parse.parse_qs(body)["data"][0]) == {"epoch": 0, "loss": 0.5, "matrix": [0, 1]}
    assert json.loads(urllib.parse.parse_qs(second[3])["data"][0]) == {"epoch": 1, "loss": 0.25}
    assert third[:2] == ("/other/", "application/json") and json.loads(third[3])["loss"] == 0.5
    assert "epoch" in urllib.parse.parse_qs(fourth[3])


def test_a_server_that_is_not_there_is_told_of_and_the_run_goes_on():
    with pytest.warns(UserWarning, match="could not reach the server at http://127.0.0.1:9"):
        play(RemoteMonitor("http://127.0.0.1:9", timeout=0.5), [{"loss": 0.5}])
    with pytest.raises(ValueError, match="begins with http://"):
        RemoteMonitor("localhost:9000")


# -- MLflow and Weights & Biases -------------------------------------------------------------------------------------------


class MLflow(ModuleType):
    """What is used of mlflow, written down."""

    def __init__(self, active=None):
        super().__init__("mlflow")
        self.heard, self.active = [], active

    def active_run(self):
        return self.active

    def start_run(self, run_id=None, run_name=None):
        self.heard.append(("start", run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "r1"))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: self.heard.append((name, *args, *options.items()))


class Wandb(ModuleType):
    """What is used of wandb, written down."""

    def __init__(self):
        super().__init__("wandb")
        self.heard, self.run, self.id, self.config = [], None, "w1", SimpleNamespace(update=self.updated)

    def init(self, **options):
        self.heard.append(("init", options))
        self.id = options.get("id", self.id)
        return self

    def updated(self, values, allow_val_change):
        self.heard.append(("config", values))

    def log(self, values):
        self.heard.append(("log", values))

    def finish(self, exit_code):
        self.heard.append(("finish", exit_code))


LOGS = [{"loss": 0.5, "matrix": [1, 2]}, {"loss": 0.25, "val_loss": float("nan")}, {"loss": 0.125}]


def optimizer():
    from cenote import optimizers, schedules

    return optimizers.Adam(schedules.CosineDecay(0.1, 5), clipnorm=1.0)


def test_mlflow_gets_settings_and_epochs(monkeypatch):
    mlflow = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    play(MLflowLogger("first", "digits", "http://there"), LOGS, Run(optimizer()))
    names = [h[0] for h in mlflow.heard]
    assert names == ["set_tracking_uri", "set_experiment", "start", "log_params", *["log_metrics"] * 3, "end_run"]
    settings = mlflow.heard[3][1]
    assert settings["optimizer"] == "Adam" and settings["optimizer.learning_rate.decay_steps"] == 5
    assert settings["batch_size"] == 32 and settings["optimizer.clipnorm"] == 1.0
    assert mlflow.heard[4][1:] == ({"learning_rate": 0.25, "loss": 0.5}, ("step", 0))
    assert mlflow.heard[-1] == ("end_run", ("status", "FINISHED"))


def test_a_killed_run_goes_on_in_the_same_run_of_mlflow(monkeypatch):
    mlflow = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    memory = play(MLflowLogger(), LOGS, until=2)
    assert mlflow.heard[-1] == ("end_run", ("status", "FAILED")), "the process lived long enough to say so"
    mlflow.heard.clear()
    play(MLflowLogger(), LOGS, memory=memory)
    assert mlflow.heard[0] == ("start", "r1", None) and "log_params" not in [h[0] for h in mlflow.heard]


def test_a_run_of_the_users_own_is_written_to_and_left_open(monkeypatch):
    mlflow = MLflow(active=SimpleNamespace(info=SimpleNamespace(run_id="mine")))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    play(MLflowLogger(log_params=False), LOGS)
    assert [h[0] for h in mlflow.heard] == ["log_metrics"] * 3
    wandb = Wandb()
    wandb.run = wandb
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    play(WandbLogger(config={"seed": 1}), LOGS)
    assert [h[0] for h in wandb.heard] == ["config", "log", "log", "log"] and wandb.heard[0][1]["seed"] == 1


def test_wandb_gets_settings_and_epochs_and_goes_on_after_a_kill(monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    memory = play(WandbLogger("digits", "first", {"seed": 1}, mode="offline"), LOGS, Run(optimizer()), until=1)
    (_, options), log, end = wandb.heard
    assert options["project"] == "digits" and options["mode"] == "offline" and "id" not in options
    assert options["config"]["seed"] == 1 and options["config"]["optimizer"] == "Adam"
    assert log == ("log", {"epoch": 0, "learning_rate": 0.25, "loss": 0.5}) and end == ("finish", 1)
    play(WandbLogger("digits"), LOGS, memory=memory)
    assert wandb.heard[3][1]["id"] == "w1" and wandb.heard[3][1]["resume"] == "allow" and wandb.heard[-1] == ("finish", 0)


@pytest.mark.parametrize(("kind", "package"), [(MLflowLogger, "mlflow"), (WandbLogger, "wandb")])
def test_without_the_package_the_error_names_it(monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs {package}: pip install {package}"):
        play(kind(), LOGS)


def test_of_several_progress_bars_the_first_stays():
    assert ProgbarLogger is Progress
    mine = ProgbarLogger(0)
    assert list(CallbackList([mine, Progress(2)])) == [mine]
