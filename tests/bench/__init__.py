"""Benchmarks: ratios of this project's stack to upstream's way, measured side by side in one run."""
