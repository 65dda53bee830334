"""Round trips, the kernel equal to the reference on every input good or bad, and what the coded levels cost."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.codec import _kernel, cabac
from common.codec.clip import optimal_clip
from common.codec.quantise import quantise
from common.errors import BitstreamError
from tests.codec.samples import RESNET50, YOLOV3, entropy, features


@st.composite
def tensors(draw: st.DrawFn, longest: int = 300) -> tuple[np.ndarray, int]:
    levels = draw(st.integers(2, 256) if draw(st.booleans()) else st.integers(2, 8))
    top = draw(st.integers(0, levels - 1))
    return draw(arrays(np.uint8, st.integers(0, longest), elements=st.integers(0, top))), levels


def decoded(data: bytes, count: int, levels: int) -> np.ndarray | None:
    q = np.empty(count, np.uint8)
    return q if _kernel.decode(data, q, levels) else None


def decoded_by_reference(data: bytes, count: int, levels: int) -> np.ndarray | None:
    try:
        return cabac.decode(data, count, levels)
    except BitstreamError:
        return None


@given(tensors())
@example((np.zeros(0, np.uint8), 2))
@example((np.array([255], np.uint8), 256))
def test_kernel_equals_reference(tensor: tuple[np.ndarray, int]) -> None:
    q, levels = tensor
    data = _kernel.encode(q, levels)
    assert data == cabac.encode(q, levels)
    assert np.array_equal(decoded(data, q.size, levels), q)
    assert np.array_equal(cabac.decode(data, q.size, levels), q)


@pytest.mark.parametrize(("levels", "scale"), [(2, 0.3), (3, 0.7), (4, 1.0), (16, 4.0), (256, 40.0)])
def test_kernel_equals_reference_on_long_tensors(levels: int, scale: float) -> None:
    """Long enough for carries into words already written, blocks that are full, and settled shifts."""
    q = np.random.default_rng(levels).exponential(scale, 20_001).clip(0, levels - 1).astype(np.uint8)
    data = _kernel.encode(q, levels)
    assert data == cabac.encode(q, levels)
    assert np.array_equal(decoded(data, q.size, levels), q)


@pytest.mark.parametrize("levels", range(2, 257))
def test_round_trip_for_every_number_of_levels(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for q in (
        rng.integers(0, levels, 3000, np.uint8, endpoint=False),
        np.zeros(3000, np.uint8),
        np.full(3000, levels - 1, np.uint8),
        np.arange(3000).astype(np.uint8) % np.uint8(min(levels, 255)),
        np.empty(0, np.uint8),
    ):
        assert np.array_equal(decoded(_kernel.encode(q, levels), q.size, levels), q)


@pytest.mark.parametrize("n", range(300))
def test_round_trip_for_every_short_length(n: int) -> None:
    q = np.random.default_rng(n).integers(0, 4, n, np.uint8)
    data = _kernel.encode(q, 4)
    assert data == cabac.encode(q, 4)
    assert np.array_equal(decoded(data, n, 4), q)


def test_nothing_costs_two_bytes() -> None:
    assert _kernel.encode(b"", 4) == b"\0\0"


@pytest.mark.parametrize(("model", "name"), [(RESNET50, "resnet50"), (YOLOV3, "yolov3")], ids=["resnet50", "yolov3"])
@pytest.mark.parametrize("levels", range(2, 17))
def test_size_is_within_a_percent_of_the_entropy(model, name, levels) -> None:
    x = features(model, 200_000, seed=levels)
    q = quantise(x, *optimal_clip(model, levels), levels)
    assert len(_kernel.encode(q, levels)) <= 1.01 * entropy(q) * q.size / 8 + 5


def test_changing_statistics_cost_less_than_the_entropy() -> None:
    """Sixteen channels of different scale: a static order-0 code would need the entropy of the mixture."""
    x = features(RESNET50, 16 * 1600).reshape(16, 1600) * np.geomspace(0.1, 2, 16, dtype=np.float32)[:, None]
    for levels in (2, 3, 4, 8):
        q = quantise(x, *optimal_clip(RESNET50, levels), levels)
        assert len(_kernel.encode(q, levels)) < 0.97 * entropy(q) * q.size / 8


def test_a_constant_costs_almost_nothing() -> None:
    for level in (0, 1, 3):
        assert len(_kernel.encode(np.full(25_600, level, np.uint8), 4)) < 40


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(2, 256))
def test_what_is_accepted_is_what_encode_writes(data: bytes, count: int, levels: int) -> None:
    q = decoded(data, count, levels)
    reference = decoded_by_reference(data, count, levels)
    assert (q is None) == (reference is None)
    if q is not None:
        assert np.array_equal(q, reference)
        assert _kernel.encode(q, levels) == data


@settings(max_examples=300)
@given(tensors(), st.data())
def test_mutations_are_refused_or_are_another_tensor(tensor: tuple[np.ndarray, int], draw: st.DataObject) -> None:
    q, levels = tensor
    data = bytearray(_kernel.encode(q, levels))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, max(len(data) - 1, 0)))
        match draw.draw(st.sampled_from(["flip", "cut", "add"])):
            case "flip" if data:
                data[at] ^= 1 << draw.draw(st.integers(0, 7))
            case "cut" if data:
                del data[at]
            case _:
                data.insert(at, draw.draw(st.integers(0, 255)))
    other = decoded(bytes(data), q.size, levels)
    reference = decoded_by_reference(bytes(data), q.size, levels)
    assert (other is None) == (reference is None)
    if other is not None:
        assert np.array_equal(other, reference)
        assert _kernel.encode(other, levels) == data


def test_every_truncation_and_every_addition_is_refused() -> None:
    q = np.random.default_rng(0).integers(0, 4, 500, np.uint8)
    data = _kernel.encode(q, 4)
    for length in range(len(data)):
        assert decoded(data[:length], q.size, 4) is None
        assert decoded(data[length + 1 :], q.size, 4) is None
        assert decoded(data[:length] + b"\0" + data[length:], q.size, 4) is None
    assert decoded(data + b"\0", q.size, 4) is None
    assert decoded(data, q.size - 1, 4) is None
    assert decoded(data, q.size + 1, 4) is None


def test_eight_bytes_of_ones_are_no_start() -> None:
    for data in (b"\xff" * 8, b"\xff" * 40, b"\0" + b"\xff" * 8):
        assert decoded(data, 10, 4) is None
        assert decoded_by_reference(data, 10, 4) is None


@pytest.mark.parametrize("levels", [-1, 0, 1, 257])
def test_kernel_refuses_levels_outside_its_range(levels: int) -> None:
    with pytest.raises(ValueError, match=r"2\.\.256"):
        _kernel.encode(b"\0", levels)
    with pytest.raises(ValueError, match=r"2\.\.256"):
        _kernel.decode(b"\0\0", bytearray(1), levels)


def test_kernel_refuses_a_level_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="below 4, got 200"):
        _kernel.encode(bytes([0, 3, 200]), 4)


def test_threads_do_not_meet() -> None:
    tensors = [np.random.default_rng(i).integers(0, 4, 50_000, np.uint8) for i in range(8)]
    expected = [_kernel.encode(q, 4) for q in tensors]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda q: _kernel.encode(q, 4), tensors)) == expected
        back = pool.map(lambda data: decoded(data, 50_000, 4), expected)
        assert all(np.array_equal(a, b) for a, b in zip(back, tensors, strict=True))
