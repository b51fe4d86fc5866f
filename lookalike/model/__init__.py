"""Models: backbones, necks, heads, stop layers, RecModel, and weights from elsewhere."""

from lookalike.model.backbones.timm_models import Normalisation, backbone_normalisation
from lookalike.model.build import (
    Model,
    build_backbone,
    build_head,
    build_model,
    build_neck,
    build_rec_model,
)
from lookalike.model.distillation import DISTILLATION, DistillationModel
from lookalike.model.layer_outputs import as_vectors
from lookalike.model.rec_model import RecModel
from lookalike.model.registries import backbones, heads, necks
from lookalike.model.weights.load import LoadReport, load_weights
from lookalike.model.weights.reference_layout import (
    from_reference_state,
    to_reference_key,
    to_reference_state,
)

__all__ = [
    "DISTILLATION",
    "DistillationModel",
    "LoadReport",
    "Model",
    "Normalisation",
    "RecModel",
    "as_vectors",
    "backbone_normalisation",
    "backbones",
    "build_backbone",
    "build_head",
    "build_model",
    "build_neck",
    "build_rec_model",
    "from_reference_state",
    "heads",
    "load_weights",
    "necks",
    "to_reference_key",
    "to_reference_state",
]
