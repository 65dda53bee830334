"""The embedded detector's recipe: what differs from `train.loop`'s and `train.detection`'s defaults."""

from pathlib import Path

import cv2
import torch

from bench.coco import LABELS
from bench.settings import data_root
from train.detection import DetectorTask, Schedule
from train.export import export_run
from train.loop import Plan, Run, fit
from train.nets.detector import Detector
from train.photos import Photos
from train.teacher import Teacher

SEED = 1
STEPS = 15_000


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` and export to `out`/export; with `resume`, go on, perhaps to another number of steps."""
    cv2.setNumThreads(1)  # the thread that makes batches must not compete with the network's
    torch.manual_seed(SEED)
    photos = Photos(data_root(), out.parent / "cache")
    teacher = Teacher(data_root() / "weights" / "nanodet_m_320.onnx")
    task = DetectorTask(photos, Detector(len(LABELS)), Schedule(), SEED, teacher)
    run = fit(task, Plan(steps, rate=1.5e-3, decay=0.03, ema=0.999, threads=threads), out, resume)
    export_run(out / "checkpoint.pt", out / "export")
    return run
