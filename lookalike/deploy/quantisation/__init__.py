"""From a float graph to one that computes on 8-bit values, without training."""

from lookalike.deploy.quantisation.quantise import QuantisationReport, quantise_graph

__all__ = ["QuantisationReport", "quantise_graph"]
