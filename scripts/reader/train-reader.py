#!/usr/bin/env python3
"""Train the vision tower of the embedded model, and pack it for paddock (docs/reference/embedded-model.md).

    scripts/reader/train-reader.py --minutes 60 --out /var/tmp/reader        # again: goes on where it was
    scripts/reader/train-reader.py --out /var/tmp/reader --pack FILE    # for embedded/vision.safetensors

Needs torch, numpy, Pillow and safetensors, matplotlib for the curve, and Debian's fonts-dejavu-core,
fonts-liberation, fonts-freefont-ttf and wamerican. On a CPU several workers of one thread train the same
weights; on CUDA one worker does. Ctrl-C, SIGSTOP and a kill lose at most a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from evaluate import report
from safetensors.torch import save_file
from tower import Tower, hub_tensors
from train import Plan, train


def main() -> None:
    """Train, or pack what was trained."""
    parser = argparse.ArgumentParser(description="Train the embedded model's vision tower.")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the checkpoint, the curve and the figures"
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long in all (default: 60)")
    parser.add_argument("--workers", type=int, default=2, help="on a CPU (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--pack", type=Path, metavar="FILE", help="write the weights there instead of training"
    )
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        out=chosen.out,
        seconds=60 * chosen.minutes,
        workers=chosen.workers,
        seed=chosen.seed,
        device=chosen.device,
    )
    if chosen.pack is None:
        train(plan)
    tower = Tower()
    tower.load_state_dict(torch.load(plan.checkpoint)["average"])
    if chosen.pack is not None:
        save_file(hub_tensors(tower), chosen.pack)
    for damaged in (False, True):
        for font, (wrong, exact) in report(tower, count=100, seed=2, damaged=damaged).items():
            name = f"{font} (damaged)" if damaged else font
            print(f"{name}: {wrong:.2%} of the characters wrong, {exact:.0%} exact")


if __name__ == "__main__":
    main()
