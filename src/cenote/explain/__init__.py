"""Why a model answered as it did: attributions with a certificate, for models of ours, JAX functions and Python functions.

``model.explain(x)`` chooses the method and says why; every method is a function here, too, ``explain.integrated_gradients(
function, x)``, where ``function`` is a model or any function of a batch.
"""

from .attention import attention_maps, attention_rollout, gradient_attention
from .auto import explain
from .cam import grad_cam, grad_cam_plus_plus
from .check import Check, check
from .concepts import ConceptTest, tcav
from .counterfactual import Counterfactuals, counterfactuals
from .dependence import ale, ice, partial_dependence, permutation_importance
from .gradients import expected_gradients, input_x_gradient, integrated_gradients, saliency, smooth_grad, var_grad
from .influence import Influence, influence, tracin
from .kernel_shap import kernel_shap
from .layers import features, layer_attribution, layer_conductance, up_to
from .lime import lime
from .lrp import lrp
from .occlusion import ablation, occlusion
from .propagate import deeplift, deepshap
from .result import Curves, Explanation, Importance
from .selection import Selection, select_features
from .shapley import Interactions, exact_shapley, permutation_shapley, shapley_interactions
from .superpixels import superpixels
from .words import explain_text

__all__ = [
    "Check",
    "ConceptTest",
    "Counterfactuals",
    "Curves",
    "Explanation",
    "Importance",
    "Influence",
    "Interactions",
    "Selection",
    "ablation",
    "ale",
    "attention_maps",
    "attention_rollout",
    "check",
    "counterfactuals",
    "deeplift",
    "deepshap",
    "exact_shapley",
    "expected_gradients",
    "explain",
    "explain_text",
    "features",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient_attention",
    "ice",
    "influence",
    "input_x_gradient",
    "integrated_gradients",
    "kernel_shap",
    "layer_attribution",
    "layer_conductance",
    "lime",
    "lrp",
    "occlusion",
    "partial_dependence",
    "permutation_importance",
    "permutation_shapley",
    "saliency",
    "select_features",
    "shapley_interactions",
    "smooth_grad",
    "superpixels",
    "tcav",
    "tracin",
    "up_to",
    "var_grad",
]
