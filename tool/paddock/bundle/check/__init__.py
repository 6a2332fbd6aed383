"""Checking a bundle without an engine: is it whole, is it signed by a trusted key, is it new enough."""
