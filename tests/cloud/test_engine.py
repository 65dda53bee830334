"""The engine: batches give what single frames give, order stays, bundles do not mix."""

import queue
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud import engine as engines
from cloud.engine import Engine
from cloud.frame import Frame, Outcome, Reason, Refused, Result
from common import bundle as bundles
from common.bundle import Bundle
from common.codec import unpack
from common.errors import BundleError
from common.ids import uuid7
from common.telemetry import Metrics
from tests.cloud import tiny

Delivered = "queue.Queue[tuple[list[Frame], list[Outcome]]]"


def frame(bundle: Bundle, seq: int, payload: bytes) -> Frame:
    return Frame(
        key=("e", "epoch", seq),
        id=uuid7(),
        camera="door",
        captured_us=1,
        accepted_us=1,
        received_us=1,
        expires_us=None,
        source_bytes=1,
        coded_bytes=len(payload),
        timing={},
        bundle=bundle,
        container=unpack(payload),
        settle=lambda *_: None,
    )


@contextmanager
def engine(batch_max: int, wait_ms: float = 200) -> Iterator[tuple[Engine, Delivered]]:
    delivered: queue.Queue[tuple[list[Frame], list[Outcome]]] = queue.Queue()
    one = Engine(Metrics("test", "0"), batch_max=batch_max, wait_ms=wait_ms, threads=1, min_score=0.05)
    one.start(lambda frames, outcomes: delivered.put((frames, outcomes)))
    try:
        yield one, delivered
    finally:
        one.stop()


def run(frames: list[Frame], batch_max: int) -> tuple[list[Outcome], list[int]]:
    """Outcomes in the order of the frames, and the sizes of the batches."""
    with engine(batch_max) as (one, delivered):
        for f in frames:
            one.submit(f)
        got: list[tuple[Frame, Outcome]] = []
        sizes = []
        while len(got) < len(frames):
            batch, outcomes = delivered.get(timeout=20)
            got += zip(batch, outcomes, strict=True)
            sizes.append(len(batch))
    assert [f for f, _ in got] == frames
    return [outcome for _, outcome in got], sizes


def unfounded(bundle: Bundle) -> dict[str, Any]:
    """Its manifest, for other files."""
    return bundle.manifest.model_dump(mode="json", exclude={"format", "files"})


def some(bundle: Bundle, count: int) -> list[Frame]:
    rng = random.Random(3)
    return [
        frame(bundle, i, tiny.payload(bundle, {(rng.randrange(2), rng.randrange(4), rng.randrange(4)): rng.random()}))
        for i in range(count)
    ]


def test_a_batch_gives_what_singles_give(bundle: Bundle) -> None:
    frames = some(bundle, 24)
    alone, singles = run(frames, batch_max=1)
    together, sizes = run(frames, batch_max=8)
    assert singles == [1] * 24 and max(sizes) > 1
    assert [o.detections for o in alone if isinstance(o, Result)] == [
        o.detections for o in together if isinstance(o, Result)
    ]
    assert len(alone) == 24 and all(isinstance(o, Result) for o in together)


def test_one_bad_frame_is_its_own_trouble(bundle: Bundle) -> None:
    frames = some(bundle, 8)
    frames[3] = frame(bundle, 3, tiny.garbled(bundle))
    outcomes, _ = run(frames, batch_max=8)
    assert [isinstance(o, Refused) for o in outcomes] == [i == 3 for i in range(8)]
    bad = outcomes[3]
    assert isinstance(bad, Refused) and bad.reason is Reason.CORRUPT


def test_frames_of_several_bundles_share_a_batch_and_keep_their_order(bundle: Bundle, tmp_path: Path) -> None:
    other = tiny.write(tmp_path, version="2")
    broken = bundles.write(tmp_path, unfounded(bundle), {"back.onnx": ("cloud", b"not a network")})
    kinds = [bundle, other, bundle, broken, other, other, bundle, bundle]
    cells = [{(i % 2, i % 4, i % 3): 0.5 + i / 20} for i in range(8)]
    frames = [frame(b, i, tiny.payload(b, cells[i])) for i, b in enumerate(kinds)]
    outcomes, sizes = run(frames, batch_max=8)
    assert max(sizes) > 1
    alone, _ = run(frames, batch_max=1)
    for together, single, kind in zip(outcomes, alone, kinds, strict=True):
        if kind is broken:
            assert isinstance(together, Refused) and together.reason is Reason.FAILED
        else:
            assert isinstance(together, Result) and isinstance(single, Result)
            assert together.detections == single.detections


def test_so_many_bundles_are_loaded_and_a_frame_of_another_loads_it_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_MOST_DETECTORS", 2)
    kinds = [bundle, *(tiny.write(tmp_path, version=str(i)) for i in range(2, 5))]
    with engine(1, wait_ms=0) as (one, delivered):
        for i, kind in enumerate([*kinds, *kinds]):
            one.submit(frame(kind, i, tiny.payload(kind)))
        outcomes = [delivered.get(timeout=20)[1][0] for _ in range(8)]
        assert all(isinstance(o, Result) for o in outcomes)
        assert list(one._detectors) == [kind.digest for kind in kinds[2:]]


def test_a_bundle_is_loaded_while_frames_of_others_go_on(bundle: Bundle, tmp_path: Path) -> None:
    other = tiny.write(tmp_path, version="2")
    with engine(4, wait_ms=0) as (one, delivered):
        threads = [threading.Thread(target=one.prepare, args=(other,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for i in range(50):
            one.submit(frame((bundle, other)[i % 2], i, tiny.payload((bundle, other)[i % 2])))
        for thread in threads:
            thread.join()
        got = 0
        while got < 50:
            batch, outcomes = delivered.get(timeout=20)
            assert all(isinstance(o, Result) for o in outcomes)
            got += len(batch)
        assert set(one._detectors) == {bundle.digest, other.digest}


def test_stopping_finishes_what_was_given(bundle: Bundle) -> None:
    with engine(4, wait_ms=0) as (one, delivered):
        for f in some(bundle, 30):
            one.submit(f)
    assert sum(len(frames) for frames, _ in list(delivered.queue)) == 30


def test_a_bundle_whose_network_is_none_is_named(bundle: Bundle, tmp_path: Path) -> None:
    broken = bundles.write(tmp_path, unfounded(bundle), {"back.onnx": ("cloud", b"not a network")})
    with engine(1) as (one, _), pytest.raises(BundleError, match=r"back\.onnx"):
        one.prepare(broken)
    outcomes, _ = run([frame(broken, 1, tiny.payload(broken))], batch_max=1)
    assert isinstance(outcomes[0], Refused) and outcomes[0].reason is Reason.FAILED


@pytest.mark.parametrize(
    "wrong",
    [{"clips": [1]}, {"clips": {"16": 3}}, {"shapes": "wide"}, {"shapes": None}, {"name": "none"}, {"clips": {}}],
)
def test_a_bundle_whose_codec_is_none_does_not_stop_the_engine(
    bundle: Bundle, tmp_path: Path, wrong: dict[str, object]
) -> None:
    manifest = unfounded(bundle)
    manifest["codec"] |= {k: v for k, v in wrong.items() if v is not None}
    if None in wrong.values():
        del manifest["codec"]["shapes"]
    broken = bundles.write(tmp_path, manifest, {"back.onnx": ("cloud", bundle.file("back.onnx").read_bytes())})
    with engine(1) as (one, _), pytest.raises(BundleError, match=r"\[codec\]"):
        one.prepare(broken)
    outcomes, _ = run([frame(broken, 1, tiny.payload(bundle)), *some(bundle, 2)], batch_max=1)
    assert [isinstance(o, Refused) for o in outcomes] == [True, False, False]
