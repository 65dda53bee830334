"""Picture codecs: what goes in comes out, nearly; finer is larger and nearer; what counts is the picture."""

import os

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from bench.rivals import RIVALS, frames, slices


def photo(width, height):
    """Smooth shapes with some texture."""
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse).astype(int) + rng.integers(-6, 7, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("size", [(96, 64), (101, 67)])
def test_finer_is_larger_and_nearer(name, size):
    picture, rival = photo(*size), RIVALS[name]
    sizes, errors = [], []
    for quality in rival.ladder[::3]:
        data = rival.encode(picture, quality)
        back = rival.decode(data)[: size[1], : size[0]]
        assert back.shape == picture.shape
        assert 0 < rival.counted(data) < len(data)
        sizes.append(rival.counted(data))
        errors.append(np.mean((back.astype(float) - picture) ** 2))
    assert sizes == sorted(sizes)
    assert errors[-1] < errors[0] / 2
    assert errors[-1] < 60  # 30 dB: the same picture


@pytest.mark.parametrize("name", ["x265", "av1"])
def test_what_does_not_count_is_the_same_for_every_picture(name):
    rival = RIVALS[name]
    one, other = (rival.encode(p, rival.ladder[4]) for p in (photo(96, 64), photo(96, 64)[::-1]))
    left_out = len(one) - rival.counted(one)
    assert left_out == len(other) - rival.counted(other)
    assert left_out < 100
    assert one[:left_out] == other[:left_out]


def test_streams_are_read_by_their_units():
    # HEVC: a parameter set (type 33) with a long and a slice (type 19) with a short start code.
    assert slices(b"\0\0\0\1" + bytes([33 << 1, 1, 5, 5]) + b"\0\0\1" + bytes([19 << 1, 1, 7, 7, 7])) == 9
    # AV1: a temporal delimiter (2), a sequence header (1) of three bytes, a frame (6).
    assert frames(bytes([2 << 3 | 2, 0, 1 << 3 | 2, 3, 9, 9, 9, 6 << 3 | 2, 2, 8, 8])) == 4


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_no_encoder_changes_the_priority_of_who_calls_it(name):
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    RIVALS[name].encode(np.zeros((64, 64, 3), np.uint8), RIVALS[name].ladder[0])
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before
