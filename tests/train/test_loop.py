"""The training loop: stopping and resuming change nothing, and a broken loss stops it."""

import signal

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")

from common.errors import MidstreamError  # noqa: E402
from train.loop import GENTLY, NotFiniteError, Plan, Run, fit, moved  # noqa: E402


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


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_spoils_the_weights(tmp_path):
    class Steep(Line):
        def loss(self, batch, step, progress):
            parts = super().loss(batch, step, progress)
            if step == 2:  # 0, with a slope that is none
                parts["steep"] = (0 * self.model[0].weight).sum().sqrt()
            return parts

    run = Run(Steep(), plan(6))
    for step in range(2):
        run.advance(run.task.batch(step, step / 6))
    before = [w.clone() for w in run.model.parameters()]
    with pytest.raises(NotFiniteError, match=r"the gradient of step 2 .*'steep': 0.0"):
        run.advance(run.task.batch(2, 2 / 6))
    assert run.step == 2
    assert all(torch.equal(now, was) for now, was in zip(run.model.parameters(), before, strict=True))


def shares(run):
    return sorted({group["share"] for group in run.optimiser.param_groups})


def test_who_learns_gently_is_the_plans_and_not_the_checkpoints(tmp_path):
    run = Run(Line(), plan(6, gentle=("0.",)))
    assert shares(run) == [GENTLY, 1.0]
    for group in run.optimiser.param_groups:
        group["share"] = 0.5
    run.save(tmp_path / "checkpoint.pt")
    resumed = Run(Line(), plan(6, gentle=("0.",)))
    resumed.load(tmp_path / "checkpoint.pt")
    assert shares(resumed) == [GENTLY, 1.0]


def test_a_checkpoint_of_another_plan_is_named(tmp_path):
    Run(Line(), plan(6)).save(tmp_path / "checkpoint.pt")
    with pytest.raises(MidstreamError, match=r"checkpoint.pt is of another model or plan"):
        fit(Line(), plan(6, gentle=("0.",)), tmp_path, resume=True)


def test_gentle_parameters_are_there():
    with pytest.raises(ValueError, match="no parameters named nothing"):
        Run(Line(), plan(6, gentle=("0.", "nothing.")))


def test_all_tensors_of_a_batch_are_moved():
    batch = torch.zeros(2), (torch.ones(1), 0.5), [torch.ones(3)], "name"
    first, (second, number), (third,), name = moved(batch, torch.device("meta"))
    assert {t.device.type for t in (first, second, third)} == {"meta"}
    assert (number, name) == (0.5, "name")


def test_a_task_with_tensors_of_its_own_is_told_where_the_model_is():
    class Placed(Line):
        def to(self, device):
            self.device = device

    run = Run(Placed(), plan(6))
    assert run.task.device == run.device == next(run.model.parameters()).device


def test_the_rate_rises_stays_and_falls():
    p = Plan(1000, rate=1.0, warmup=100, cool=0.35)
    assert p.rate_at(49) == pytest.approx(0.5)
    assert p.rate_at(100) == p.rate_at(649) == 1.0
    assert p.rate_at(825) == pytest.approx(0.505)
    assert p.rate_at(999) < 0.011
    assert Plan(700, rate=1.0, warmup=100, cool=0.35).rate_at(649) < 0.2  # fewer steps: straight into the fall
