"""The polynomial learning rate beside the recorded one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import Golden

from detectron2.config import get_cfg
from seg_projects.config import add_seg_projects_config
from seg_projects.engine import SegTrainer
from seg_projects.engine.poly_lr import WarmupPolyLR
from seg_projects.errors import UserError


def _rates(case: Golden, **options: object) -> np.ndarray:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=case.params["base"])
    scheduler = WarmupPolyLR(optimizer, **options)  # type: ignore[arg-type]
    rates = []
    for _ in range(case.params["max_iter"]):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("number", range(4))
def test_rates_are_the_recorded_ones(number: int) -> None:
    case = Golden("lr_schedules")
    options = dict(case.params["poly"][number])
    options.setdefault("max_iters", case.params["max_iter"])
    case.check(f"poly{number}", _rates(case, **options))


def test_unknown_warmup_is_named() -> None:
    with pytest.raises(ValueError, match="WARMUP_METHOD is 'cubic'"):
        WarmupPolyLR(torch.optim.SGD([torch.zeros(1)], lr=1.0), 5, warmup_method="cubic")


def test_trainer_builds_the_recorded_schedule_from_a_config() -> None:
    case = Golden("lr_schedules")
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    solver = cfg.SOLVER
    solver.LR_SCHEDULER_NAME, solver.MAX_ITER = "WarmupPolyLR", case.params["max_iter"]
    # Read off the recorded rates: the base rate at iteration 7, 0.01^0.7 of it at 99.
    solver.WARMUP_ITERS, solver.POLY_LR_POWER = 7, 0.7
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=case.params["base"])
    scheduler = SegTrainer.build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(case.params["max_iter"]):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    case.check("deeplab", np.array(rates))


@pytest.mark.parametrize("keys", [{"LR_SCHEDULER_NAME": "Cosine"}, {"STEPS": (9, 5)}])
def test_schedules_that_there_are_not_are_named(keys: dict[str, object]) -> None:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.SOLVER.update(keys)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(
        UserError, match=r"with SOLVER\.STEPS \(.*makes no schedule: .*WarmupPolyLR"
    ):
        SegTrainer.build_lr_scheduler(cfg, optimizer)
