"""Training the tower: one process draws lines, workers learn from windows of them and from whole lines.

First each character has its place, the column in which its ink has its middle. Then any placing within one
column of that is right as long as the text comes out, each character once (`log_probability`): the tower
settles by itself where a middle on the border of two columns belongs. Every eighth step takes whole lines,
all rows, and asks the upper rows for silence.
"""

from __future__ import annotations

import math
import os
import random
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import lines
import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from tower import Tower, patches, rotary

WINDOW, BATCH = 32, 24  # columns of a window; windows of a step
LINES = {3: 3000, 4: 1500}  # kept of each number of rows
LONGEST = 64  # characters
WIDTH = lines.WIDEST * lines.UNIT
PLACED = 0.15  # of the time, in which places are given
RATE, LEAST_RATE = 2.5e-3, 5e-5
WHOLE = 8  # every how many steps whole lines are taken
EDGE = 3  # columns at a cut edge of a window that are not judged
NEVER = -1e4


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was asked for."""

    out: Path
    seconds: float
    workers: int
    seed: int
    device: str

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"


class Pool:
    """Drawn lines of one number of rows, in shared memory."""

    def __init__(self, rows: int, size: int) -> None:
        self.rows, self.size = rows, size
        self.pixels = torch.zeros(size, rows * lines.UNIT, WIDTH, dtype=torch.uint8).share_memory_()
        self.places = torch.zeros(size, LONGEST, dtype=torch.int16).share_memory_()
        self.codes = torch.zeros(size, LONGEST, dtype=torch.int16).share_memory_()
        self.shape = torch.zeros(size, 2, dtype=torch.int32).share_memory_()  # width, characters
        self.drawn = mp.Value("l", 0)

    def put(self, line: lines.Line) -> None:
        """Replace the oldest line."""
        at, width, length = self.drawn.value % self.size, line.pixels.shape[1], len(line.text)
        self.pixels[at, :, :width] = torch.from_numpy(line.pixels.copy())
        self.places[at, :length] = torch.tensor(places(line))
        self.codes[at, :length] = torch.tensor([ord(character) - 0x20 for character in line.text])
        self.shape[at] = torch.tensor([width, length])
        self.drawn.value += 1

    @property
    def filled(self) -> int:
        return min(self.drawn.value, self.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """What the processes share: the tower, its running average, drawn lines, seconds spent, steps made."""

    tower: Tower
    average: Tower
    pools: list[Pool]
    spent: Synchronized[float]
    step: Synchronized[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Pictures; the text of each (-1: no more), the place of each character; the columns that are judged."""

    pixels: Tensor
    text: Tensor
    place: Tensor
    first: Tensor
    last: Tensor


def places(line: lines.Line) -> list[int]:
    """The column of each character's middle; where two share one, the second goes to the next."""
    found: list[int] = []
    for left, right in line.spans:
        column = int((left + right) / 2 / lines.PATCH)
        found.append(min(max(column, found[-1] + 1 if found else 0), line.pixels.shape[1] // lines.PATCH - 1))
    return found


def log_probability(glyphs: Tensor, here: Tensor, batch: Batch, slack: int) -> Tensor:
    """The log probability that exactly the text is read.

    Each character may be at most `slack` columns from its place.
    """
    count, columns = here.shape
    quiet, says = F.logsigmoid(-here), F.logsigmoid(here)
    index = batch.text.clamp(min=0)[:, None].expand(count, columns, batch.text.shape[1])
    read = glyphs.log_softmax(-1).gather(2, index) + says[..., None]
    column = torch.arange(columns, device=here.device)
    judged = (column >= batch.first[:, None]) & (column < batch.last[:, None])
    near = (column[None, :, None] - batch.place[:, None]).abs() <= slack
    read = torch.where(near & (batch.text >= 0)[:, None] & judged[..., None], read, NEVER)
    quiet = torch.where(judged, quiet, 0.0)
    # total[:, n]: of all ways to have read n characters so far
    total = torch.full((count, batch.text.shape[1] + 1), NEVER, device=here.device)
    total[:, 0] = 0
    for step in range(columns):
        stay = total + quiet[:, step : step + 1]
        total = torch.cat([stay[:, :1], torch.logaddexp(stay[:, 1:], total[:, :-1] + read[:, step])], 1)
    return total.gather(1, (batch.text >= 0).sum(1, keepdim=True))[:, 0]


def loss(tower: Tower, batch: Batch, *, bottom: bool, slack: int, device: str) -> Tensor:
    """Of the bottom row by character, and of the upper rows for what they say."""
    rows, columns = batch.pixels.shape[1] // lines.PATCH, batch.pixels.shape[2] // lines.PATCH
    cos, sin = _rotary(rows, columns, device)
    with torch.autocast(device, torch.bfloat16):
        glyphs, here = tower(patches(batch.pixels), cos, sin, bottom=bottom)
    found = log_probability(glyphs[:, -1], here[:, -1], batch, slack).clamp(min=-300)
    spoken = -found.sum() / (batch.text >= 0).sum().clamp(min=1)
    return spoken if bottom else spoken + 8 * F.softplus(here[:, :-1] + 3).mean()


def windows(pool: Pool, g: np.random.Generator, *, whole: bool) -> Batch:
    """BATCH windows, or whole lines that are equally wide."""
    shape = pool.shape[: pool.filled].numpy()
    chosen = g.integers(0, pool.filled, BATCH)
    columns = WINDOW
    if whole:
        columns = int(shape[chosen[0], 0]) // lines.PATCH
        alike = np.nonzero(shape[:, 0] == shape[chosen[0], 0])[0]
        chosen = g.choice(alike, max(3, round(700 / columns)))
    size, length = len(chosen), LONGEST if whole else WINDOW
    text, place = torch.full((size, length), -1), torch.zeros(size, length, dtype=torch.long)
    first, last = torch.zeros(size, dtype=torch.long), torch.full((size,), columns)
    pixels = torch.empty(size, pool.rows * lines.UNIT, columns * lines.PATCH, dtype=torch.uint8)
    for row, at in enumerate(chosen):
        width, characters = map(int, shape[at])
        all_places = pool.places[at, :characters].numpy().astype(np.int64)
        most = width // lines.UNIT - columns // 2
        near_text = max(1, min(int(all_places[-1]) // 2 - 4, most) + 1)
        start = 2 * int(g.integers(0, near_text if g.random() < 0.8 else most + 1))
        pixels[row] = pool.pixels[at, :, start * lines.PATCH : (start + columns) * lines.PATCH]
        cut_left, cut_right = start > 0, start < 2 * most
        moved = all_places - start
        inside = np.nonzero((moved >= EDGE * cut_left) & (moved < columns - EDGE * cut_right))[0]
        first[row], last[row] = (EDGE - 1) * cut_left, columns - (EDGE - 1) * cut_right
        if not len(inside):
            continue
        low, high = inside[0], inside[-1]
        if low > 0:
            first[row] = max(int(first[row]), min((moved[low - 1] + moved[low] + 1) // 2, moved[low]))
        if high + 1 < characters:
            last[row] = min(int(last[row]), max((moved[high] + moved[high + 1] + 1) // 2, moved[high] + 1))
        text[row, : len(inside)] = pool.codes[at, low : high + 1].long()
        place[row, : len(inside)] = torch.from_numpy(moved[inside])
    return Batch(pixels=pixels, text=text, place=place, first=first, last=last)


def train(plan: Plan) -> None:
    """Train until the time is over, counted over all starts."""
    torch.manual_seed(plan.seed)
    tower, average, spent, step = Tower(), Tower(), mp.Value("d", 0.0), mp.Value("l", 0)
    if plan.checkpoint.exists():
        found = torch.load(plan.checkpoint)
        tower.load_state_dict(found["tower"])
        average.load_state_dict(found["average"])
        spent.value, step.value = found["spent"], found["step"]
    else:
        average.load_state_dict(tower.state_dict())
    average.requires_grad_(False)
    tower.share_memory()
    pools = [Pool(rows, size) for rows, size in LINES.items()]
    drawing = mp.Process(target=_draw, args=(pools, plan.seed + step.value), daemon=True)
    workers = plan.workers if plan.device == "cpu" else 1
    shared = Shared(tower=tower, average=average, pools=pools, spent=spent, step=step)
    working = [mp.Process(target=_work, args=(number, plan, shared)) for number in range(workers)]
    for process in (drawing, *working):
        process.start()
    for process in working:
        process.join()
    drawing.terminate()


def _draw(pools: list[Pool], seed: int) -> None:
    os.nice(3)
    torch.set_num_threads(1)
    r = random.Random(seed)
    while True:
        pool = pools[int(r.random() < 0.3)]
        pool.put(lines.draw(r, rows=pool.rows))
        if sum(filled.drawn.value for filled in pools) > 1000:
            time.sleep(0.012)  # lines may be seen more than once: drawing must not take the workers' time


class _Worker:
    """One process that trains the shared tower; number 0 also keeps average, time and checkpoint."""

    def __init__(self, number: int, plan: Plan, shared: Shared) -> None:
        torch.set_num_threads(1)
        self._number, self._plan, self._shared = number, plan, shared
        self._chance = np.random.default_rng((plan.seed, number, shared.step.value))
        self._tower = shared.tower if plan.device == "cpu" else Tower().to(plan.device)
        if self._tower is not shared.tower:
            self._tower.load_state_dict(shared.tower.state_dict())
        self._weights = list(self._tower.parameters())
        self._optimizer = _optimizer(self._weights)
        self._memory = plan.out / f"optimizer-{number}.pt"
        if self._memory.exists():
            self._optimizer.load_state_dict(torch.load(self._memory))
        self._losses: list[float] = []

    def run(self) -> None:
        """Train until the time is over."""
        spent = self._shared.spent
        while min(pool.drawn.value for pool in self._shared.pools) < 60:
            time.sleep(0.2)
        last = saved = time.time()
        while spent.value < self._plan.seconds:
            self._learn()
            if self._number == 0:
                now = time.time()
                spent.value += min(now - last, 5.0)  # a stopped process does not count
                last = now
                self._keep_average()
            if time.time() - saved > 60 or spent.value >= self._plan.seconds:
                saved = time.time()
                self._save()

    def _learn(self) -> None:
        plan, step = self._plan, self._shared.step
        share = self._shared.spent.value / plan.seconds
        whole = step.value % WHOLE == WHOLE - 1
        batch = windows(self._shared.pools[int(self._chance.random() < 0.3)], self._chance, whole=whole)
        batch = Batch(**{name: getattr(batch, name).to(plan.device) for name in Batch.__slots__})
        for group in self._optimizer.param_groups:
            group["lr"] = _rate(step.value, share)
        found = loss(self._tower, batch, bottom=not whole, slack=int(share > PLACED), device=plan.device)
        self._optimizer.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        self._losses.append(found.item())
        with step.get_lock():
            step.value += 1

    def _keep_average(self) -> None:
        step, losses = self._shared.step.value, self._losses
        keep = min(0.998, (1 + step) / (20 + step))
        weights = [weight.detach().cpu() for weight in self._weights]
        torch._foreach_lerp_(list(self._shared.average.parameters()), weights, 1 - keep)
        if len(losses) == 100:
            _log(self._plan.out, step, self._shared.spent.value, sum(losses) / len(losses))
            losses.clear()

    def _save(self) -> None:
        _save(self._optimizer.state_dict(), self._memory)
        if self._number != 0:
            return
        shared = self._shared
        if self._tower is not shared.tower:
            for kept, weight in zip(shared.tower.parameters(), self._weights, strict=True):
                kept.data.copy_(weight.data)
        state = {"tower": shared.tower.state_dict(), "average": shared.average.state_dict()}
        _save({**state, "spent": shared.spent.value, "step": shared.step.value}, self._plan.checkpoint)
        _curve(self._plan.out)


def _work(number: int, plan: Plan, shared: Shared) -> None:
    _Worker(number, plan, shared).run()


def _optimizer(weights: list[nn.Parameter]) -> torch.optim.AdamW:
    """An optimizer that lets matrices decay, but not biases and the weights of normalisations."""
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": 0.01},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, RATE, betas=(0.9, 0.98))


def _rate(step: int, share: float) -> float:
    """The learning rate: it warms up over 200 steps and falls as a cosine over the time."""
    warm = min(1.0, (step + 1) / 200)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return warm * (LEAST_RATE + (RATE - LEAST_RATE) * cosine)


def _save(what: object, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(what, partial)
    partial.replace(path)


def _log(out: Path, step: int, seconds: float, value: float) -> None:
    print(f"step {step}, {seconds:.0f} s: {value:.4f} nats a character", flush=True)
    with (out / "curve.csv").open("a", encoding="utf-8") as file:
        file.write(f"{step},{seconds:.0f},{value:.4f}\n")


def _curve(out: Path) -> None:
    """The curve as a picture, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if not (out / "curve.csv").exists():
        return
    rows = [line.split(",") for line in (out / "curve.csv").read_text("utf-8").splitlines()]
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    axes.semilogy([float(row[1]) / 60 for row in rows], [float(row[2]) for row in rows])
    axes.set(xlabel="minutes", ylabel="nats a character")
    figure.savefig(out / "curve.png", dpi=120)


@cache
def _rotary(rows: int, columns: int, device: str) -> tuple[Tensor, Tensor]:
    cos, sin = rotary(rows, columns)
    return cos.to(device), sin.to(device)
