"""Measuring: quantisation, feature networks, streaming statistics, distances and scores."""

from hdit_repro.metrics.frechet import frechet_distance

__all__ = ["frechet_distance"]
