"""The loop, optimizers, schedules, checkpoints, averaged weights, mixed precision, tracking."""

from lookalike.training.optimizers import build_optimizer
from lookalike.training.schedules import build_schedule
from lookalike.training.scoring import evaluate
from lookalike.training.trainer import TrainResult, train

__all__ = ["TrainResult", "build_optimizer", "build_schedule", "evaluate", "train"]
