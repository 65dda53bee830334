"""The fusion's training: examples of videos, a start that changes nothing, and the integers that ship."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from common.errors import MidstreamError  # noqa: E402
from common.video.fusion import DIGITS, Fusion  # noqa: E402
from tests.video import shapes  # noqa: E402
from train.fusion import CROP, QUANTISERS, FusionTask, arrays, crop, videos  # noqa: E402
from train.loop import Plan, Run  # noqa: E402
from train.nets.fusion import FusionNet  # noqa: E402


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    (root / "clip").mkdir()
    for i, picture in enumerate(shapes.moving(3, 288, 272)):
        Image.fromarray(picture).save(root / "clip" / f"{i:05}.jpg", quality=95)
    return videos(root)


def test_examples_are_what_encoder_and_decoder_see(known):
    assert len(known.examples) == 3
    first, second = known.examples[:2]
    assert first.wanted.shape == (24, 68, 72) and first.features.shape == (16, 68, 72)
    np.testing.assert_array_equal(first.before, first.coded)
    np.testing.assert_array_equal(second.before, first.coded)
    left = [float(((second.wanted - coded) ** 2.0).mean()) for coded in second.coded]
    assert len(left) == len(QUANTISERS) and left[0] < left[-1]
    assert second.features.any()


def test_no_videos_is_an_error(tmp_path):
    with pytest.raises(MidstreamError, match="no folders"):
        videos(tmp_path)


def test_batches_are_a_function_of_the_step(known):
    task = FusionTask(known, FusionNet(), 3)
    one, again, other = task.batch(4, 0.1), task.batch(4, 0.9), task.batch(5, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert one[0].shape[2:] == (CROP, CROP) and one[1].shape[1] == 24


def test_at_first_nothing_changes_and_a_few_steps_learn(known):
    torch.manual_seed(0)
    task = FusionTask(known, FusionNet(16, 2), 3)
    run = Run(task, Plan(12, rate=3e-3, warmup=2, bf16=False))
    lost = [run.advance(task.batch(0, 0))["left"] for _ in range(12)]
    _, wanted = task.batch(0, 0)
    error = wanted.square().mean((1, 2, 3))
    assert lost[0] == pytest.approx(float((error / (error + 1)).mean()), rel=1e-4)
    assert lost[-1] < 0.995 * lost[0]


def test_the_integers_say_what_was_trained(known):
    torch.manual_seed(0)
    net = FusionNet(16, 2)
    torch.nn.init.normal_(net.head.weight, 0, 0.2)
    made = arrays(net, known, count=6)
    fusion = Fusion(made)
    assert fusion.bundle == known.bundle
    cells, _ = crop(known.examples[1], np.random.default_rng(0))
    found = fusion._head(fusion._body(cells)) / (1 << DIGITS)
    with torch.no_grad():
        wanted = net(torch.from_numpy(cells)[None].float())[0].numpy()
    assert wanted.std() > 1
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
