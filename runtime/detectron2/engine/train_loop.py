"""The training loop: what runs in which order, and a step of gradient descent."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer

from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]

logger = logging.getLogger(__name__)


class HookBase:
    """What a trainer calls around its loop and its steps; ``trainer`` is set on registration.

    Each call sees ``trainer.iter``: the index of the current iteration, in ``after_train`` that
    of the iteration that would come next.
    """

    trainer: TrainerBase = None  # type: ignore[assignment]  # set by register_hooks

    def before_train(self) -> None:
        """Called before the first iteration."""

    def after_train(self) -> None:
        """Called after the last iteration, and when training ends by an exception."""

    def before_step(self) -> None:
        """Called before each iteration."""

    def after_backward(self) -> None:
        """Called when an iteration's gradients are complete."""

    def after_step(self) -> None:
        """Called after each iteration."""

    def state_dict(self) -> dict[str, Any]:
        """What the hook needs to go on after a restart; empty for none."""
        return {}


class TrainerBase:
    """A loop of iterations with hooks; subclasses say what ``run_step`` does."""

    iter: int
    start_iter: int
    max_iter: int
    storage: EventStorage

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = 0
        self.start_iter = 0

    def register_hooks(self, hooks: list[HookBase | None]) -> None:
        """Appends ``hooks``, called in this order; None entries are skipped."""
        for hook in hooks:
            if hook is None:
                continue
            if not isinstance(hook, HookBase):
                raise TypeError(f"{hook!r} is no HookBase.")
            # A weak reference: else trainer and hooks keep each other, and the GPU memory, alive.
            hook.trainer = weakref.proxy(self)
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Runs the iterations ``start_iter, ..., max_iter - 1``."""
        logger.info("Starting training from iteration %d", start_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                # Finished iterations, so that hooks can tell the end from an interruption.
                self.iter += 1
            except Exception:
                logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()

    def before_train(self) -> None:
        """Calls the hooks before the first iteration."""
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        """Calls the hooks after the last iteration."""
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.after_train()

    def before_step(self) -> None:
        """Calls the hooks before an iteration."""
        # Whatever is recorded during the step belongs to this iteration.
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        """Calls the hooks when the gradients are complete."""
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        """Calls the hooks after an iteration."""
        for hook in self._hooks:
            hook.after_step()

    def run_step(self) -> None:
        """One iteration."""
        raise NotImplementedError(f"{type(self).__name__} does not define run_step().")

    def state_dict(self) -> dict[str, Any]:
        """The iteration and the states of the hooks that have one, by class name."""
        state: dict[str, Any] = {"iteration": self.iter}
        hooks: dict[str, dict[str, Any]] = {}
        for hook in self._hooks:
            hook_state = hook.state_dict()
            # The first hook of a class is the one that load_state_dict() finds.
            if hook_state and type(hook).__qualname__ not in hooks:
                hooks[type(hook).__qualname__] = hook_state
        if hooks:
            state["hooks"] = hooks
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from ``state_dict``; states of hooks that are not registered are ignored."""
        self.iter = state_dict["iteration"]
        for name, hook_state in state_dict.get("hooks", {}).items():
            hook: Any = next((h for h in self._hooks if type(h).__qualname__ == name), None)
            if hook is None:
                logger.warning("Cannot find the hook %r: its saved state is ignored.", name)
            else:
                hook.load_state_dict(hook_state)


class SimpleTrainer(TrainerBase):
    """One data source, one model that returns its losses, one optimizer.

    A step: forward, sum of the losses, backward, ``after_backward`` hooks, optimizer step.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        """Sets ``model`` to training mode.

        Args:
            model: from a batch to a dict of losses, or to one loss.
            data_loader: yields batches; endless, or at least as many as there are iterations.
            optimizer: holds the parameters of ``model``.
            gather_metric_period: iterations between two collections of metrics over the
                processes, each of which waits for the device.
            zero_grad_before_forward: drop the old gradients before the forward pass, which lowers
                the peak of memory; else after it, while the device still computes.
            async_write_metrics: collect the metrics in another thread.
        """
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self._data_loader_iter_obj: Iterator[Any] | None = None
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self._metrics_thread: ThreadPoolExecutor | None = None
        self._pending_metrics: Future[None] | None = None

    @property
    def _data_loader_iter(self) -> Iterator[Any]:
        """Created at its first use: worker processes start when training does."""
        if self._data_loader_iter_obj is None:
            self._data_loader_iter_obj = iter(self.data_loader)
        return self._data_loader_iter_obj

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable[Any]]) -> None:
        """Replaces the data source; the old one is released before the new one is built."""
        del self.data_loader
        self._data_loader_iter_obj = None
        self.data_loader = data_loader_builder()

    def run_step(self) -> None:
        """One iteration of gradient descent."""
        assert self.model.training, "the model was changed to eval mode during training"
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        loss, loss_dict = _total_loss(self.model(data))
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        loss.backward()
        self.after_backward()
        self._write_metrics(loss_dict, data_time)
        self.optimizer.step()

    def _next_batch(self) -> tuple[Any, float]:
        """The next batch and the seconds that it took."""
        start = time.perf_counter()
        try:
            data = next(self._data_loader_iter)
        except StopIteration:
            raise RuntimeError(
                f"The data loader ended at iteration {self.iter}; training needs one that goes on "
                "until the last iteration, as build_detection_train_loader gives."
            ) from None
        return data, time.perf_counter() - start

    def after_train(self) -> None:
        """Calls the hooks, after the last metrics have arrived."""
        try:
            self.finish_metrics()
        finally:
            super().after_train()

    def finish_metrics(self) -> None:
        """Waits until the metrics of all steps are recorded, and ends the thread that does it."""
        try:
            self._wait_for_metrics()
        finally:
            if self._metrics_thread is not None:
                self._metrics_thread.shutdown()
                self._metrics_thread = None

    def _write_metrics(
        self, loss_dict: Mapping[str, torch.Tensor], data_time: float, prefix: str = ""
    ) -> None:
        if (self.iter + 1) % self.gather_metric_period != 0:
            return
        if not self.async_write_metrics:
            self.write_metrics(loss_dict, data_time, self.iter, prefix)
            return
        # An error of the last collection (losses that are not finite) must not get lost.
        self._wait_for_metrics()
        if self._metrics_thread is None:
            self._metrics_thread = ThreadPoolExecutor(max_workers=1)
        self._pending_metrics = self._metrics_thread.submit(
            self.write_metrics, loss_dict, data_time, self.iter, prefix
        )

    def _wait_for_metrics(self) -> None:
        if self._pending_metrics is not None:
            pending, self._pending_metrics = self._pending_metrics, None
            pending.result()

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, torch.Tensor],
        data_time: float,
        cur_iter: int,
        prefix: str = "",
    ) -> None:
        """Records the losses, averaged over the processes, and the longest data time.

        Args:
            loss_dict: 0-d tensors by name.
            data_time: seconds this process waited for its batch.
            cur_iter: the iteration that these values belong to.
            prefix: put before "total_loss".

        Raises:
            FloatingPointError: the sum of the losses is infinite or NaN.
        """
        metrics = _to_numbers(loss_dict)
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", data_time, cur_iter=cur_iter)
        all_metrics = comm.gather((metrics, data_time))
        if not comm.is_main_process():
            return
        # The slowest process holds up all of them.
        storage.put_scalar("data_time", max(t for _, t in all_metrics), cur_iter=cur_iter)
        means = {name: float(np.mean([m[name] for m, _ in all_metrics])) for name in metrics}
        total = sum(means.values())
        if not np.isfinite(total):
            raise FloatingPointError(
                f"Loss became infinite or NaN at iteration={cur_iter}!\nloss_dict = {means}\n"
                "Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or enable "
                "SOLVER.CLIP_GRADIENTS; a wrong annotation can be the reason, too."
            )
        storage.put_scalar(f"{prefix}total_loss", total, cur_iter=cur_iter)
        if len(means) > 1:
            for name, mean in means.items():
                storage.put_scalar(name, mean, cur_iter=cur_iter)

    def state_dict(self) -> dict[str, Any]:
        """The loop's state and the optimizer's."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from ``state_dict``."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


class AMPTrainer(SimpleTrainer):
    """Like :class:`SimpleTrainer`, in mixed precision (arXiv:1710.03740); needs CUDA."""

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        """Adds to :class:`SimpleTrainer`'s arguments those of mixed precision.

        Args:
            model: as there; not spread over several devices by one process.
            data_loader: as there.
            optimizer: as there.
            gather_metric_period: as there.
            zero_grad_before_forward: as there.
            grad_scaler: scales the loss, by default as ``torch.amp.GradScaler("cuda")`` does.
            precision: dtype of the autocast region.
            log_grad_scaler: record the scale as the metric "[metric]grad_scaler".
            async_write_metrics: as there.
        """
        unsupported = "AMPTrainer does not support single-process multi-device training!"
        if isinstance(model, DistributedDataParallel):
            assert not (model.device_ids and len(model.device_ids) > 1), unsupported
        assert not isinstance(model, DataParallel), unsupported
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period,
            zero_grad_before_forward,
            async_write_metrics,
        )
        if grad_scaler is None:
            grad_scaler = torch.amp.GradScaler("cuda", enabled=torch.cuda.is_available())
        self.grad_scaler = grad_scaler
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler

    def run_step(self) -> None:
        """One iteration of gradient descent in mixed precision."""
        assert self.model.training, "the model was changed to eval mode during training"
        assert torch.cuda.is_available(), (
            "[AMPTrainer] CUDA is required for AMP training! There is no CUDA device here: "
            "set SOLVER.AMP.ENABLED to False."
        )
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        with torch.autocast("cuda", dtype=self.precision):
            loss, loss_dict = _total_loss(self.model(data))
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self.grad_scaler.scale(loss).backward()
        if self.log_grad_scaler:
            get_event_storage().put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())
        self.after_backward()
        self._write_metrics(loss_dict, data_time)
        # Unscales the gradients, and skips the step where they overflowed.
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The simple trainer's state and the scale of the loss."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from ``state_dict``."""
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _total_loss(
    output: torch.Tensor | dict[str, torch.Tensor],
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum to differentiate, and the losses by name."""
    if isinstance(output, torch.Tensor):
        return output, {"total_loss": output}
    if not output:
        raise ValueError("The model returned no losses; in training it returns a dict of them.")
    losses = list(output.values())
    return sum(losses[1:], start=losses[0]), output


def _to_numbers(values: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Python floats of 0-d tensors (or numbers), with a single wait for the device."""
    tensors = [v.detach().reshape(()) for v in values.values() if isinstance(v, torch.Tensor)]
    device = tensors[0].device if tensors else None
    stacked = [t.to(device, torch.float32) for t in tensors]
    numbers = iter(torch.stack(stacked).tolist() if stacked else [])
    return {
        name: next(numbers) if isinstance(value, torch.Tensor) else float(value)
        for name, value in values.items()
    }
