"""Learning-rate schedules that are evaluated once per iteration."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from typing import Any

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

logger = logging.getLogger(__name__)


class WarmupParamScheduler(CompositeParamScheduler):
    """Puts a warm-up, which ends where ``scheduler`` takes over, in front of ``scheduler``."""

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        """Composes the warm-up and ``scheduler``.

        Args:
            scheduler: the schedule after the warm-up, over the training progress in [0, 1].
            warmup_factor: the warm-up begins at this factor times ``scheduler``'s initial value.
            warmup_length: share of the whole training, in [0, 1].
            warmup_method: "linear" or "constant".
            rescale_interval: run ``scheduler`` from its beginning after the warm-up, squeezed into
                what remains; else its first ``warmup_length`` is skipped.
        """
        first = warmup_factor * scheduler(0.0)
        warmup: ParamScheduler
        if warmup_method == "linear":
            # The value at which `scheduler` is entered, so that the two meet without a jump.
            last = scheduler(0.0 if rescale_interval else warmup_length)
            warmup = LinearParamScheduler(first, last)
        elif warmup_method == "constant":
            warmup = ConstantParamScheduler(first)
        else:
            raise ValueError(_unknown_warmup(warmup_method))
        super().__init__(
            [warmup, scheduler],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
            lengths=[warmup_length, 1 - warmup_length],
        )


class LRMultiplier(LRScheduler):
    """Sets each group's learning rate to its initial one times ``multiplier`` of the progress.

    The progress runs from 0 to 1 in ``max_iter`` steps of one iteration.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ) -> None:
        """Takes the initial rates from ``optimizer``.

        Args:
            optimizer: its parameter groups are scheduled.
            multiplier: from the progress in [0, 1] to a factor on the learning rate.
            max_iter: number of iterations of the whole training.
            last_iter: index of the last finished iteration; -1 at the beginning.
        """
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(
                f"multiplier={multiplier!r} is no fvcore ParamScheduler; "
                "see fvcore.common.param_scheduler for those there are."
            )
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, Any]:
        """The position alone: the schedule itself follows from the config."""
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[float]:
        """The learning rate of each group at the current iteration."""
        progress = self.last_epoch / self._max_iter
        if self.last_epoch == self._max_iter:
            # The step after the last iteration: not all of fvcore's schedules are defined at 1.
            progress = 1 - 1e-9
        factor = self._multiplier(progress)
        return [base_lr * factor for base_lr in self.base_lrs]


class WarmupMultiStepLR(LRScheduler):
    """Legacy: multiplies the rate by ``gamma`` at each milestone. Prefer :class:`LRMultiplier`."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: list[int],
        gamma: float = 0.1,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        """Takes increasing ``milestones``, in iterations."""
        logger.warning("WarmupMultiStepLR is deprecated: use LRMultiplier with a ParamScheduler.")
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones={milestones} do not increase.")
        self.milestones = milestones
        self.gamma = gamma
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of each group at the current iteration."""
        factor = _warmup_factor(
            self.warmup_method, self.last_epoch, self.warmup_iters, self.warmup_factor
        ) * self.gamma ** bisect_right(self.milestones, self.last_epoch)
        return [base_lr * factor for base_lr in self.base_lrs]


class WarmupCosineLR(LRScheduler):
    """Legacy: a half cosine from the base rate to 0. Prefer :class:`LRMultiplier`."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        """Ends at 0 after ``max_iters`` iterations."""
        logger.warning("WarmupCosineLR is deprecated: use LRMultiplier with a ParamScheduler.")
        self.max_iters = max_iters
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of each group at the current iteration."""
        warmup = _warmup_factor(
            self.warmup_method, self.last_epoch, self.warmup_iters, self.warmup_factor
        )
        cosine = 0.5 * (1 + math.cos(math.pi * self.last_epoch / self.max_iters))
        return [base_lr * warmup * cosine for base_lr in self.base_lrs]


def _warmup_factor(method: str, iteration: int, warmup_iters: int, first: float) -> float:
    """The factor of the warm-up (arXiv:1706.02677) at ``iteration``: from ``first`` to 1."""
    if iteration >= warmup_iters:
        return 1.0
    if method == "constant":
        return first
    if method == "linear":
        progress = iteration / warmup_iters
        return first * (1 - progress) + progress
    raise ValueError(_unknown_warmup(method))


def _unknown_warmup(method: str) -> str:
    return f"Unknown warmup method: {method!r}; SOLVER.WARMUP_METHOD is 'linear' or 'constant'."
