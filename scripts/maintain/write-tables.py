#!/usr/bin/env python3
"""Writes the table of docs/proof.md from the registry, the recorded command lines and
tests/proofs/data/results.yaml.

usage: write-tables.py
"""

from proof_table import DOCUMENT, with_table

if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text("utf-8")), "utf-8")
