"""Why a model answered as it did: attributions with a certificate, for models of ours, JAX functions and Python functions.

``model.explain(x)`` chooses the method and says why; every method is a function here, too, ``explain.integrated_gradients(
function, x)``, where ``function`` is a model or any function of a batch.
"""

from . import (
    attention,
    cam,
    check,
    concepts,
    counterfactual,
    dependence,
    gradients,
    influence,
    kernel_shap,
    layers,
    lime,
    lrp,
    occlusion,
    propagate,
    selection,
    shapley,
)
from .auto import explain
from .result import Curves, Explanation, Importance

_FAMILIES = [
    *(gradients, propagate, lrp, layers, cam, attention, concepts, shapley, kernel_shap, lime, occlusion, dependence),
    *(influence, counterfactual, selection, check),
]
__all__ = ["Curves", "Explanation", "Importance", "explain"]
for _family in _FAMILIES:
    for _name in _family.__all__:
        globals()[_name] = getattr(_family, _name)
        __all__.append(_name)
