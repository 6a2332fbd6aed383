"""Sending documents to a pipeline API and keeping what comes back."""
