"""The model folder and what runs it. The Embedder needs no torch; `lookalike.deploy.export` does."""

from lookalike.deploy.embedder import Embedder
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.thresholds import Thresholds

__all__ = ["Embedder", "ModelFolder", "Thresholds"]
