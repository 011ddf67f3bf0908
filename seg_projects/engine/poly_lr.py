"""The polynomial learning rate of DeepLab."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupPolyLR(LRScheduler):
    """(1 - iteration / max_iters)^power of the base rate, after a warm-up (arXiv:1706.05587)."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
        power: float = 0.9,
        constant_ending: float = 0.0,
    ) -> None:
        """Ends at ``max_iters``, or earlier at ``constant_ending`` times the base rate.

        The warm-up multiplies the rate by ``warmup_factor`` at first and by 1 from
        ``warmup_iters`` on; in between it is "linear" or "constant".
        """
        if warmup_method not in ("linear", "constant"):
            raise ValueError(f"WARMUP_METHOD is {warmup_method!r}; known: linear, constant.")
        self.max_iters = max_iters
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        self.power = power
        self.constant_ending = constant_ending
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The learning rate of each group at the current iteration."""
        factor = (1 - self.last_epoch / self.max_iters) ** self.power
        if self.last_epoch < self.warmup_iters:
            factor *= self._warmup()
        else:
            factor = max(factor, self.constant_ending)
        return [base_lr * factor for base_lr in self.base_lrs]

    def _warmup(self) -> float:
        if self.warmup_method == "constant":
            return self.warmup_factor
        progress = self.last_epoch / self.warmup_iters
        return self.warmup_factor * (1 - progress) + progress
