"""From a recipe with weights to a model folder. Needs torch."""

from lookalike.deploy.export.from_recipe import ExportOptions, ExportResult, export, export_model

__all__ = ["ExportOptions", "ExportResult", "export", "export_model"]
