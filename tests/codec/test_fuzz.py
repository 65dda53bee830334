"""A few seconds of tests/codec/fuzz.py; run it by hand for longer."""

from tests.codec.fuzz import run


def test_mutated_frames_raise_bitstream_errors_only() -> None:
    report = run(seconds=4.0, seed=0)
    assert report.refused
    assert {"magic", "checksum", "size", "coded levels", "levels", "coefficients", "quality"} <= report.refused.keys()
    assert {"rANS stream", "value"} <= report.refused.keys()
