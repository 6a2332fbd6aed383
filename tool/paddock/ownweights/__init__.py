"""Weights that paddock makes itself: test weights and the embedded model."""
