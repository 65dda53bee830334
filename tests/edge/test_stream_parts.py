"""What streams are made of, without a stream: addresses, clocks, motion, JPEG, the file they are kept in."""

import math
import random
import stat
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg
from av.video.reformatter import ColorRange, Colorspace

from common.errors import FrameError
from edge.streams import still, wanted
from edge.streams.address import Kind, parse
from edge.streams.clock import MOST_DELAY_S, Forward, Live, Rate, Recorded
from edge.streams.motion import COLUMNS, ROWS, Motion, changed
from edge.streams.wanted import Kept, Wanted

# ---- addresses


@pytest.mark.parametrize(
    ("uri", "kind", "shown"),
    [
        ("rtsp://cam.local:554/live", Kind.RTSP, "rtsp://cam.local:554/live"),
        ("rtsp://user:geheim@cam/live?token=geheim", Kind.RTSP, "rtsp://***@cam/live?***"),
        ("rtsp://us%40er:ge@heim@[fe80::1]:554/a", Kind.RTSP, "rtsp://***@[fe80::1]:554/a"),
        ("rtsp://cam/user=admin_password=geheim_channel=1/x", Kind.RTSP, "rtsp://cam/user=***/x"),
        ("https://cam/video.mjpg", Kind.HTTP, "https://cam/video.mjpg"),
        ("webcam:3", Kind.WEBCAM, "webcam:3"),
        ("/dev/video0", Kind.WEBCAM, "webcam:0"),
        ("file:a/b%20c.mp4", Kind.FILE, "file:a/b c.mp4"),
    ],
)
def test_an_address_shows_no_secrets(tmp_path: Path, uri: str, kind: Kind, shown: str) -> None:
    address = parse(uri, tmp_path)
    assert (address.kind, address.shown) == (kind, shown)
    assert "geheim" not in f"{address!r} {address}"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "clip.mp4",
        "/etc/passwd",
        "/dev/sda",
        "/dev/video0/../sda",
        "file:",
        "file:../outside.mp4",
        "file:///etc/passwd",
        "file://host/etc/passwd",
        "file:a%00b",
        "file:link/passwd",
        "concat:a|b",
        "pipe:0",
        "data:video/mp4;base64,AAAA",
        "ftp://host/x",
        "rtsp:///nohost",
        "rtsp://host:port/x",
        "rtsp://host:99999/x",
        "rtsp://[broken/x",
        "http://host/a b",
        "http://host/a\nb",
        "webcam:x",
        "rtsp://host/" + "x" * 2048,
    ],
)
def test_everything_else_is_refused(tmp_path: Path, uri: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(FrameError) as refused:
        parse(uri, tmp_path)
    assert refused.value.status == 422 and "geheim" not in str(refused.value)


def test_files_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="MIDSTREAM_EDGE_STREAMS_DIR"):
        parse("file:clip.mp4", None)
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert parse(f"file://{tmp_path}/clip.mp4", tmp_path).opened() == str((tmp_path / "clip.mp4").resolve())


def test_a_link_that_comes_later_is_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    address = parse("file:clip.mp4", clips)
    with pytest.raises(FrameError, match="there is no file"):
        address.opened()
    (clips / "clip.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(FrameError, match="only files below"):
        address.opened()


# ---- clocks


def test_a_recording_keeps_its_own_time() -> None:
    clock = Recorded()
    assert [round(clock.at(stamp, 0.04), 6) for stamp in (5.0, 5.04, 5.08, 5.5)] == [0, 0.04, 0.08, 0.5]
    assert clock.broken == 0
    clock.begin()  # again from the start
    assert [round(clock.at(stamp, 0.04), 6) for stamp in (5.0, 5.04)] == [0.54, 0.58]
    assert clock.broken == 0


@pytest.mark.parametrize("bad", [None, 5.04, 1.0, -3.0, 1e6, math.nan, math.inf])
def test_a_broken_timestamp_is_one_interval(bad: float | None) -> None:
    clock = Recorded()
    times = [clock.at(stamp, 0.04) for stamp in (5.0, 5.04, bad, 5.12)]
    assert times[2] == pytest.approx(0.08) and clock.broken in (1, 2)
    assert all(a < b for a, b in pairwise(times))


def test_live_times_are_those_of_capture_and_not_of_arrival() -> None:
    generator = random.Random(1)
    clock, captured = Live(), [1000 + 0.04 * i for i in range(200)]
    delays = [0.02 + generator.random() * 0.3 for _ in captured]
    arrived = np.maximum.accumulate(np.add(captured, delays)).tolist()
    times = [clock.at(at - 990, now) for at, now in zip(captured, arrived, strict=True)]
    assert clock.broken == 0
    assert all(a < b for a, b in pairwise(times))
    assert all(at <= now for at, now in zip(times, arrived, strict=True))
    error = np.subtract(times, captured)[100:]
    assert error.max() - error.min() < 0.01 and 0 <= error.min() < 0.1, "as even as they were captured"


@pytest.mark.parametrize("bad", [None, 0.0, 5000.0])
def test_a_live_clock_finds_the_time_again(bad: float | None) -> None:
    clock = Live()
    clock.at(10.0, 1000.0)
    broken = clock.at(bad, 1000.5)
    after = [clock.at((bad or 10.0) + 1 + 0.04 * i, 1001 + 0.04 * i) for i in range(5)]
    assert 1000 < broken <= 1000.5 + MOST_DELAY_S
    assert after == pytest.approx([1001 + 0.04 * i for i in range(5)], abs=0.6) and clock.broken <= 1


def test_a_camera_whose_clock_stood_still_is_on_time_again() -> None:
    clock = Live()
    clock.at(10.0, 1000.0)
    assert clock.at(10.04, 1000.04 + MOST_DELAY_S + 1) == pytest.approx(1000.04 + MOST_DELAY_S + 1)
    assert clock.broken == 1


def test_a_clock_that_is_set_back_is_waited_for_and_one_set_forward_is_followed() -> None:
    day, steady = Forward(), [0.1 * i for i in range(400)]
    times = [day.at(1000 + at - (1 if at > 10 else 0), at) for at in steady]
    steps = np.diff(times)
    assert times[:100] == [1000 + at for at in steady[:100]]
    assert steps.min() > 0.09 and steps.max() < 0.11
    assert times[-1] == pytest.approx(1000 + steady[-1] - 1), "it has caught up"
    assert day.at(9000, 40.0) == 9000


@pytest.mark.parametrize(("rate", "fps", "expected"), [(25, 5, 50), (30, 25, 250), (25, 25, 250), (10, 25, 100)])
def test_at_most_so_many_a_second(rate: int, fps: float, expected: int) -> None:
    generator, limit = random.Random(2), Rate(fps)
    times = [100 + i / rate + generator.uniform(-0.004, 0.004) for i in range(10 * rate)]
    assert abs(sum(limit.due(at) for at in times) - expected) <= 1


def test_after_a_gap_nothing_is_made_up_for() -> None:
    limit = Rate(5)
    assert limit.due(0) and limit.due(60) and not limit.due(60.04) and limit.due(60.2)


# ---- motion


def grey(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(40, 200, (ROWS, COLUMNS), np.uint8)


def test_noise_and_exposure_are_no_motion_and_a_person_is() -> None:
    before = grey()
    noisy = before.astype(int) + np.random.default_rng(1).integers(-5, 6, before.shape)
    assert changed(before, (noisy + 30).astype(np.uint8)) == 0
    walked = before.copy()
    walked[40:50, 60:68] = np.where(before[40:50, 60:68] > 120, 0, 255)
    assert changed(before, walked) == pytest.approx(80 / (ROWS * COLUMNS))


def test_a_still_scene_is_sent_now_and_then() -> None:
    motion = Motion(0.005, at_least_every_s=2)
    assert [motion.moved(grey(), at) for at in (0, 0.5, 1.9, 2.0, 3.9, 4.1)] == [True, False, False, True, False, True]
    assert motion.moved(grey(1), 4.2)


def test_slow_motion_adds_up() -> None:
    motion, picture = Motion(0.005, at_least_every_s=1000), grey()
    sent = []
    for step in range(40):
        picture = picture.copy()
        picture[step, :5] = 255 - picture[step, :5] // 2  # a 2880th of the picture each time
        sent.append(motion.moved(picture, step))
    assert sent[0] and 2 <= sum(sent) <= 4


# ---- pictures


@pytest.mark.parametrize("size", [(160, 120), (161, 121), (64, 1080), (2, 2)])
@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709])
def test_a_frame_keeps_its_colours(size: tuple[int, int], matrix: Colorspace) -> None:
    for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)]:
        rgb = np.full((size[1], size[0], 3), colour, np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
        video = frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=ColorRange.MPEG)
        decoded = simplejpeg.decode_jpeg(still.jpeg(video), "RGB")
        assert decoded.shape == rgb.shape
        error = np.abs(decoded.astype(int) - rgb)
        assert error[:-1, :-1].max(initial=0) <= 6 and error.max() <= 20, colour  # odd sizes: half of the last chroma


@pytest.mark.parametrize("form", ["rgb24", "yuyv422", "nv12", "yuv444p", "yuv420p10le", "gray"])
def test_whatever_a_camera_gives_becomes_a_jpeg(form: str) -> None:
    rgb = np.full((120, 160, 3), 90, np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=form)
    assert np.abs(simplejpeg.decode_jpeg(still.jpeg(frame), "RGB").astype(int) - 90).max() <= 6
    assert still.grey(frame).shape == (ROWS, COLUMNS)


# ---- kept


def test_streams_are_kept_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "streams.json"
    one = Wanted.model_validate({"uri": "rtsp://user:geheim@cam/x", "camera": "door", "fps": 5, "motion": 0.01})
    wanted.write(path, [Kept("a", one, False), Kept("b", one, True)])
    assert wanted.read(path) == [Kept("a", one, False), Kept("b", one, True)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "geheim" not in repr(one) + str(one) + repr(one.model_dump())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"streams": 5}', '{"streams": [5, {"id": "x"}]}', "\0", "[" * 9999])
def test_a_damaged_file_stops_no_edge(tmp_path: Path, text: str) -> None:
    (tmp_path / "streams.json").write_text(text)
    assert wanted.read(tmp_path / "streams.json") == []
