"""Deltas: recipes that make a layer from those a site has."""
