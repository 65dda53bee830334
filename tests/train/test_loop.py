"""The training loop: stopping and resuming change nothing, and a broken loss stops it."""

import signal

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")

from train.loop import NotFiniteError, Plan, Run, fit  # noqa: E402


class Line:
    """Fits a small network to a line; the batch of a step depends on its number only."""

    def __init__(self, poison=None):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.3), torch.nn.Conv2d(4, 1, 1)
        )
        self.poison = poison

    def batch(self, step, progress):
        return torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(step))

    def loss(self, batch, step, progress):
        error = (self.model(batch) - 3 * batch - 1).square().mean()
        return {"fit": error * float("nan") if step == self.poison else error, "size": 0.0 * error}


def plan(steps, **more):
    return Plan(steps, warmup=2, log_every=1, bf16=False, **more)


def weights(run):
    return [*run.model.state_dict().values(), *run.ema.state_dict().values()]


@pytest.fixture(autouse=True)
def signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_resuming_is_exact(tmp_path):
    whole = fit(Line(), plan(12), tmp_path / "whole")
    half = Run(Line(), plan(12))
    for step in range(5):
        half.advance(half.task.batch(step, step / 12))
    (tmp_path / "parts").mkdir()
    half.save(tmp_path / "parts" / "checkpoint.pt")
    resumed = fit(Line(), plan(12), tmp_path / "parts", resume=True)
    assert resumed.step == whole.step == 12
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_a_signal_leaves_a_checkpoint_to_go_on_from(tmp_path):
    class Stopped(Line):
        def loss(self, batch, step, progress):
            if step == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().loss(batch, step, progress)

    with pytest.raises(KeyboardInterrupt, match="step 4"):
        fit(Stopped(), plan(8), tmp_path)
    resumed = fit(Line(), plan(8), tmp_path, resume=True)
    assert all(
        torch.equal(a, b) for a, b in zip(weights(fit(Line(), plan(8), tmp_path / "b")), weights(resumed), strict=True)
    )


def test_log_and_plot(tmp_path):
    fit(Line(), plan(6), tmp_path)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0] == "step,seconds,loss,fit,size,norm,rate"
    assert [row.split(",")[0] for row in rows[1:]] == list("123456")
    assert (tmp_path / "log.png").read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_parts(tmp_path):
    with pytest.raises(NotFiniteError, match=r"step 2 .*'fit': nan"):
        fit(Line(poison=2), plan(6), tmp_path)


def test_the_rate_rises_stays_and_falls():
    p = Plan(1000, rate=1.0, warmup=100, cool=0.35)
    assert p.rate_at(49) == pytest.approx(0.5)
    assert p.rate_at(100) == p.rate_at(649) == 1.0
    assert p.rate_at(825) == pytest.approx(0.505)
    assert p.rate_at(999) < 0.011
    assert Plan(700, rate=1.0, warmup=100, cool=0.35).rate_at(649) < 0.2  # fewer steps: straight into the fall
