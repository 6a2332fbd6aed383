"""Bringing a bundle to a site: plan, load, prove, switch, remember."""
