"""SFU-HW-Tracks-v1: the files, what is wrong with them, other formats, pictures, made-up sequences."""

import json
from pathlib import Path

import av
import numpy as np
import pycocotools.coco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.labels import COCO
from bench.masks.labels import Marked
from bench.settings import MissingDataError, data_root
from bench.sfu import convert, files, pictures, synthetic
from bench.sfu.files import Mark, Sequence
from common.errors import MidstreamError

STEM = "Cactus_64x48_50_seq"
FEW = Sequence(
    "Cactus",
    STEM,
    {
        0: (Mark(0, 0, 0.5, 0.5, 0.25, 0.5), Mark(2, 0, 0.25, 0.25, 0.1, 0.1)),
        1: (),
        2: (Mark(0, 1, 0.5, 0.5, 1.0, 1.0),),
    },
)

shares = st.floats(0, 1)
marks = st.builds(Mark, st.integers(0, 79), st.integers(0, 10**6), st.floats(-1, 2), st.floats(-1, 2), shares, shares)
some = st.lists(marks, max_size=5, unique_by=lambda mark: mark[:2]).map(tuple)


@given(st.dictionaries(st.integers(0, 2000), some, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, frames: dict[int, tuple[Mark, ...]]) -> None:
    root = tmp_path_factory.mktemp("tracks")
    one = Sequence("Cactus", STEM, dict(sorted(frames.items())))
    assert files.read(files.write(one, root)) == one
    assert list(files.read_all(root)[0].frames) == sorted(frames)


def test_names_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "ClassB" / "Cactus"
    folder.mkdir(parents=True)
    for number in (10, 9, 2, 100):
        (folder / f"Cactus_1920x1080_50_seq_{number}.txt").write_text(f"0 {number} 0.5 0.5 0.1 0.1\n")
    (folder / "Cactus_1920x1080_object.list").write_text("In Frame 000 >>")
    (one,) = files.read_all(tmp_path)
    assert list(one.frames) == [2, 9, 10, 100]
    assert [m.id for marks in one.frames.values() for m in marks] == [2, 9, 10, 100]
    assert (one.name, one.rate, one.kinds) == ("Cactus", 50, [0])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("\n\n", 0),
        ("0 0 .5 .5 .1 .1", 1),
        ("0 0 .5 .5 .1 .1\n", 1),
        ("\t1\t2 .5  .5 .1 .1 \n\n0 2 0 0 0 0\n", 2),
    ],
)
def test_empty_files_and_single_rows(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "a_000.txt").write_text(text)
    assert len(files.read(tmp_path).frames[0]) == count


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("0 1 .5 .5 .1 .1\n2 1 .5 .5 .1 .1\n0 1 .6 .5 .1 .1\n", 3, "object 1 of class 0 is there twice"),
        ("0 -1 .5 .5 .1 .1\n", 1, "id"),
        ("80 1 .5 .5 .1 .1\n", 1, "class"),
        ("-1 1 .5 .5 .1 .1\n", 1, "class"),
        ("\n0 1 .5 .5 .1\n", 2, "6 fields"),
        ("0 1 .5 .5 .1 .1 1\n", 1, "6 fields"),
        ("0 1 .5 nan .1 .1\n", 1, "y"),
        ("0 1 .5 .5 -.1 .1\n", 1, "width"),
        ("0 1 85.0 25.0 226.9 445.9\n", 1, "share"),
        ("0 one .5 .5 .1 .1\n", 1, "one"),
        ("0 1.0 .5 .5 .1 .1\n", 1, "1.0"),
    ],
)
def test_what_is_wrong_is_said_with_its_file_and_line(tmp_path: Path, text: str, line: int, why: str) -> None:
    (tmp_path / "a_007.txt").write_text(text)
    with pytest.raises(MidstreamError, match=rf"a_007\.txt:{line}: .*{why}"):
        files.read(tmp_path)


def test_folders_that_are_no_sequence(tmp_path: Path) -> None:
    with pytest.raises(MidstreamError, match="holds no sequence"):
        files.read_all(tmp_path)
    with pytest.raises(MidstreamError, match="no folder"):
        files.read_all(tmp_path / "absent")
    for name in ("a_1.txt", "a_01.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(MidstreamError, match="frame 1 is in"):
        files.read(tmp_path)
    (tmp_path / "a_01.txt").rename(tmp_path / "b_02.txt")
    with pytest.raises(MidstreamError, match="files of 2 sequences"):
        files.read(tmp_path)


def test_detections_are_told_from_tracks() -> None:
    """The example beside the dataset is in pixels."""
    try:
        folder = data_root() / "tracking" / "sfu" / "tracks_example"
    except MissingDataError as e:
        pytest.skip(str(e))
    if not folder.is_dir():
        pytest.skip("no example: tracking/sfu of the data")
    with pytest.raises(MidstreamError, match=r"PartyScene_832x480_50_seq_000\.txt:1: expected x as a share"):
        files.read(folder)


def test_mot() -> None:
    assert convert.to_mot(FEW, 64, 48).splitlines() == [
        "1,1,24.00,12.00,16.00,24.00,1,-1,-1,-1",
        "1,3,12.80,9.60,6.40,4.80,1,-1,-1,-1",
        "3,2,0.00,0.00,64.00,48.00,1,-1,-1,-1",
    ]
    assert [line.split(",")[:2] for line in convert.to_mot(FEW, 64, 48, kind=0).splitlines()] == [
        ["1", "1"],
        ["3", "2"],
    ]
    assert convert.to_mot(FEW, 64, 48, kind=7) == ""


def test_coco(tmp_path: Path) -> None:
    coco = convert.to_coco(FEW, 64, 48)
    assert coco["categories"] == [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
    assert [(a["image_id"], a["category_id"], a["track_id"], a["bbox"]) for a in coco["annotations"]] == [
        (1, 1, 1, [24, 12, 16, 24]),
        (1, 3, 3, [12.8, 9.6, 6.4, 4.8]),
        (3, 1, 2, [0, 0, 64, 48]),
    ]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco))
    assert len(pycocotools.coco.COCO(str(path)).getAnnIds(imgIds=[1])) == 2


def test_a_dataset_is_converted(tmp_path: Path) -> None:
    files.write(FEW, tmp_path / "tracks")
    convert.run(tmp_path / "tracks", tmp_path / "out", "mot", None)
    assert (tmp_path / "out" / "Cactus.txt").read_text() == convert.to_mot(FEW, 64, 48)
    convert.run(tmp_path / "tracks", tmp_path / "out", "coco", "640x480")
    assert json.loads((tmp_path / "out" / "Cactus.json").read_text()) == convert.to_coco(FEW, 640, 480)
    files.write(Sequence("Nameless", "Nameless_seq", {0: ()}), tmp_path / "other")
    with pytest.raises(MidstreamError, match="--size"):
        convert.run(tmp_path / "other", tmp_path / "out", "mot", None)
    with pytest.raises(MidstreamError, match="1920x1080"):
        convert.run(tmp_path / "other", tmp_path / "out", "mot", "large")


def test_classes_are_counted_as_in_the_dataset() -> None:
    assert len(convert.NAMES) == files.CLASSES
    assert [convert.NAMES[i] for i in (0, 2, 15, 32, 79)] == ["person", "car", "cat", "sports ball", "toothbrush"]
    assert COCO["toothbrush"] == 90


# ---- pictures


def frames(count: int) -> list[np.ndarray]:
    """Each of another grey."""
    return [np.full((48, 64, 3), 20 * i + 10, np.uint8) for i in range(count)]


def greys(path: Path, limit: int | None = None) -> list[int]:
    return [round(float(picture.mean() - 10) / 20) for picture in pictures.pictures(path, limit)]


def test_pictures_in_a_folder_by_number(tmp_path: Path) -> None:
    folder = tmp_path / "ClassB" / "Cactus"
    folder.mkdir(parents=True)
    for i, picture in enumerate(frames(12)):
        Image.fromarray(picture).save(folder / f"f{i}.png")
    assert pictures.found(tmp_path, FEW, False) == folder
    assert greys(folder) == list(range(12)) and greys(folder, 3) == [0, 1, 2]


def test_raw_video_as_the_sequences_are(tmp_path: Path) -> None:
    path = tmp_path / "Cactus_64x48_50.yuv"
    planes = [av.VideoFrame.from_ndarray(p, format="rgb24").reformat(format="yuv420p").to_ndarray() for p in frames(5)]
    path.write_bytes(b"".join(p.tobytes() for p in planes))
    (tmp_path / "CactusGarden_64x48_50.yuv").write_bytes(b"")
    assert pictures.found(tmp_path, FEW, False) == path
    assert greys(path) == list(range(5))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MidstreamError, match="ends inside a frame"):
        greys(path)
    with pytest.raises(MidstreamError, match="says its size"):
        greys(path.rename(tmp_path / "cactus.yuv"))


def test_one_name_for_two_sizes_is_told_by_the_labels(tmp_path: Path) -> None:
    """RaceHorsesC and RaceHorsesD come from videos that differ in their size only."""
    for size in ("832x480", "416x240"):
        (tmp_path / f"RaceHorses_{size}_30.yuv").write_bytes(b"")
    for name, size in (("RaceHorsesC", "832x480"), ("RaceHorsesD", "416x240")):
        one = Sequence(name, f"RaceHorses_{size}_30_seq", {0: ()})
        assert pictures.found(tmp_path, one, False).name == f"RaceHorses_{size}_30.yuv"


def test_labels_are_no_pictures_and_one_video_is_of_one_sequence(tmp_path: Path) -> None:
    files.write(FEW, tmp_path)
    with pytest.raises(MidstreamError, match="Cactus"):
        pictures.found(tmp_path, FEW, True)
    video = tmp_path / "any.mp4"
    video.write_bytes(b"")
    assert pictures.found(video, FEW, True) == video
    with pytest.raises(MidstreamError, match="several sequences"):
        pictures.found(video, FEW, False)


# ---- made-up sequences


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[synthetic.Cutout]:
    """Two who were cut out of a photo with three masks, one of which touches the border."""
    folder = tmp_path_factory.mktemp("photo")
    picture, mask = np.zeros((200, 400, 3), np.uint8), np.zeros((200, 400), np.uint8)
    for number, (left, grey) in enumerate([(0, 50), (100, 120), (250, 250)], 1):
        mask[20:180, left : left + 60] = number
        picture[20:180, left : left + 60] = grey
    Image.fromarray(picture).save(folder / "p.png")
    Image.fromarray(mask).save(folder / "m.png")
    return synthetic.cutouts([Marked(folder / "p.png", folder / "m.png", "pennfudan")])


def test_who_is_whole_is_cut_out(people: list[synthetic.Cutout]) -> None:
    assert [p.mask.shape for p in people] == [(160, 60)] * 2
    assert [int(p.pixels.mean()) for p in people] == [120, 250]


def test_truth_is_where_they_are(people: list[synthetic.Cutout]) -> None:
    ground = np.zeros((240, 320, 3), np.uint8)
    person = people[1].sized(80)
    assert person.mask.shape == (80, 30)
    walker = synthetic.Walker(person, 20, 200, 10)
    for frame in range(-3, 40):
        picture, told = synthetic.scene(ground, None, [walker], frame)
        rows, columns = np.nonzero(picture.max(-1) > 125)
        left, right = max(0, 5 + 10 * frame), min(320, 35 + 10 * frame)
        if right - left < 30 * synthetic.VISIBLE:
            assert not told
            continue
        assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (left, right, 120, 200)
        (mark,) = told
        x, y, w, h = convert.corner(mark, 320, 240)
        assert (x, x + w, y, y + h) == pytest.approx((left, right, 120, 200))


def test_who_is_hidden_is_not_there_and_comes_back_as_themselves(people: list[synthetic.Cutout]) -> None:
    ground = np.zeros((240, 320, 3), np.uint8)
    walkers = [
        synthetic.Walker(people[0].sized(80), 20, 200, 5),
        synthetic.Walker(people[1].sized(90), 20 + 150, 210, 0),
    ]
    seen = [{m.id for m in synthetic.scene(ground, None, walkers, frame)[1]} for frame in range(60)]
    assert seen[0] == {0, 1} and seen[30] == {1} and seen[45] == {0, 1}
    behind = [{m.id for m in synthetic.scene(ground, 8, walkers, frame)[1]} for frame in range(2)]
    assert behind[0] == {1}, "what stands in the way hides, too"


def test_the_same_seed_makes_the_same_sequence(people: list[synthetic.Cutout], tmp_path: Path) -> None:
    ground = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    options = {"frames": 6, "rate": 5, "count": 4, "seed": 3}
    a, b = (synthetic.make(tmp_path / name, "walk", ground, people, **options) for name in "ab")
    assert a == b == files.read_all(tmp_path / "a" / "synthetic-tracks")[0]
    for one in (tmp_path / "a" / "video" / "walk").iterdir():
        assert one.read_bytes() == (tmp_path / "b" / "video" / "walk" / one.name).read_bytes()
    other = synthetic.make(tmp_path / "c", "walk", ground, people, **(options | {"seed": 4}))
    assert other != a
    assert pictures.found(tmp_path / "a" / "video", a, False).name == "walk"
    assert a.rate == 5 and max(a.frames) == 5
