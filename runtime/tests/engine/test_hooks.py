from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.param_scheduler import ConstantParamScheduler, LinearParamScheduler
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase, TrainerBase, hooks
from detectron2.utils.events import EventWriter, JSONWriter


class Idle(TrainerBase):
    """A trainer whose steps only move the optimizer, if it has one."""

    optimizer: torch.optim.Optimizer | None = None

    def run_step(self) -> None:
        if self.optimizer is not None:
            self.optimizer.step()


def run(
    *registered: HookBase,
    iterations: int = 4,
    optimizer: torch.optim.Optimizer | None = None,
) -> Idle:
    trainer = Idle()
    trainer.optimizer = optimizer
    trainer.register_hooks(list(registered))
    trainer.train(0, iterations)
    return trainer


class Metric(HookBase):
    """Records one value per iteration."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def after_step(self) -> None:
        value = self.values[self.trainer.iter]
        self.trainer.storage.put_scalar("v", value, smoothing_hint=False)


def test_callbacks_see_the_trainer() -> None:
    calls: list[tuple[str, int]] = []
    names = ("before_train", "before_step", "after_step", "after_train")
    run(
        hooks.CallbackHook(
            **{name: lambda t, name=name: calls.append((name, t.iter)) for name in names}
        ),
        hooks.CallbackHook(),
        iterations=2,
    )
    assert calls == [
        ("before_train", 0),
        ("before_step", 0),
        ("after_step", 0),
        ("before_step", 1),
        ("after_step", 1),
        ("after_train", 2),
    ]


def test_times_are_recorded_after_the_warmup(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        trainer = run(hooks.IterationTimer(warmup_iter=3), iterations=5)
    # Iterations 2, 3 and 4.
    assert len(trainer.storage.history("time").values()) == 3
    assert "Overall training speed: 3 iterations" in caplog.text
    assert "Total training time" in caplog.text


def test_no_speed_without_timed_iterations(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(hooks.IterationTimer(), iterations=0)
    assert "Overall" not in caplog.text


class Counter(EventWriter):
    def __init__(self) -> None:
        self.at: list[str] = []

    def write(self) -> None:
        self.at.append("write")

    def close(self) -> None:
        self.at.append("close")


def test_writers_write_periodically_and_at_the_end() -> None:
    writer = Counter()
    run(hooks.PeriodicWriter([writer], period=3), iterations=7)
    # After iterations 2, 5 and 6, and once more after the hooks' after_train.
    assert writer.at == ["write"] * 4 + ["close"]


def test_only_writers_can_write() -> None:
    with pytest.raises(TypeError, match="no EventWriter"):
        hooks.PeriodicWriter([3])  # type: ignore[list-item]


def test_checkpoints_are_limited_in_number(tmp_path: Path) -> None:
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path))
    run(hooks.PeriodicCheckpointer(checkpointer, 1, max_to_keep=2), iterations=3)
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == [
        "model_0000001.pth",
        "model_0000002.pth",
        "model_final.pth",
    ]


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", [1.0, 3.0, 2.0, float("nan")], 1),
        ("min", [3.0, 1.0, 2.0, 1.0], 1),
        ("max", [float("nan"), 1.0, 1.0, 2.0], 3),
    ],
)
def test_the_best_model_is_kept(tmp_path: Path, mode: str, values: list[float], best: int) -> None:
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path))
    run(Metric(values), hooks.BestCheckpointer(1, checkpointer, "v", mode))
    saved = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert sorted(saved) == ["iteration", "model"]
    assert saved["iteration"] == best


def test_a_missing_metric_saves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path))
    run(hooks.BestCheckpointer(1, checkpointer, "missing"))
    assert os.listdir(tmp_path) == []
    assert "'missing' was not recorded" in caplog.text


def test_best_mode_is_checked() -> None:
    with pytest.raises(AssertionError, match="mode='mean'"):
        hooks.BestCheckpointer(1, None, "v", "mean")


@pytest.mark.parametrize(
    ("period", "after_train", "iterations", "expected"),
    [
        # Next to the end the evaluation waits until training is over: once, not twice.
        (2, True, 4, [1, 4]),
        (3, True, 4, [2, 4]),
        (2, False, 4, [1]),
        (0, True, 4, [4]),
        (0, False, 4, []),
    ],
)
def test_evaluation_times(
    period: int, after_train: bool, iterations: int, expected: list[int]
) -> None:
    at: list[int] = []
    trainer = Idle()
    trainer.register_hooks([hooks.EvalHook(period, lambda: at.append(trainer.iter), after_train)])
    trainer.train(0, iterations)
    assert at == expected


def test_results_are_recorded_flat() -> None:
    trainer = run(hooks.EvalHook(0, lambda: {"bbox": {"AP": 0.5}, "n": 3}))
    assert trainer.storage.latest() == {"bbox/AP": (0.5, 4), "n": (3.0, 4)}


def test_an_interrupted_training_is_not_evaluated() -> None:
    def fail(trainer: TrainerBase) -> None:
        if trainer.iter == 1:
            raise RuntimeError("stop")

    at: list[int] = []
    with pytest.raises(RuntimeError, match="stop"):
        run(hooks.CallbackHook(before_step=fail), hooks.EvalHook(0, lambda: at.append(1)))
    assert at == []


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        ({"a": "x"}, ValueError, "nested dict of float. Got 'a: x'"),
        ([1], AssertionError, "not a dict"),
    ],
)
def test_other_results_are_refused(results: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(hooks.EvalHook(0, lambda: results))


def sgd(*groups: tuple[int, float]) -> torch.optim.SGD:
    return torch.optim.SGD(
        [
            {"params": [nn.Parameter(torch.zeros(1)) for _ in range(count)], "lr": rate}
            for count, rate in groups
        ],
        lr=1.0,
    )


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([(3, 0.1), (1, 0.2)], 0),
        ([(1, 0.1), (2, 0.2)], 1),
        ([(1, 0.1), (1, 0.2), (1, 0.2)], 1),
        ([(2, 0.1), (2, 0.3)], 0),
    ],
)
def test_typical_parameter_group(groups: list[tuple[int, float]], expected: int) -> None:
    assert hooks.LRScheduler.get_best_param_group_id(sgd(*groups)) == expected


def test_learning_rate_follows_a_multiplier() -> None:
    optimizer = sgd((1, 1.0))
    hook = hooks.LRScheduler(scheduler=LinearParamScheduler(1.0, 0.0))
    trainer = run(hook, iterations=4, optimizer=optimizer)
    recorded = [value for value, _ in trainer.storage.history("lr").values()]
    assert recorded == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_a_constant_multiplier_lasts_to_the_end() -> None:
    optimizer = sgd((1, 1.0))
    hook = hooks.LRScheduler(scheduler=ConstantParamScheduler(0.5))
    run(hook, iterations=2, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_schedule_goes_on_from_its_state() -> None:
    optimizer = sgd((1, 1.0))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    hook = hooks.LRScheduler(optimizer, scheduler)
    trainer = run(hook, iterations=2, optimizer=optimizer)
    state = trainer.state_dict()["hooks"]["LRScheduler"]
    other = torch.optim.lr_scheduler.StepLR(sgd((1, 1.0)), 1)
    hooks.LRScheduler(optimizer, other).load_state_dict(state)
    assert other.last_epoch == 2


def test_precise_statistics_replace_running_ones() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1))
    batches = [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])]
    run(hooks.PreciseBN(0, model, batches * 2, 2), iterations=1)
    # Mean and variance of 1, 3, 5, 7; fvcore's variance is the population's.
    assert model[0].running_mean.item() == pytest.approx(4.0)
    assert model[0].running_var.item() == pytest.approx(5.0)


def test_precise_statistics_are_periodic() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1))
    hook = hooks.PreciseBN(2, model, [torch.ones(2, 1) * k for k in range(9)], 1)
    seen: list[float] = []
    run(hook, hooks.CallbackHook(after_step=lambda t: seen.append(model[0].running_mean.item())))
    # Batch 0 after iteration 1, batch 1 after iteration 3.
    assert seen == [0.0, 0.0, 0.0, 1.0]


def test_precise_statistics_need_batch_norm(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(hooks.PreciseBN(1, nn.Linear(1, 1), [], 1))
    assert "PreciseBN is disabled" in caplog.text


def test_precise_statistics_record_nothing() -> None:
    class Chatty(nn.BatchNorm1d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            from detectron2.utils.events import get_event_storage

            get_event_storage().put_scalar("chatter", 1.0)
            return super().forward(x)

    trainer = run(hooks.PreciseBN(1, Chatty(1), [torch.ones(2, 1)] * 4, 1))
    assert "chatter" not in trainer.storage.latest()


def test_chosen_iterations_are_profiled(tmp_path: Path) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    run(
        hooks.TorchProfiler(
            lambda t: t.iter == 1, str(tmp_path), activities=activities, save_tensorboard=False
        )
    )
    assert os.listdir(tmp_path) == ["profiler-trace-iter1.json"]


def test_profiles_for_tensorboard(tmp_path: Path) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    run(hooks.TorchProfiler(lambda t: t.iter == 2, str(tmp_path), activities=activities))
    assert os.listdir(tmp_path / "log") == ["profiler_iter2"]
    assert len(os.listdir(tmp_path / "log" / "profiler_iter2")) == 1


def test_autograd_profile(tmp_path: Path) -> None:
    run(hooks.AutogradProfiler(lambda t: t.iter == 0, str(tmp_path), use_cuda=False))
    trace = json.loads((tmp_path / "profiler-trace-iter0.json").read_text())
    assert "traceEvents" in trace or isinstance(trace, list)


def test_memory_statistics_need_no_cuda(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "detectron2.engine"):
        run(hooks.TorchMemoryStats(period=1, max_runs=2))
    lines = [r for r in caplog.records if "max reserved" in r.getMessage()]
    assert len(lines) == (2 if torch.cuda.is_available() else 0)


def test_results_of_the_end_are_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    run(
        Metric([1.0, 2.0]),
        hooks.EvalHook(0, lambda: {"AP": 7.0}),
        hooks.PeriodicWriter([JSONWriter(str(path))], period=2),
        iterations=2,
    )
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"iteration": 1, "v": 2.0}, {"AP": 7.0, "iteration": 2}]
