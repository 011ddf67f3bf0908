from __future__ import annotations

import gc
import json
import logging
import os
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import Golden
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase, hooks
from detectron2.solver import build_lr_scheduler
from detectron2.utils.events import EventStorage, JSONWriter


class TwoLosses(nn.Module):
    """The model of the recording: one parameter, two losses."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss_a": (self.w * x).sum() ** 2, "loss_b": self.w.sum() ** 2}


class Constant(nn.Module):
    """Returns the losses that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, losses: Any) -> Any:
        if isinstance(losses, dict):
            return {name: self.w * value for name, value in losses.items()}
        return self.w * losses


def trainer_of(batches: list[Any], cls: type[SimpleTrainer] = SimpleTrainer, **options: Any) -> Any:
    model = Constant()
    return cls(model, batches, torch.optim.SGD(model.parameters(), lr=0.0), **options)


class Recorder(HookBase):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seen: list[dict[str, float]] = []

    def before_train(self) -> None:
        self.calls.append("before_train")

    def before_step(self) -> None:
        self.calls.append("before_step")

    def after_backward(self) -> None:
        self.calls.append("after_backward")

    def after_step(self) -> None:
        self.calls.append("after_step")
        latest = self.trainer.storage.latest()
        self.seen.append({k: v for k, (v, i) in latest.items() if i == self.trainer.iter})

    def after_train(self) -> None:
        self.calls.append("after_train")


def recorded_run(folder: str) -> tuple[SimpleTrainer, Recorder, DetectionCheckpointer]:
    model = TwoLosses()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    trainer = SimpleTrainer(model, [torch.tensor([1.0, 2.0])] * 10, optimizer)
    # The recorded losses show a warm-up of the default config over the 4 iterations.
    cfg = get_cfg()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 4, ()
    scheduler = build_lr_scheduler(cfg, optimizer)
    checkpointer = DetectionCheckpointer(model, folder, optimizer=optimizer, scheduler=scheduler)
    recorder = Recorder()
    trainer.register_hooks(
        [
            hooks.IterationTimer(warmup_iter=0),
            hooks.LRScheduler(optimizer, scheduler),
            hooks.PeriodicWriter([JSONWriter(os.path.join(folder, "metrics.json"))], period=2),
            hooks.PeriodicCheckpointer(checkpointer, 2),
            recorder,
        ]
    )
    return trainer, recorder, checkpointer


def test_recorded_training(tmp_path: Path) -> None:
    folder = str(tmp_path)
    trainer, recorder, checkpointer = recorded_run(folder)
    empty = checkpointer.resume_or_load("", resume=True)
    trainer.train(0, 4)
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    first = torch.load(tmp_path / "model_0000001.pth", weights_only=True)

    resumed, _, resumed_checkpointer = recorded_run(folder)
    with torch.no_grad():
        resumed.model.w.zero_()
    raw = DetectionCheckpointer(nn.Linear(1, 1), folder).resume_or_load("", resume=True)
    extra = resumed_checkpointer.resume_or_load("", resume=True)
    Golden("trainer_metrics").check_json(
        "facts",
        {
            "metric_names": [sorted(line) for line in lines],
            "iterations": [line["iteration"] for line in lines],
            "total_loss": [line["total_loss"] for line in lines],
            "files": sorted(os.listdir(tmp_path)),
            "last_checkpoint": (tmp_path / "last_checkpoint").read_text(),
            "ckpt_keys": sorted(final),
            "ckpt_iteration": final["iteration"],
            "first_iteration": first["iteration"],
            "scheduler_keys": sorted(final["scheduler"]),
            "optimizer_keys": sorted(final["optimizer"]),
            "calls": recorder.calls,
            # Without checkpointables of its own, a checkpointer returns the rest of the file.
            "resume_keys": sorted(raw),
            "resume_iteration": extra["iteration"],
            "weights_restored": torch.equal(resumed.model.w, trainer.model.w),
            "has_checkpoint": resumed_checkpointer.has_checkpoint(),
            "none": sorted(empty),
            "trainer_state": sorted(trainer.state_dict()),
            "hook_state": {k: sorted(v) for k, v in trainer.state_dict()["hooks"].items()},
        },
    )


def test_losses_that_are_not_finite_end_the_training() -> None:
    trainer = trainer_of([{"a": 1.0, "b": 1.0}, {"a": float("nan"), "b": 0.5}])
    with pytest.raises(FloatingPointError, match=r"iteration=1!\nloss_dict = {'a': nan, 'b': 0.5}"):
        trainer.train(0, 2)


def test_asynchronous_metrics_lose_no_error() -> None:
    trainer = trainer_of([1.0, float("inf"), 1.0, 1.0], async_write_metrics=True)
    with pytest.raises(FloatingPointError, match="iteration=1"):
        trainer.train(0, 4)


def test_asynchronous_metrics_arrive_before_the_end() -> None:
    trainer = trainer_of([{"a": 1.0, "b": 2.0}], async_write_metrics=True)
    trainer.train(0, 1)
    assert trainer.storage.latest()["total_loss"] == (3.0, 0)


def test_a_single_loss_is_called_total_loss() -> None:
    trainer, recorder = trainer_of([2.0]), Recorder()
    trainer.register_hooks([recorder])
    trainer.train(0, 1)
    assert set(recorder.seen[0]) == {"total_loss", "data_time", "rank_data_time"}
    assert recorder.seen[0]["total_loss"] == 2.0


def test_metrics_are_gathered_periodically() -> None:
    trainer, recorder = trainer_of([1.0] * 4, gather_metric_period=2), Recorder()
    trainer.register_hooks([recorder])
    trainer.train(0, 4)
    assert ["total_loss" in seen for seen in recorder.seen] == [False, True, False, True]


@pytest.mark.parametrize("before_forward", [False, True])
def test_gradients_do_not_add_up(before_forward: bool) -> None:
    trainer = trainer_of([1.0, 1.0], zero_grad_before_forward=before_forward)
    trainer.train(0, 2)
    assert trainer.model.w.grad.item() == 1.0


def test_an_exhausted_loader_is_named() -> None:
    with pytest.raises(RuntimeError, match="ended at iteration 1"):
        trainer_of([1.0]).train(0, 2)


def test_a_model_without_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="no losses"):
        trainer_of([{}]).train(0, 1)


def test_an_exception_still_ends_the_hooks() -> None:
    trainer, recorder = trainer_of([1.0]), Recorder()
    trainer.register_hooks([recorder])
    with pytest.raises(RuntimeError):
        trainer.train(0, 2)
    assert recorder.calls[-1] == "after_train"
    assert trainer.iter == 1


def test_iterations_are_finished_ones_after_training() -> None:
    trainer = trainer_of([1.0] * 3)
    trainer.train(5, 8)
    assert (trainer.start_iter, trainer.iter, trainer.max_iter) == (5, 8, 8)
    assert trainer.storage.iter == 8


def test_a_new_loader_replaces_the_old_one() -> None:
    trainer = trainer_of([1.0, 1.0])
    trainer.train(0, 1)
    trainer.reset_data_loader(lambda: [7.0])
    trainer.train(0, 1)
    assert trainer.storage.latest()["total_loss"][0] == 7.0


def test_state_of_an_unknown_hook_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    trainer = trainer_of([1.0])
    state = {"iteration": 4, "hooks": {"Other": {}}, "optimizer": trainer.optimizer.state_dict()}
    trainer.load_state_dict(state)
    assert trainer.iter == 4
    assert "'Other'" in caplog.text


def test_hooks_do_not_keep_the_trainer_alive() -> None:
    gc.disable()
    try:
        trainer = trainer_of([1.0])
        trainer.register_hooks([Recorder(), None])
        watch = weakref.ref(trainer)
        del trainer
        assert watch() is None
    finally:
        gc.enable()


def test_only_hooks_can_be_registered() -> None:
    with pytest.raises(TypeError, match="no HookBase"):
        trainer_of([1.0]).register_hooks([3])


def test_a_trainer_must_define_its_step(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL), pytest.raises(NotImplementedError, match="run_step"):
        TrainerBase().train(0, 1)


def test_loss_names_take_a_prefix() -> None:
    with EventStorage(0) as storage:
        SimpleTrainer.write_metrics({"a": torch.tensor(1.0)}, 0.5, cur_iter=3, prefix="val_")
    assert storage.latest()["val_total_loss"] == (1.0, 3)
    assert storage.latest()["data_time"] == (0.5, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_mixed_precision_asks_for_cuda() -> None:
    with pytest.raises(AssertionError, match=r"CUDA is required.*SOLVER\.AMP\.ENABLED"):
        trainer_of([1.0], AMPTrainer).train(0, 1)


def test_mixed_precision_takes_one_device_per_process() -> None:
    model = nn.DataParallel(Constant())
    with pytest.raises(AssertionError, match="multi-device"):
        AMPTrainer(model, [], torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.gpu
def test_mixed_precision_step() -> None:
    model = nn.Sequential(nn.Linear(4, 1)).cuda()
    model.forward = lambda x: {"loss": nn.Sequential.forward(model, x).float().mean()}
    before = model[0].weight.detach().clone()
    trainer = AMPTrainer(
        model,
        [torch.ones(2, 4, device="cuda")] * 2,
        torch.optim.SGD(model.parameters(), lr=0.1),
        log_grad_scaler=True,
    )
    trainer.train(0, 2)
    # The gradient of the mean with respect to each weight is 1, in each of two steps.
    assert torch.allclose(before - model[0].weight, torch.full_like(before, 0.2), atol=1e-3)
    assert trainer.storage.latest()["[metric]grad_scaler"][0] == 65536.0
    assert trainer.state_dict()["grad_scaler"]["scale"] == 65536.0
