"""Sizing a VLM server for a card."""
