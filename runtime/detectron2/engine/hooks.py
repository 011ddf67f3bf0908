"""Hooks: what happens around the iterations of a trainer."""

from __future__ import annotations

import datetime
import logging
import math
import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.param_scheduler import ParamScheduler
from fvcore.common.timer import Timer
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr_scheduler

from detectron2.evaluation.testing import flatten_results_dict
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter

from .profiling import AutogradProfiler, TorchMemoryStats, TorchProfiler
from .train_loop import HookBase, TrainerBase

__all__ = [
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchMemoryStats",
    "TorchProfiler",
]

logger = logging.getLogger(__name__)

TrainerCallback = Callable[[TrainerBase], Any]


class CallbackHook(HookBase):
    """Calls functions with the trainer as their argument."""

    def __init__(
        self,
        *,
        before_train: TrainerCallback | None = None,
        after_train: TrainerCallback | None = None,
        before_step: TrainerCallback | None = None,
        after_step: TrainerCallback | None = None,
    ) -> None:
        """Takes one function, or None, for each point of the loop."""
        self._before_train = before_train
        self._after_train = after_train
        self._before_step = before_step
        self._after_step = after_step

    def before_train(self) -> None:
        """Calls the function for this point."""
        if self._before_train:
            self._before_train(self.trainer)

    def after_train(self) -> None:
        """Calls the function for this point."""
        if self._after_train:
            self._after_train(self.trainer)

    def before_step(self) -> None:
        """Calls the function for this point."""
        if self._before_step:
            self._before_step(self.trainer)

    def after_step(self) -> None:
        """Calls the function for this point."""
        if self._after_step:
            self._after_step(self.trainer)


class IterationTimer(HookBase):
    """Records the seconds of each iteration as "time", and logs a summary at the end.

    Hooks registered before this one are not timed.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        """The first ``warmup_iter`` iterations are not counted."""
        self._warmup_iter = warmup_iter
        self._step_timer = Timer()
        self._start_time = time.perf_counter()
        self._total_timer = Timer()

    def before_train(self) -> None:
        """Starts the clocks."""
        self._start_time = time.perf_counter()
        self._total_timer.reset()
        self._total_timer.pause()

    def after_train(self) -> None:
        """Logs the speed, and the time spent in other hooks."""
        total = time.perf_counter() - self._start_time
        in_steps = self._total_timer.seconds()
        timed = self.trainer.iter + 1 - self.trainer.start_iter - self._warmup_iter
        if timed > 0 and in_steps > 0:
            logger.info(
                "Overall training speed: %d iterations in %s (%.4f s / it)",
                timed,
                datetime.timedelta(seconds=int(in_steps)),
                in_steps / timed,
            )
        logger.info(
            "Total training time: %s (%s on hooks)",
            datetime.timedelta(seconds=int(total)),
            datetime.timedelta(seconds=int(total - in_steps)),
        )

    def before_step(self) -> None:
        """Starts timing the iteration."""
        self._step_timer.reset()
        self._total_timer.resume()

    def after_step(self) -> None:
        """Records the time of the iteration."""
        done = self.trainer.iter - self.trainer.start_iter + 1
        if done >= self._warmup_iter:
            self.trainer.storage.put_scalars(time=self._step_timer.seconds())
        else:
            self._start_time = time.perf_counter()
            self._total_timer.reset()
        self._total_timer.pause()


class PeriodicWriter(HookBase):
    """Lets ``EventWriter`` objects write every ``period`` iterations and after the last one."""

    def __init__(self, writers: list[EventWriter], period: int = 20) -> None:
        """Takes the writers and the period in iterations."""
        for writer in writers:
            if not isinstance(writer, EventWriter):
                raise TypeError(f"{writer!r} is no EventWriter.")
        self._writers = writers
        self._period = period

    def after_step(self) -> None:
        """Writes, when it is time."""
        if (self.trainer.iter + 1) % self._period == 0 or (
            self.trainer.iter == self.trainer.max_iter - 1
        ):
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        """Writes what the other hooks recorded at the end, and closes the writers."""
        for writer in self._writers:
            writer.write()
            writer.close()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """fvcore's ``PeriodicCheckpointer`` as a hook; its period is counted in iterations."""

    def before_train(self) -> None:
        """Learns the number of iterations."""
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        """Saves, when it is time."""
        self.step(self.trainer.iter)


class BestCheckpointer(HookBase):
    """Saves the model whenever an evaluated metric is better than ever before.

    Register it after the hook that evaluates.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        """Takes what is compared.

        Args:
            eval_period: iterations between two evaluations; as that of ``EvalHook``.
            checkpointer: saves the model.
            val_metric: the metric's name in the event storage, e.g. "bbox/AP50".
            mode: is a larger ("max") or a smaller ("min") value better?
            file_prefix: name of the file, without extension.
        """
        assert mode in ("max", "min"), f"mode={mode!r} is unknown: it is 'max' or 'min'."
        self._period = eval_period
        self._val_metric = val_metric
        self._is_better = operator.gt if mode == "max" else operator.lt
        self._checkpointer = checkpointer
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def after_step(self) -> None:
        """Compares after an evaluation; the last one is compared after training."""
        next_iter = self.trainer.iter + 1
        is_due = self._period > 0 and next_iter % self._period == 0
        if is_due and next_iter != self.trainer.max_iter:
            self._compare()

    def after_train(self) -> None:
        """Compares the last evaluation, unless training was interrupted."""
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._compare()

    def _compare(self) -> None:
        latest = self.trainer.storage.latest().get(self._val_metric)
        if latest is None:
            logger.warning(
                "The metric %r was not recorded: no best checkpoint is saved by it.",
                self._val_metric,
            )
            return
        value, iteration = latest
        if not math.isfinite(value) or (
            self.best_metric is not None and not self._is_better(value, self.best_metric)
        ):
            logger.info(
                "%s = %.5f is not better than %s @ iteration %s: not saved.",
                self._val_metric,
                value,
                self.best_metric,
                self.best_iter,
            )
            return
        self._checkpointer.save(self._file_prefix, iteration=iteration)
        logger.info(
            "Saved the best model: %s = %.5f @ iteration %d, before %s @ iteration %s.",
            self._val_metric,
            value,
            iteration,
            self.best_metric,
            self.best_iter,
        )
        self.best_metric, self.best_iter = value, iteration


class LRScheduler(HookBase):
    """Records the learning rate as "lr" and advances the schedule after each iteration."""

    def __init__(
        self,
        optimizer: Optimizer | None = None,
        scheduler: torch_lr_scheduler.LRScheduler | ParamScheduler | None = None,
    ) -> None:
        """By default takes both from the trainer.

        Args:
            optimizer: whose learning rate is recorded.
            scheduler: a torch schedule by iterations, or an fvcore multiplier of the initial rate.
        """
        self._optimizer = optimizer
        self._scheduler = scheduler

    def before_train(self) -> None:
        """Completes what was left to the trainer."""
        trainer: Any = self.trainer
        self._optimizer = self._optimizer or trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            self._scheduler = LRMultiplier(
                self._optimizer,
                self.scheduler,
                trainer.max_iter,
                last_iter=trainer.iter - 1,
            )
        self._best_param_group_id = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: Optimizer) -> int:
        """Index of the parameter group whose rate is shown: the largest, or most typical one."""
        groups = optimizer.param_groups
        largest = max(len(group["params"]) for group in groups)
        if largest == 1:
            # One group per parameter: the first with the most common rate.
            rates = [group["lr"] for group in groups]
            return rates.index(Counter(rates).most_common()[0][0])
        return next(i for i, group in enumerate(groups) if len(group["params"]) == largest)

    def after_step(self) -> None:
        """Records the rate of this iteration and sets that of the next one."""
        assert self._optimizer is not None
        rate = self._optimizer.param_groups[self._best_param_group_id]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        self.scheduler.step()

    @property
    def scheduler(self) -> Any:
        """The schedule, the trainer's by default."""
        trainer: Any = self.trainer
        return self._scheduler or trainer.scheduler

    def state_dict(self) -> dict[str, Any]:
        """The position in the schedule."""
        if isinstance(self.scheduler, torch_lr_scheduler.LRScheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from ``state_dict``."""
        if isinstance(self.scheduler, torch_lr_scheduler.LRScheduler):
            logger.info("Loading scheduler from state_dict ...")
            self.scheduler.load_state_dict(dict(state_dict))


class EvalHook(HookBase):
    """Evaluates periodically, and after training; records the results.

    All processes call it together.
    """

    def __init__(
        self,
        eval_period: int,
        eval_function: Callable[[], Mapping[str, Any] | None],
        eval_after_train: bool = True,
    ) -> None:
        """Takes when and what to evaluate.

        Args:
            eval_period: iterations between two evaluations; 0: none during training.
            eval_function: returns a nested dict of numbers, or nothing.
            eval_after_train: evaluate after the last iteration.
        """
        self._period = eval_period
        self._func = eval_function
        self._eval_after_train = eval_after_train

    def after_step(self) -> None:
        """Evaluates, when it is time; the last time comes after training."""
        next_iter = self.trainer.iter + 1
        is_due = self._period > 0 and next_iter % self._period == 0
        if is_due and next_iter != self.trainer.max_iter:
            self._evaluate()

    def after_train(self) -> None:
        """Evaluates, unless training was interrupted."""
        if self._eval_after_train and self.trainer.iter + 1 >= self.trainer.max_iter:
            self._evaluate()

    def _evaluate(self) -> None:
        results = self._func()
        if results:
            assert isinstance(results, dict), f"the evaluation returned {results!r}, not a dict."
            flat = flatten_results_dict(results)
            for name, value in flat.items():
                try:
                    flat[name] = float(value)
                except (TypeError, ValueError) as error:
                    raise ValueError(
                        "[EvalHook] eval_function should return a nested dict of float. "
                        f"Got '{name}: {value}' instead."
                    ) from error
            self.trainer.storage.put_scalars(**flat, smoothing_hint=False)
        # Evaluation takes each process another time; a timeout should not strike later.
        comm.synchronize()


class PreciseBN(HookBase):
    """Replaces BatchNorm's running averages by true ones (arXiv:2105.07576, section 3).

    Runs every ``period`` iterations and after the last one; register it before the hooks that
    save and evaluate.
    """

    def __init__(
        self, period: int, model: nn.Module, data_loader: Iterable[Any], num_iter: int
    ) -> None:
        """Takes what the statistics are computed from.

        Args:
            period: iterations between two runs; 0: only after the last iteration.
            model: nothing is done unless it has BatchNorm layers in training mode.
            data_loader: yields batches for ``model``.
            num_iter: number of batches.
        """
        from fvcore.nn.precise_bn import get_bn_modules

        self._disabled = not get_bn_modules(model)
        if self._disabled:
            logger.info("PreciseBN is disabled: the model has no BatchNorm in training mode.")
        self._period = period
        self._model = model
        self._data_loader = data_loader
        self._num_iter = num_iter
        self._data_iter: Any = None

    def after_step(self) -> None:
        """Updates the statistics, when it is time."""
        next_iter = self.trainer.iter + 1
        if next_iter == self.trainer.max_iter or (
            self._period > 0 and next_iter % self._period == 0
        ):
            self.update_stats()

    def update_stats(self) -> None:
        """Computes the statistics with the present weights."""
        if self._disabled:
            return
        from fvcore.nn.precise_bn import update_bn_stats

        if self._data_iter is None:
            self._data_iter = iter(self._data_loader)
        logger.info("Running precise-BN for %d iterations ...", self._num_iter)
        # A storage of its own: these forward passes are no training and shall not be recorded.
        with EventStorage():
            update_bn_stats(self._model, self._data_iter, self._num_iter)
