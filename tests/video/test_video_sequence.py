"""A sequence from pictures and base layers to bytes and back."""

import numpy as np
import pytest

from common.errors import BitstreamError
from common.video import Coder, Settings, chunks
from common.video.chunks import Enhancement, Header
from common.video.planes import of_picture
from tests.video import shapes

SETTINGS = Settings(quantiser=45, period=4)
COUNT = 10


@pytest.fixture(scope="module")
def known():
    split, codec = shapes.opened()
    pictures = shapes.moving(COUNT)
    return split, codec, pictures, shapes.bases(split, codec, pictures)


@pytest.fixture(scope="module")
def coder(known):
    split, codec, pictures, packets = known
    alone = Coder(split.bundle, codec, None)
    shown = list(alone.decode(b"".join(alone.encode(zip(pictures, packets, strict=True), SETTINGS))))
    frames = [of_picture(frame.picture) for frame in shown]
    fusion = shapes.learned(split.bundle.prefix, frames, [of_picture(picture) for picture in pictures])
    return Coder(split.bundle, codec, fusion)


@pytest.fixture(scope="module")
def data(known, coder):
    return b"".join(coder.encode(zip(known[2], known[3], strict=True), SETTINGS))


def error(picture, shown):
    return float(((picture.astype(float) - shown) ** 2).mean())


def rewritten(sequence, number, **changes):
    header, frames = chunks.read(sequence)
    enhancement = frames[number].enhancement._replace(**changes)
    frames[number] = frames[number]._replace(enhancement=enhancement)
    return b"".join(chunks.written(header, frames))


def test_the_decoder_shows_what_was_encoded(known, coder, data):
    shown = list(coder.decode(data))
    assert [frame.number for frame in shown] == list(range(COUNT))
    assert [frame.base for frame in shown] == known[3]
    assert all(error(p, frame.picture) < 300 for p, frame in zip(known[2], shown, strict=True))
    assert any(frame.fused for frame in shown)


def test_fusing_is_never_worse_than_the_video_alone(known, data, coder):
    split, codec, pictures, packets = known
    alone = Coder(split.bundle, codec, None)
    plain = b"".join(alone.encode(zip(pictures, packets, strict=True), SETTINGS))
    assert len(plain) == len(data)  # the flag is there either way
    errors = [
        [error(p, frame.picture) for p, frame in zip(pictures, which.decode(of), strict=True)]
        for which, of in ((coder, data), (alone, plain))
    ]
    # The choice is made on samples in 4:2:0, which colours differ from a little.
    assert all(fused <= 1.02 * without for fused, without in zip(*errors, strict=True))
    assert sum(errors[0]) < sum(errors[1])


def test_it_is_entered_at_every_frame(coder, data):
    whole = [frame.picture for frame in coder.decode(data)]
    for first in range(COUNT):
        part = list(coder.decode(data, first))
        assert [frame.number for frame in part] == list(range(first, COUNT))
        assert all((frame.picture == whole[frame.number]).all() for frame in part)
    with pytest.raises(BitstreamError, match="first"):
        list(coder.decode(data, COUNT))


def test_base_layers_need_no_video(known, coder, data):
    shown = list(coder.decode(chunks.base_alone(data)))
    assert [frame.base for frame in shown] == known[3]
    assert all(frame.picture is None for frame in shown)


def test_a_frame_that_comes_out_otherwise_is_an_error(coder, data):
    for number in (0, 3, 9):
        said = chunks.read(data)[1][number].enhancement.checksum
        with pytest.raises(BitstreamError, match=f"frame {number}"):
            list(coder.decode(rewritten(data, number, checksum=said ^ 1)))


def test_what_is_not_video_is_an_error(coder, data):
    _, frames = chunks.read(data)
    rng = np.random.default_rng(0)
    for number in (0, 5):
        for junk in (b"\0", b"\x12\0", rng.bytes(300), frames[number].enhancement.data[:-9]):
            with pytest.raises(BitstreamError):
                list(coder.decode(rewritten(data, number, data=junk)))


def test_a_larger_video_than_the_header_says_is_refused(known, coder, data):
    _, frames = chunks.read(data)
    for size in ((48, 40), (1280, 720)):
        lies = Header(*size, 4, 45, chunks.NO_FUSION)
        with pytest.raises(BitstreamError):
            list(coder.decode(b"".join(chunks.written(lies, frames[:1]))))


def test_frames_fused_by_another_network_are_refused(known, data):
    split, codec, _, _ = known
    for fusion in (None, shapes.Fusion(shapes.arrays(split.bundle.prefix, seed=9))):
        with pytest.raises(BitstreamError, match="fusion"):
            list(Coder(split.bundle, codec, fusion).decode(data))


def test_a_fused_frame_without_a_network_is_refused(known, coder):
    split, codec, pictures, packets = known
    alone = Coder(split.bundle, codec, None)
    data = b"".join(alone.encode(zip(pictures[:1], packets[:1], strict=True), SETTINGS))
    with pytest.raises(BitstreamError, match="without a network"):
        list(coder.decode(rewritten(data, 0, fused=True)))


def test_odd_sizes_come_back(known):
    split, codec, _, _ = known
    pictures = shapes.moving(3, width=71, height=93)
    coder = Coder(split.bundle, codec, shapes.fusion(split.bundle.prefix))
    data = b"".join(coder.encode(zip(pictures, shapes.bases(split, codec, pictures), strict=True), SETTINGS))
    assert [frame.picture.shape for frame in coder.decode(data)] == [(93, 71, 3)] * 3


def test_frames_that_do_not_belong_together_are_refused(known, coder):
    _, _, pictures, packets = known
    with pytest.raises(ValueError, match="one at least"):
        list(coder.encode([]))
    other = shapes.moving(1, width=64)[0]
    with pytest.raises(ValueError, match="frame 1"):
        list(coder.encode([(pictures[0], packets[0]), (other, packets[1])]))
    with pytest.raises(BitstreamError, match="base layer"):
        list(coder.encode([(other, packets[0])]))


def test_base_layers_of_another_bundle_say_nothing(known, coder):
    _, _, pictures, packets = known
    foreign = [shapes.foreign(packet) for packet in packets[:2]]
    data = b"".join(coder.encode(zip(pictures, foreign, strict=False), SETTINGS))
    assert [frame.base for frame in coder.decode(data)] == foreign


def test_an_enhancement_may_be_left_out(coder, data):
    header, frames = chunks.read(data)
    shed = [f._replace(enhancement=None) if 2 <= f.number < 4 else f for f in frames]
    shown = list(coder.decode(b"".join(chunks.written(header, shed))))
    assert [frame.number for frame in shown if frame.picture is None] == [2, 3]
    assert isinstance(frames[2].enhancement, Enhancement)
