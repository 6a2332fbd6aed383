"""Deltas: binary diffs (recipes) that make a layer from layers that a site has."""
