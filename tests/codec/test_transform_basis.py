"""The laws of blocks and bases, and the kernel equal to the reference up to what floats may do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.settings import MissingDataError, data_root
from common.codec import _kernel, basis, blocks, packed
from common.codec.basis import Basis
from common.codec.blocks import Grid, content_blocks, cosines
from common.codec.packed import GROUP, Packed
from common.codec.window import Window
from tests.codec.transform_samples import SIZES, Array, complete, spans, windows

STEPS = st.sampled_from([0.01, 0.3, 1.0, 7.0])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Basis, Grid, Array, int]:
    """A basis, a window of its tensor, features, and how many planes are active."""
    shape = draw(st.integers(1, 37)), draw(SIZES), draw(SIZES)
    turned = draw(st.sampled_from([0, 1, 15, 16, 40, 1000]))
    made = complete(shape, draw(st.sampled_from(blocks.BLOCKS)), draw(st.integers(0, 99)), turned)
    features = np.random.default_rng(draw(st.integers(0, 99))).laplace(size=shape).astype(np.float32)
    return made, made.grid(draw(windows())), features, draw(st.integers(0, len(made.frequency)))


@pytest.fixture(params=[16, 8, 4], ids=lambda floats: f"{floats} floats")
def registers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every width of register that this machine has."""
    before = _kernel.basis_widest(request.param)
    yield
    _kernel.basis_widest(before)


def analysed(made: Basis, features: Array, grid: Grid, count: int, step: float) -> Array:
    """By the kernel, in steps."""
    y = np.full((count, grid.blocks), np.nan, np.float32)
    Packed(made).analyse(features, grid, y, step)
    return y


def parts_of(made: Basis) -> dict[str, Any]:
    return {field: getattr(made, field) for field in Basis.__dataclass_fields__}


def inside(made: Basis, grid: Grid) -> NDArray[np.bool_]:
    """Which places of the tensor the blocks cover."""
    mask = np.zeros(made.shape[1:], bool)
    mask[grid.top : grid.top + grid.rows * grid.block, grid.left : grid.left + grid.columns * grid.block] = True
    return mask


# ---- Which blocks are coded -------------------------------------------------------------------------------------


@given(spans(), spans(), SIZES, SIZES, st.sampled_from(blocks.BLOCKS))
def test_blocks_cover_what_sees_the_window_and_are_the_fewest(
    across: tuple[int, int, int], down: tuple[int, int, int], height: int, width: int, block: int
) -> None:
    (left, right, net_width), (top, bottom, net_height) = across, down
    grid = content_blocks(Window(left, top, right, bottom, net_width, net_height), height, width, block)
    for low, high, pixels, places, first, count in (
        (top, bottom, net_height, height, grid.top, grid.rows),
        (left, right, net_width, width, grid.left, grid.columns),
    ):
        seen = [i for i in range(places) if i * pixels < high * places and (i + 1) * pixels > low * places]
        assert 0 <= first <= seen[0]
        assert first + count * block > seen[-1]
        assert count == -(-len(seen) // block)
        assert first + count * block <= places or first == 0


@given(SIZES, SIZES, st.sampled_from(blocks.BLOCKS))
def test_no_window_is_the_whole_tensor(height: int, width: int, block: int) -> None:
    assert content_blocks(None, height, width, block) == Grid(block, 0, 0, -(-height // block), -(-width // block))


@pytest.mark.parametrize("window", [(5, 0, 5, 9, 9, 9), (0, 0, 10, 9, 9, 9), (0, -1, 9, 9, 9, 9)])
def test_a_window_outside_its_picture_is_refused(window: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="window: expected"):
        content_blocks(Window(*window), 8, 8, 4)


# ---- Reference ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks.BLOCKS)
def test_cosines_are_orthonormal_and_rise_in_frequency(block: int) -> None:
    waves = cosines(block)
    assert np.allclose(waves @ waves.T, np.eye(block), atol=1e-6)
    assert [int((np.diff(np.sign(wave)) != 0).sum()) for wave in waves] == list(range(block))


@given(cases())
@settings(max_examples=30)
def test_all_planes_are_the_content_and_around_it_is_a_blank_picture(case: tuple[Basis, Grid, Array, int]) -> None:
    made, grid, features, _ = case
    back = basis.synthesise(basis.analyse(features, made, grid, len(made.frequency)), made, grid)
    mask = inside(made, grid)
    assert np.allclose(back[:, mask], features[:, mask], atol=1e-4)
    assert np.array_equal(back[:, ~mask], made.blank.astype(np.float32)[:, ~mask])


@given(cases())
@settings(max_examples=20)
def test_an_orthonormal_basis_keeps_energy(case: tuple[Basis, Grid, Array, int]) -> None:
    made, grid, features, _ = case
    y = basis.analyse(features, made, grid, len(made.frequency))
    by_frequency = blocks.spectrum(features, made.mean, grid)
    assert np.allclose((y**2).sum(axis=0), (by_frequency**2).sum(axis=(0, 1)), rtol=1e-3)


def test_turned_planes_and_the_other_ranks_are_merged_by_scale() -> None:
    made = complete((3, 8, 8), 4, turned=10)
    turned, direct = made.turned.tolist(), made.scale[10:].tolist()
    assert made.scales.tolist() == sorted(turned + direct, reverse=True)
    assert made.order[made.order < 10].tolist() == list(range(10))
    assert made.order[made.order >= 10].tolist() == list(range(10, 48))
    tie = complete((1, 8, 8), 4, turned=2)
    level = Basis(**{**parts_of(tie), "scale": np.zeros(16, np.int16), "turned": np.zeros(2, np.int16)})
    assert level.order.tolist() == list(range(16))


def test_finer_steps_need_more_planes() -> None:
    made = complete((9, 8, 8), 4, turned=20)
    counts = [made.count(quality, 0) for quality in range(1024)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    for quality in (0, 300, 700):
        relative = made.scales + quality - 256
        assert made.count(quality, 97) == (relative >= -97).sum()


# ---- Kernel -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("registers")
@given(cases(), STEPS)
@settings(max_examples=30)
def test_kernel_analyses_as_the_reference(case: tuple[Basis, Grid, Array, int], step: float) -> None:
    made, grid, features, count = case
    expected = basis.analyse(features, made, grid, count) / np.float32(step)
    assert np.allclose(analysed(made, features, grid, count, step), expected, rtol=1e-4, atol=2e-4 / step)


@pytest.mark.usefixtures("registers")
@given(cases(), STEPS, st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=30)
def test_kernel_synthesises_as_the_reference(
    case: tuple[Basis, Grid, Array, int], step: float, density: float, seed: int
) -> None:
    made, grid, _, count = case
    rng = np.random.default_rng(seed)
    y = rng.integers(-9, 10, (count, grid.blocks)) * (rng.random((count, grid.blocks)) < density)
    expected = basis.synthesise((y * step).astype(np.float32), made, grid)
    back = Packed(made).synthesise(y.astype(np.float32), grid, step)
    assert np.allclose(back, expected, rtol=1e-4, atol=2e-4 * (1 + 9 * step))


@given(cases())
@settings(max_examples=20)
def test_fewer_planes_are_the_first_of_more(case: tuple[Basis, Grid, Array, int]) -> None:
    """Exactly: whether a plane is worked on alone or beside another, its sum has the same order."""
    made, grid, features, count = case
    every, some = (analysed(made, features, grid, n, 0.1) for n in (len(made.frequency), count))
    assert np.array_equal(every[:count], some)


@pytest.mark.usefixtures("registers")
@pytest.mark.parametrize("block", blocks.BLOCKS)
def test_what_is_not_a_number_is_zero_and_infinity_is_the_largest(block: int) -> None:
    made = complete((5, 16, 16), block, turned=30)
    grid, shape = made.grid(None), made.shape
    rng = np.random.default_rng(1)
    kinds = np.array([np.nan, -np.nan, np.inf, -np.inf, 3e38, 1e-45], np.float32)
    meant = np.array([0, 0, blocks.LARGEST, -blocks.LARGEST, blocks.LARGEST, 0], np.float32)
    which, where = rng.integers(0, len(kinds), shape), rng.random(shape) < 0.02
    features = rng.normal(size=shape).astype(np.float32)
    wild, tamed = np.where(where, kinds[which], features), np.where(where, meant[which], features)
    expected = analysed(made, tamed, grid, 60, 1.0)
    assert np.array_equal(analysed(made, wild, grid, 60, 1.0), expected)
    assert np.allclose(basis.analyse(wild, made, grid, 60), expected, atol=1)


def test_a_tensor_without_planes_is_its_mean() -> None:
    made = complete((7, 8, 9), 4, turned=20)
    nothing = np.zeros((0, made.grid(None).blocks), np.float32)
    back = Packed(made).synthesise(nothing, made.grid(None), 1.0)
    assert np.allclose(back, np.broadcast_to(made.mean[:, None, None], made.shape), atol=1e-6)


def test_packed_planes_keep_their_order_and_miss_none() -> None:
    frequency = np.random.default_rng(0).integers(0, 9, 200).astype(np.uint8)
    rank, owner = packed.pack(frequency, 16, first=7)
    assert rank.shape == (len(owner), GROUP)
    assert sorted(rank[rank != packed.NO_PLANE]) == list(range(7, 207))
    for f in range(16):
        places = rank[owner == f].ravel()
        assert np.array_equal(places[: (frequency == f).sum()], 7 + np.flatnonzero(frequency == f))


# ---- Borders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("block", 5, "block"),
        ("mean", np.zeros(4, np.float32), "mean: expected shape"),
        ("forward", np.zeros((48, 4), np.float32), "forward: expected shape"),
        ("inverse", np.full((48, 3), np.nan, np.float32), "inverse: expected finite"),
        ("frequency", np.full(48, 16, np.uint8), r"frequency: expected 0\.\.15"),
        ("scale", np.arange(48, dtype=np.int16), "scale: expected planes in falling order"),
        ("blank", np.zeros((3, 0, 8), np.float16), "blank"),
        ("turn", np.zeros((5, 6), np.float32), "turn: expected shape"),
        ("unturn", np.full((5, 5), np.inf, np.float32), "unturn: expected finite"),
        ("turned", np.arange(5, dtype=np.int16), "turned: expected planes in falling order"),
        ("turned", np.zeros(49, np.int16), "turned: expected at most 48 planes"),
    ],
)
def test_a_basis_that_does_not_fit_is_refused(name: str, value: object, message: str) -> None:
    made = complete((3, 8, 8), 4, turned=5)
    with pytest.raises(ValueError, match=message):
        Basis(**parts_of(made) | {name: value})


def test_tensors_and_coefficients_that_do_not_fit_are_refused() -> None:
    made = complete((3, 8, 8), 4, turned=5)
    fast, grid = Packed(made), made.grid(None)
    features, y = np.zeros(made.shape, np.float32), np.zeros((2, grid.blocks), np.float32)
    for call, message in (
        (lambda: fast.analyse(features[:2], grid, y, 1.0), "features: expected shape"),
        (lambda: fast.analyse(features, grid, np.zeros((49, 4), np.float32), 1.0), r"expected \[0\.\.48 planes"),
        (lambda: fast.analyse(features, grid, y[:, :3].copy(), 1.0), "4 blocks"),
        (lambda: fast.analyse(features, grid._replace(block=8), y, 1.0), "blocks of 4, got 8"),
        (lambda: fast.analyse(features, grid._replace(rows=4, columns=1), y, 1.0), r"rows: expected 1\.\.2"),
        (lambda: fast.analyse(features, grid._replace(left=8), y, 1.0), r"left: expected 0\.\.7"),
        (lambda: fast.analyse(features, grid, y, 1e30), "scale"),
        (lambda: fast.analyse(features, grid, y, np.nan), "scale"),
        (lambda: fast.synthesise(y[:, :3].copy(), grid, 1.0), "4 blocks"),
        (lambda: fast.synthesise(y, grid, 0.0), "step"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_kernel_refuses_buffers_of_another_size(direction: str) -> None:
    made = complete((3, 8, 8), 4, turned=5)
    fast, grid = Packed(made), made.grid(None)
    features, y = np.zeros(made.shape, np.float32), np.zeros((2, grid.blocks), np.float32)
    first = (features, y) if direction == "forward" else (y, features)
    call = _kernel.analyse if direction == "forward" else _kernel.synthesise
    good = *first, fast.mean, *getattr(fast, direction)
    call(made.shape, grid, *good, 1.0)
    for at in range(len(good)):
        short = [part.ravel()[:-1] if i == at else part for i, part in enumerate(good)]
        with pytest.raises(ValueError, match="expected"):
            call(made.shape, grid, *short, 1.0)


def test_kernel_checks_what_it_indexes_with() -> None:
    made = complete((3, 8, 8), 4, turned=5)
    fast, grid = Packed(made), made.grid(None)
    features, y = np.zeros(made.shape, np.float32), np.zeros((2, grid.blocks), np.float32)

    def refused(direction: str, at: int, value: NDArray[np.generic], message: str) -> None:
        parts = [value if i == at else part for i, part in enumerate(getattr(fast, direction))]
        with pytest.raises(ValueError, match=message):
            if direction == "forward":
                _kernel.analyse(made.shape, grid, features, y, fast.mean, *parts, 1.0)
            else:
                _kernel.synthesise(made.shape, grid, y, features, fast.mean, *parts, 1.0)

    for at in (1, 5):
        refused("forward", at, np.full_like(fast.forward[at], 16), r"frequency: expected 0\.\.15, got 16")
    refused("forward", 2, np.full_like(fast.forward[2], 17), r"used: expected 1\.\.16, got 17")
    refused("forward", 1, np.zeros_like(fast.forward[1]), r"used: expected 16\.\.16")
    refused("inverse", 3, np.full_like(fast.inverse[3], 2**31), "terms: expected 5")
    refused("inverse", 6, np.full_like(fast.inverse[6], 16), r"frequency: expected 0\.\.15, got 16")


# ---- Real features ------------------------------------------------------------------------------------------------


def real_features(folder: Path) -> list[Array]:
    """What NanoDet-m's first tenth makes of eight photos."""
    try:
        root = data_root()
    except MissingDataError as error:
        pytest.skip(str(error))
    ort, onnx, image = (pytest.importorskip(name) for name in ("onnxruntime", "onnx", "PIL.Image"))
    onnx.utils.extract_model(root / "weights/nanodet_m_320.onnx", folder / "front.onnx", ["image"], ["439"])
    front = ort.InferenceSession(folder / "front.onnx", providers=["CPUExecutionProvider"])
    photos = sorted((root / "images/coco_train").glob("*.jpg"))[:8]
    pixels = [np.asarray(image.open(path).convert("RGB").resize((320, 320)), np.float32) for path in photos]
    return [front.run(None, {"image": (x[None, ..., ::-1].transpose(0, 3, 1, 2) - 114) / 57})[0][0] for x in pixels]


def learned(features: list[Array], block: int) -> Basis:
    """A Karhunen-Loeve transform per frequency: the plain one, without a metric and not turned."""
    shape = features[0].shape
    mean = np.mean(features, axis=(0, 2, 3), dtype=np.float32)
    grid = content_blocks(None, *shape[1:], block)
    every = np.concatenate([blocks.spectrum(x, mean, grid) for x in features], axis=2)
    variance, rows = np.linalg.eigh(every @ every.transpose(0, 2, 1) / every.shape[2])
    order = np.argsort(-variance.ravel())
    vectors = rows.transpose(0, 2, 1).reshape(-1, shape[0])[order]
    scale = np.round(32 * np.log2(np.maximum(variance.ravel()[order], 1e-9))).astype(np.int16)
    frequency = (order // shape[0]).astype(np.uint8)
    return Basis(block, mean, np.zeros(shape, np.float16), frequency, vectors, vectors, scale)


def test_real_features_gather_in_few_planes(tmp_path: Path) -> None:
    """Of planes learned from seven photos, a quarter holds most of an eighth; the kernel agrees with the reference."""
    *known, unseen = real_features(tmp_path)
    for block in blocks.BLOCKS:
        made = learned(known, block)
        grid, count = made.grid(None), len(made.frequency) // 4
        y = analysed(made, unseen, grid, count, 1.0)
        assert np.allclose(y, basis.analyse(unseen, made, grid, count), atol=1e-4)
        back = Packed(made).synthesise(y, grid, 1.0)
        energy = ((unseen - made.mean[:, None, None]) ** 2).sum()
        assert ((back - unseen) ** 2).sum() < 0.15 * energy
