"""The workloads of `explain.py` in captum: with its defaults, and tuned where it has an option for batches."""

import warnings

import captum
import captum.attr
import torch

from . import work
from .of_torch import channels_last, cnn, mlp, pictures

warnings.filterwarnings("ignore")
VERSION = captum.__version__


def prepare(workload: str, tuned: bool):
    if workload == "ig_mlp":
        x, method = torch.tensor(work.rows(512, 64)), captum.attr.IntegratedGradients(mlp(work.MLP))
        options = {"internal_batch_size": 2048} if tuned else {}
        return lambda: method.attribute(x, target=work.TARGET, n_steps=50, **options).detach().numpy()
    if workload == "deepshap":
        x, others = torch.tensor(work.rows(64, 64)), torch.tensor(work.rows(50, 64, 3))
        method = captum.attr.DeepLiftShap(mlp((*work.MLP[:-1], 1)))
        return lambda: method.attribute(x, others, target=work.TARGET).detach().numpy()
    model, x = cnn(), pictures()
    if workload == "ig_cnn":
        method, options = captum.attr.IntegratedGradients(model), {"internal_batch_size": 256} if tuned else {}
        return lambda: channels_last(method.attribute(x, target=work.TARGET, n_steps=50, **options))
    if workload == "deeplift":
        method = captum.attr.DeepLift(model)
        return lambda: channels_last(method.attribute(x, target=work.TARGET))
    if workload == "occlusion":
        method, options = captum.attr.Occlusion(model), {"perturbations_per_eval": 8} if tuned else {}
        window = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 2, 2)}
        return lambda: channels_last(method.attribute(x, target=work.TARGET, **window, **options))
    method = captum.attr.LayerGradCam(model, model[3])
    return lambda: method.attribute(x, target=work.TARGET).detach().numpy()[:, 0]
