"""One step a training mode (`Global.train_mode`)."""

from lookalike.training.steps.base import Step, TwoLoaderStep, Workbench
from lookalike.training.steps.modes import build_step, step_of

__all__ = ["Step", "TwoLoaderStep", "Workbench", "build_step", "step_of"]
