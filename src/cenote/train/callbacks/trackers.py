"""Callbacks that tell other programs how the run goes: a server, MLflow, Weights & Biases."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from typing import Any

from .base import Callback, Logs


class RemoteMonitor(Callback):
    """Send the logs of each epoch to a server by HTTP POST, as a form field that holds JSON, or as JSON.

    A server that does not answer is told of by a warning; the run goes on.

    Args:
        root, path: the address is both together.
        field: the name of the form field.
        headers: more headers of the request.
        send_as_json: send the JSON itself, without a form.
        timeout: seconds to wait for the server.

    Source: the first five arguments, and what is sent, are those of Keras's callback of this name.
    """

    watches_model = False
    decides = False

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
        *,
        timeout: float = 5.0,
    ) -> None:
        if not root.startswith(("http://", "https://")):
            raise ValueError(f"RemoteMonitor(root={root!r}): give an address that begins with http:// or https://")
        self.root, self.path, self.field, self.headers = root, path, field, dict(headers or {})
        self.send_as_json, self.timeout = send_as_json, timeout

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        message = json.dumps({"epoch": epoch, **(logs or {})}, default=_item)
        if self.send_as_json:
            body, kind = message, "application/json"
        else:
            body, kind = urllib.parse.urlencode({self.field: message}), "application/x-www-form-urlencoded"
        request = urllib.request.Request(
            self.root + self.path, body.encode(), {"Content-Type": kind, **self.headers}, method="POST"
        )
        try:
            urllib.request.urlopen(request, timeout=self.timeout).close()
        except urllib.error.HTTPError as error:
            error.close()  # it was reached; as in Keras its answer does not matter
        except OSError as error:
            warnings.warn(f"RemoteMonitor could not reach the server at {self.root}: {error}", stacklevel=2)


def _item(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


class _Tracker(Callback):
    """What trackers of experiments share: one run of theirs for each of ours, taken up again after a crash."""

    watches_model = False
    decides = False
    _id: str | None = None
    _open = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._id, self._open = None, False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if not self._open:  # not before: a resumed run knows only now which of theirs it belongs to
            self._id = self.begin(self._id, settings(self.run))
            self._open = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        record = self.run.history.records[-1] if self.run.history.records else {}
        values = {"learning_rate": record.get("learning_rate", self.run.learning_rate), **(logs or {})}
        self.log({k: v for k, v in values.items() if isinstance(v, (int, float)) and v == v}, epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._finish("killed" if getattr(self.run, "interrupted", False) else "finished")

    def close(self) -> None:
        self._finish("failed")  # nothing is open after a run that ended well

    def _finish(self, how: str) -> None:
        if self._open:
            self._open = False
            self.end(how)

    def memory(self) -> dict[str, Any]:
        return {"id": self._id}

    def recall(self, memory: dict[str, Any]) -> None:
        self._id = memory["id"]

    def begin(self, known: str | None, settings: dict[str, Any]) -> str | None:
        raise NotImplementedError

    def log(self, values: dict[str, float], epoch: int) -> None:
        raise NotImplementedError

    def end(self, how: str) -> None:
        raise NotImplementedError


class MLflowLogger(_Tracker):
    """Log settings and the quantities of each epoch to MLflow: ``MLflowLogger(experiment_name="digits")``.

    Inside ``with mlflow.start_run():`` it writes to that run and leaves it open; else it starts and ends one of its own.
    A run that was killed and resumed from a checkpoint goes on in the same MLflow run.

    Args:
        run_name, experiment_name, tracking_uri: MLflow's, where not set before.
        log_params: log the optimizer's settings, epochs, and batch size.

    Raises: ImportError, when training begins, without mlflow.
    """

    def __init__(
        self,
        run_name: str | None = None,
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        *,
        log_params: bool = True,
    ) -> None:
        self.run_name, self.experiment_name, self.tracking_uri = run_name, experiment_name, tracking_uri
        self.log_params = log_params

    def begin(self, known: str | None, settings: dict[str, Any]) -> str | None:
        self._mlflow = mlflow = _import("mlflow", "MLflowLogger")
        if self.tracking_uri is not None:
            mlflow.set_tracking_uri(self.tracking_uri)
        if self.experiment_name is not None:
            mlflow.set_experiment(self.experiment_name)
        active = mlflow.active_run()
        self._ours = active is None
        found = active or (mlflow.start_run(run_id=known) if known else mlflow.start_run(run_name=self.run_name))
        if self.log_params and not known:
            mlflow.log_params(settings)
        return found.info.run_id

    def log(self, values: dict[str, float], epoch: int) -> None:
        self._mlflow.log_metrics(values, step=epoch)

    def end(self, how: str) -> None:
        if self._ours:
            self._mlflow.end_run(status=how.upper())


class WandbLogger(_Tracker):
    """Log settings and the quantities of each epoch to Weights & Biases: ``WandbLogger(project="digits")``.

    After ``wandb.init()`` it writes to that run and leaves it open; else it starts and finishes one of its own. A run that
    was killed and resumed from a checkpoint goes on in the same run there.

    Args:
        project, name, config: as in ``wandb.init``; the optimizer's settings, epochs, and batch size are added to the config.
        options: more arguments of ``wandb.init``, such as ``entity`` or ``mode="offline"``.

    Raises: ImportError, when training begins, without wandb.
    """

    def __init__(
        self, project: str | None = None, name: str | None = None, config: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        self.project, self.name, self.config, self.options = project, name, dict(config or {}), options

    def begin(self, known: str | None, settings: dict[str, Any]) -> str | None:
        wandb = _import("wandb", "WandbLogger")
        config = {**settings, **self.config}
        self._ours = wandb.run is None
        if self._ours:
            again = {"id": known, "resume": "allow"} if known else {}
            self._wandb = wandb.init(project=self.project, name=self.name, config=config, **again, **self.options)
        else:
            self._wandb = wandb.run
            self._wandb.config.update(config, allow_val_change=True)
        return self._wandb.id

    def log(self, values: dict[str, float], epoch: int) -> None:
        self._wandb.log({"epoch": epoch, **values})

    def end(self, how: str) -> None:
        if self._ours:
            self._wandb.finish(exit_code=0 if how == "finished" else 1)


def settings(run: Any) -> dict[str, Any]:
    """What a run was told, flat: epochs, batch size, and the optimizer's arguments."""
    found: dict[str, Any] = {"epochs": run.epochs, "batch_size": run.batch_size, "steps_per_epoch": run.steps}
    optimizer = getattr(run.model, "optimizer", None)
    try:
        config = optimizer.config() if optimizer is not None else {}
    except TypeError:  # a transformation of optax has no plain values
        config = {"class": getattr(optimizer, "name", type(optimizer).__name__)}
    if config:
        _flatten("optimizer", {("" if k == "class" else k): v for k, v in config.items()}, found)
    return {k: v for k, v in found.items() if v is not None}


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if key else prefix, inner, into)
    else:
        into[prefix] = value


def _import(package: str, callback: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"the {callback} callback needs {package}: pip install {package}") from error
