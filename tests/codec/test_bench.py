"""What `midstream bench codec` compares is comparable: every coder gives back the levels it was given."""

import numpy as np
import pytest

pytest.importorskip("constriction")
pytest.importorskip("zstandard")

from bench import codec as bench
from common.codec.clip import optimal_clip
from common.codec.quantise import quantise

LEVELS = 4
Q = quantise(bench.draws(bench.RESNET50, 5000), *optimal_clip(bench.RESNET50, LEVELS), LEVELS)


@pytest.mark.parametrize("name", ["range", "ans", "zstd"])
def test_rivals_are_lossless(name: str) -> None:
    p = bench.histogram([Q], LEVELS)
    encode, decode, size = {"range": bench.range_coder(p), "ans": bench.ans_coder(p), "zstd": bench.zstd(3)}[name]
    q = Q if name == "zstd" else Q.astype(np.int32)
    back = decode(encode(q), np.empty_like(Q))
    assert np.array_equal(np.frombuffer(back, np.uint8) if isinstance(back, bytes) else back, q)
    assert 0 < size(encode(q)) < Q.size


def test_ours_and_the_reference_measure_the_same_bytes() -> None:
    rows = [bench.measure("x", "y", LEVELS, [Q, Q[:100]], pair(LEVELS), 0) for pair in (bench.ours, bench.reference)]
    assert rows[0].bits_per_element == rows[1].bits_per_element
    assert rows[0].order0_bits == pytest.approx(1.12, abs=0.05)


def test_a_frame_is_measured_with_its_headers() -> None:
    data = bench.Data("model", [bench.draws(bench.RESNET50, 60_000)], bench.RESNET50)
    frames, (codec,) = bench.cut(data.frames), bench.codecs(data).values()
    measured = bench.frame(codec, frames)
    assert len(frames) == 2
    assert measured["elements"] == 25_600
    assert measured["overhead_bytes"] == 24
    assert 3000 < measured["bytes"] < 4000


def test_coding_in_context_is_calibrated_elsewhere_and_measured_beside_the_tables_promise() -> None:
    data = bench.fields(2)
    assert len(data.frames) == 2
    assert not any(np.array_equal(x, y) for x in data.frames for y in data.others)
    rows = {row.coder: row for row in bench.compare(data, LEVELS, 0)}
    row = rows[bench.IN_CONTEXT]
    assert row.bits_per_element < 0.75 * row.order0_bits
    assert row.ideal_bits is not None
    assert row.ideal_bits < row.bits_per_element < 1.01 * row.ideal_bits
    assert {other.ideal_bits for name, other in rows.items() if name != bench.IN_CONTEXT} == {None}
    assert bench.codecs(data).keys() == {"field", "field, in context"}
