"""One training loop for every recipe: AdamW, EMA, constant-then-cosine, bf16, checkpoints, a CSV and its plot.

What is trained is a `Task`: a model, the batch of a step (made in a thread, one step ahead) and its loss in
named parts. All randomness of a step comes from its number, so that stopping and resuming changes nothing.
"""

import copy
import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Task(Protocol):
    """What a recipe hands to `fit`."""

    model: nn.Module

    def batch(self, step: int, progress: float) -> Any:
        """Return the batch of `step`, a function of its arguments alone; runs beside the previous step."""

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Return the weighted parts of the loss, scalars, whose sum is minimised."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; `progress` runs from 0 to 1 over `steps`."""

    steps: int
    rate: float = 1.5e-3
    decay: float = 0.03
    warmup: int = 300
    cool: float = 0.35
    """The share of the steps, at the end, over which the rate falls along a cosine."""
    ema: float = 0.999
    clip: float = 10.0
    bf16: bool = True
    save_s: float = 240.0
    log_every: int = 20
    threads: int | None = None

    def rate_at(self, step: int) -> float:
        """Return the learning rate of `step`."""
        cooling = max(0.0, (step / self.steps - (1 - self.cool)) / self.cool)
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * cooling)) / 2)


class NotFiniteError(RuntimeError):
    """The loss became infinite or not a number; the message names the parts."""


class Run:
    """The state of a training run: everything a checkpoint holds."""

    def __init__(self, task: Task, plan: Plan) -> None:
        self.task, self.plan, self.step = task, plan, 0
        self.model = task.model.to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(_groups(self.model, plan.decay), lr=plan.rate, fused=True)

    def advance(self, batch: Any) -> dict[str, float]:
        """Take one step and return the loss parts, the gradient's norm and the rate."""
        plan, rate = self.plan, self.plan.rate_at(self.step)
        torch.manual_seed(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
            parts = self.task.loss(batch, self.step, self.step / plan.steps)
        total = torch.stack(list(parts.values())).sum()
        values = {name: part.item() for name, part in parts.items()}
        if not math.isfinite(total.item()):
            raise NotFiniteError(f"the loss of step {self.step} is not finite: {values}")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip)
        self.optimiser.step()
        self._average()
        self.step += 1
        return {"loss": total.item(), **values, "norm": norm.item(), "rate": rate}

    @torch.no_grad()
    def _average(self) -> None:
        # A young average forgets faster, or it would carry the initial weights for thousands of steps.
        decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True):
            mean.lerp_(now, 1 - decay) if mean.is_floating_point() else mean.copy_(now)

    def save(self, path: Path) -> None:
        """Write the checkpoint so that a crash leaves the old one or the new one."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of the same model."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])


def fit(task: Task, plan: Plan, out: Path, resume: bool = False, say: Callable[[str], None] = print) -> Run:
    """Train to `plan.steps`, writing `out/checkpoint.pt`, `out/log.csv` and `out/log.png`; return the run."""
    if plan.threads:
        torch.set_num_threads(plan.threads)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.csv"
    run = Run(task, plan)
    if resume and checkpoint.exists():
        run.load(checkpoint)
        say(f"resumed at step {run.step}")
    else:
        log.unlink(missing_ok=True)
    began, saved, first = time.monotonic(), time.monotonic(), run.step
    for batch in _ahead(task, run.step, plan.steps):
        row = run.advance(batch)
        if run.step % plan.log_every == 0 or run.step == plan.steps:
            speed = (run.step - first) / (time.monotonic() - began)
            _log(log, {"step": run.step, "seconds": round(time.monotonic() - began, 1), **row})
            say(_line(run.step, plan.steps, row, speed))
        if time.monotonic() - saved > plan.save_s or run.step == plan.steps:
            run.save(checkpoint)
            saved = time.monotonic()
    plot(log, out / "log.png")
    return run


def _groups(model: nn.Module, decay: float) -> list[dict]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _ahead(task: Task, first: int, last: int) -> Iterator[Any]:
    """Yield the batches of steps first..last-1, each made while the steps before it run."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(task.batch, s, s / last) for s in range(first, min(first + 3, last))]
        for step in range(first, last):
            if step + 3 < last:
                waiting.append(pool.submit(task.batch, step + 3, (step + 3) / last))
            yield waiting.pop(0).result()


def _log(path: Path, row: dict[str, float]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(row)
        writer.writerow(f"{v:.6g}" for v in row.values())


def _line(step: int, steps: int, row: dict[str, float], speed: float) -> str:
    left = (steps - step) / max(speed, 1e-9) / 60
    parts = " ".join(f"{name} {value:.4g}" for name, value in row.items())
    return f"step {step}/{steps}  {parts}  {speed:.2f} steps/s  {left:.0f} min left"


def plot(log: Path, picture: Path) -> None:
    """Draw the loss parts and the rate of a CSV log over the steps."""
    from matplotlib.figure import Figure

    with log.open() as file:
        rows = list(csv.DictReader(file))
    steps = [float(r["step"]) for r in rows]
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    for name in rows[0].keys() - {"step", "seconds", "rate", "norm"}:
        axes.plot(steps, _smooth([float(r[name]) for r in rows]), label=name)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    right = axes.twinx()
    right.plot(steps, [float(r["rate"]) for r in rows], color="0.7", linestyle="--")
    right.set_ylabel("learning rate")
    axes.legend()
    figure.savefig(picture, dpi=120, bbox_inches="tight")


def _smooth(values: list[float], keep: float = 0.9) -> list[float]:
    smooth, mean = [], values[0]
    for value in values:
        mean = keep * mean + (1 - keep) * value
        smooth.append(mean)
    return smooth
