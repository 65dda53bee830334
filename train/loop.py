"""One training loop for every recipe: AdamW, EMA, constant-then-cosine, bf16, checkpoints, a CSV and its plot.

What is trained is a `Task`: a model, the batch of a step (made in a thread, one step ahead) and its loss in
named parts. All randomness of a step comes from its number, so that stopping and resuming changes nothing.
"""

import copy
import csv
import itertools
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.errors import MidstreamError
from train import descent

GENTLY = 0.1
"""Share of the learning rate."""


class Task(Protocol):
    """What a recipe hands to `fit`."""

    model: nn.Module

    def batch(self, step: int, progress: float) -> Any:
        """Return the batch of `step`, a function of its arguments alone; runs beside the previous step."""

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Return the weighted parts of the loss, scalars, whose sum is minimised."""


@runtime_checkable
class ManyTask(Protocol):
    """A `Task` with several objectives: each step goes where none of them gets worse (`train.descent`)."""

    def losses(self, batch: Any, step: int, progress: float) -> Iterator[dict[str, Tensor]]:
        """Yield the parts of each objective in turn; the graph of one is used before the next is asked for."""


@runtime_checkable
class PlacedTask(Protocol):
    """A `Task` with tensors or networks of its own beside the model, which must be where the model is."""

    def to(self, device: torch.device) -> None:
        """Move them there; called once, before the first step."""


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
    gentle: tuple[str, ...] = ()
    """Beginnings of names: these parameters know something already and learn at a tenth of the rate."""

    def rate_at(self, step: int) -> float:
        """Return the learning rate of `step`."""
        cooling = max(0.0, (step / self.steps - (1 - self.cool)) / self.cool)
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * cooling)) / 2)


class NotFiniteError(RuntimeError):
    """The loss, or its gradient, became infinite or not a number; the message names the parts of the loss."""


class Run:
    """The state of a training run: everything a checkpoint holds."""

    def __init__(self, task: Task, plan: Plan) -> None:
        self.task, self.plan, self.step = task, plan, 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = task.model.to(self.device, memory_format=torch.channels_last)
        if isinstance(task, PlacedTask):
            task.to(self.device)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(_groups(self.model, plan), lr=plan.rate, fused=True)

    def advance(self, batch: Any) -> dict[str, float]:
        """Take one step and return the loss, its parts, the gradient's norm and the rate."""
        plan, rate = self.plan, self.plan.rate_at(self.step)
        torch.manual_seed(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        batch = moved(batch, self.device)
        values = self._descend_together(batch) if isinstance(self.task, ManyTask) else self._descend(batch)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip).item()
        if not math.isfinite(norm):  # a step along it would spoil the weights, and with them the checkpoint
            raise NotFiniteError(f"the gradient of step {self.step} is not finite: {values}")
        self.optimiser.step()
        self._average()
        self.step += 1
        return {**values, "norm": norm, "rate": rate}

    def _descend(self, batch: Any) -> dict[str, float]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.bf16):
            parts = self.task.loss(batch, self.step, self.step / self.plan.steps)
        total, values = self._total(parts)
        total.backward()
        return values

    def _descend_together(self, batch: Any) -> dict[str, float]:
        weights = [p for p in self.model.parameters() if p.requires_grad]
        gradients, total_loss, values = [], 0.0, {}
        losses = self.task.losses(batch, self.step, self.step / self.plan.steps)
        for number in itertools.count():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.bf16):
                parts = next(losses, None)
            if parts is None:
                break
            total, of = self._total(parts)
            found = torch.autograd.grad(total, weights, allow_unused=True)
            gradients.append([torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)])
            total_loss += of["loss"]
            values |= {f"{name}{number}": value for name, value in of.items()}
        mixed, shares = descent.common(gradients)
        for weight, gradient in zip(weights, mixed, strict=True):
            weight.grad = gradient
        return {"loss": total_loss, **values, **{f"share{i}": share for i, share in enumerate(shares.tolist())}}

    def _total(self, parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        total = torch.stack(list(parts.values())).sum()
        values = {name: part.item() for name, part in parts.items()}
        if not math.isfinite(total.item()):
            raise NotFiniteError(f"the loss of step {self.step} is not finite: {values}")
        return total, {"loss": total.item(), **values}

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
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of the same model and plan. Raises MidstreamError if it is of another."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        shares = [group["share"] for group in self.optimiser.param_groups]
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]
        except (KeyError, RuntimeError, ValueError) as e:
            raise MidstreamError(f"{path} is of another model or plan; train anew, without --resume: {e}") from e
        for group, share in zip(self.optimiser.param_groups, shares, strict=True):
            group["share"] = share  # the plan's: loading put the checkpoint's in its place, or none


def fit(task: Task, plan: Plan, out: Path, resume: bool = False) -> Run:
    """Train to `plan.steps`, writing `out/checkpoint.pt`, `out/log.csv` and `out/log.png`; return the run.

    SIGINT and SIGTERM end it after the current step, with a checkpoint.
    """
    if plan.threads:
        torch.set_num_threads(plan.threads)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.csv"
    run = Run(task, plan)
    if resume and checkpoint.exists():
        run.load(checkpoint)
        print(f"resumed at step {run.step}", flush=True)
    else:
        log.unlink(missing_ok=True)
    stop, saved = _stop_on_signal(), time.monotonic()
    with Report(log, run.step, plan) as report:
        for batch in _ahead(task, run.step, plan.steps):
            report.show(run.step + 1, run.advance(batch))
            if stop.is_set() or time.monotonic() - saved > plan.save_s:
                run.save(checkpoint)
                saved = time.monotonic()
            if stop.is_set():
                raise KeyboardInterrupt(f"stopped at step {run.step}; go on with --resume")
    run.save(checkpoint)
    plot(log, out / "log.png")
    return run


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with its tensors on the device, those in tuples and lists too; what else there is stays as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    return tuple(moved(part, device) for part in batch) if isinstance(batch, tuple | list) else batch


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    return stop


def _groups(model: nn.Module, plan: Plan) -> list[dict]:
    names = [name for name, _ in model.named_parameters()]
    if unknown := [each for each in plan.gentle if not any(name.startswith(each) for name in names)]:
        raise ValueError(f"gentle: the model has no parameters named {unknown[0]}...")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = plan.decay if parameter.ndim > 1 else 0.0
        share = GENTLY if plan.gentle and name.startswith(plan.gentle) else 1.0
        groups.setdefault((decay, share), []).append(parameter)
    return [{"params": each, "weight_decay": decay, "share": share} for (decay, share), each in groups.items()]


def _ahead(task: Task, first: int, last: int, lead: int = 3) -> Iterator[Any]:
    """Yield the batches of steps first..last-1, each made while the steps before it run."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(task.batch, s, s / last) for s in range(first, min(first + lead, last))]
        for step in range(first + lead, last + lead):
            batch = waiting.pop(0).result()
            if step < last:
                waiting.append(pool.submit(task.batch, step, step / last))
            yield batch


class Report:
    """What a run says: a CSV row and a line every so many steps; on a terminal a progress bar instead of lines."""

    def __init__(self, log: Path, first: int, plan: Plan) -> None:
        self.log, self.plan, self.began, self.first = log, plan, time.monotonic(), first
        self.bar = tqdm(total=plan.steps, initial=first, disable=not sys.stderr.isatty(), unit="step")

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, step: int, row: dict[str, float]) -> None:
        """Take note of a finished step."""
        self.bar.update()
        if step % self.plan.log_every and step != self.plan.steps:
            return
        seconds = time.monotonic() - self.began
        self._write({"step": step, "seconds": round(seconds, 1), **row})
        parts = " ".join(f"{name} {value:.4g}" for name, value in row.items())
        self.bar.set_postfix_str(parts)
        if self.bar.disable:
            speed = (step - self.first) / seconds
            left = (self.plan.steps - step) / speed / 60
            print(f"step {step}/{self.plan.steps}  {parts}  {speed:.2f} steps/s  {left:.0f} min left", flush=True)

    def _write(self, row: dict[str, float]) -> None:
        fresh = not self.log.exists()
        with self.log.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(row)
            writer.writerow(f"{v:.6g}" for v in row.values())


def plot(log: Path, picture: Path) -> None:
    """Draw the loss parts and the rate of a CSV log over the steps."""
    from matplotlib.figure import Figure

    with log.open() as file:
        rows = list(csv.DictReader(file))
    steps = [float(r["step"]) for r in rows]
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    for name in (n for n in rows[0] if n not in ("step", "seconds", "rate", "norm")):
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
