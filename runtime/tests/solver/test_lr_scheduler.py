from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fvcore.common.param_scheduler import ConstantParamScheduler, CosineParamScheduler
from golden import Golden, exception_name
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from detectron2.config import CfgNode, get_cfg
from detectron2.solver import (
    LRMultiplier,
    WarmupCosineLR,
    WarmupMultiStepLR,
    WarmupParamScheduler,
    build_lr_scheduler,
)


def optimizer(*rates: float) -> SGD:
    return SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def solver_config(**options: Any) -> CfgNode:
    cfg = get_cfg()
    for key, value in options.items():
        cfg.SOLVER[key] = tuple(value) if isinstance(value, list) else value
    return cfg


def rates(make: Callable[[SGD], LRScheduler], count: int, base: float) -> list[float]:
    sgd = optimizer(base)
    scheduler = make(sgd)
    seen = []
    for _ in range(count):
        seen.append(sgd.param_groups[0]["lr"])
        sgd.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("call", range(7))
def test_schedules_of_a_config(call: int) -> None:
    golden = Golden("lr_schedules")
    base = golden.params["base"]
    cfg = solver_config(BASE_LR=base, **golden.params["calls"][call])
    steps = golden.params["max_iter"]
    golden.check(f"lr{call}", rates(lambda sgd: build_lr_scheduler(cfg, sgd), steps, base))


def test_legacy_schedules() -> None:
    golden = Golden("lr_schedules")
    base, steps = golden.params["base"], golden.params["max_iter"]
    # The options with which the recorded curves were made can be read off them.
    golden.check(
        "legacy_multistep",
        rates(
            lambda sgd: WarmupMultiStepLR(sgd, [33, 50], warmup_iters=10, warmup_factor=0.01),
            steps,
            base,
        ),
    )
    golden.check(
        "legacy_cosine",
        rates(
            lambda sgd: WarmupCosineLR(sgd, steps, warmup_iters=10, warmup_factor=0.01),
            steps,
            base,
        ),
    )


def test_recorded_facts() -> None:
    unknown = solver_config(LR_SCHEDULER_NAME="Unknown")
    scheduler = build_lr_scheduler(get_cfg(), optimizer(0.1))
    Golden("lr_schedules").check_json(
        "facts",
        {
            "unknown": exception_name(lambda: build_lr_scheduler(unknown, optimizer(0.1))),
            "type": type(scheduler).__name__,
            "state_keys": sorted(scheduler.state_dict()),
        },
    )


def test_groups_keep_their_ratio() -> None:
    sgd = optimizer(0.1, 0.2)
    scheduler = LRMultiplier(sgd, ConstantParamScheduler(0.5), max_iter=10)
    assert scheduler.get_last_lr() == [0.05, 0.1]


def test_goes_on_from_a_saved_state() -> None:
    def make() -> tuple[SGD, LRMultiplier]:
        sgd = optimizer(0.1)
        return sgd, LRMultiplier(sgd, CosineParamScheduler(1.0, 0.0), max_iter=10)

    (_, first), (sgd, second) = make(), make()
    for _ in range(4):
        first.optimizer.step()
        first.step()
    second.load_state_dict(first.state_dict())
    sgd.step()
    first.step()
    second.step()
    assert sgd.param_groups[0]["lr"] == first.get_last_lr()[0]


def test_warmup_meets_the_schedule() -> None:
    # Half of a linear-in-cosine curve is skipped: the warm-up ends at its value in the middle.
    main = CosineParamScheduler(1.0, 0.0)
    schedule = WarmupParamScheduler(main, warmup_factor=0.0, warmup_length=0.5)
    assert schedule(0.0) == 0.0
    assert schedule(0.5) == pytest.approx(0.5)
    assert schedule(0.25) == pytest.approx(0.25)


def test_rescaled_schedule_begins_after_the_warmup() -> None:
    main = CosineParamScheduler(1.0, 0.0)
    schedule = WarmupParamScheduler(main, 0.1, 0.5, "linear", rescale_interval=True)
    assert [schedule(x) for x in (0.0, 0.5, 0.75)] == pytest.approx([0.1, 1.0, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"WARMUP_METHOD": "cubic"}, "Unknown warmup method: 'cubic'"),
        ({"LR_SCHEDULER_NAME": "Other"}, "'WarmupCosineLR'"),
        ({"MAX_ITER": 0}, "SOLVER.MAX_ITER=0"),
        ({"STEPS": (5, 3), "MAX_ITER": 10}, "Milestone"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_lr_scheduler(solver_config(**options), optimizer(0.1))


def test_final_rate_above_the_base_rate_is_refused() -> None:
    cfg = solver_config(LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR=0.1, BASE_LR_END=0.5)
    with pytest.raises(AssertionError, match=r"BASE_LR_END=0\.5"):
        build_lr_scheduler(cfg, optimizer(0.1))


def test_steps_beyond_the_end_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    cfg = solver_config(STEPS=(2, 100), MAX_ITER=4, WARMUP_ITERS=0, BASE_LR=1.0)
    assert rates(lambda sgd: build_lr_scheduler(cfg, sgd), 4, 1.0) == pytest.approx(
        [1.0, 1.0, 0.1, 0.1]
    )
    assert "(2, 100)" in caplog.text


def test_legacy_milestones_must_increase() -> None:
    with pytest.raises(ValueError, match=r"\[5, 3\]"):
        WarmupMultiStepLR(optimizer(0.1), [5, 3])


def test_multiplier_must_be_a_param_scheduler() -> None:
    with pytest.raises(ValueError, match="multiplier=3"):
        LRMultiplier(optimizer(0.1), 3, max_iter=10)


def test_fixed_gamma_survives_the_step_after_the_last_iteration() -> None:
    cfg = solver_config(
        LR_SCHEDULER_NAME="WarmupStepWithFixedGammaLR", MAX_ITER=4, NUM_DECAYS=1, WARMUP_ITERS=0
    )
    cfg.SOLVER.GAMMA = 0.5
    sgd = optimizer(1.0)
    scheduler = build_lr_scheduler(cfg, sgd)
    for _ in range(4):
        sgd.step()
        scheduler.step()
    assert scheduler.get_last_lr() == [0.5]
