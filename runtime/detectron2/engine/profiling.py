"""Hooks that look at where time and memory go."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from .train_loop import HookBase, TrainerBase

logger = logging.getLogger(__name__)


class TorchProfiler(HookBase):
    """Profiles chosen iterations with ``torch.profiler``."""

    def __init__(
        self,
        enable_predicate: Callable[[TrainerBase], bool],
        output_dir: str,
        *,
        activities: Iterable[torch.profiler.ProfilerActivity] | None = None,
        save_tensorboard: bool = True,
    ) -> None:
        """Takes what is profiled and where it is written.

        Args:
            enable_predicate: from the trainer to whether the coming iteration is profiled.
            output_dir: folder of the traces.
            activities: as for ``torch.profiler.profile``.
            save_tensorboard: write traces for tensorboard into "log"; else Chrome traces.
        """
        self._enable_predicate = enable_predicate
        self._output_dir = output_dir
        self._activities = activities
        self._save_tensorboard = save_tensorboard
        self._profiler: Any = None

    def before_step(self) -> None:
        """Starts to profile, if the coming iteration is chosen."""
        if not self._enable_predicate(self.trainer):
            return
        on_trace_ready = None
        if self._save_tensorboard:
            on_trace_ready = torch.profiler.tensorboard_trace_handler(
                os.path.join(self._output_dir, "log", f"profiler_iter{self.trainer.iter}"),
                f"worker{comm.get_rank()}",
            )
        self._profiler = torch.profiler.profile(
            activities=self._activities,
            on_trace_ready=on_trace_ready,
            record_shapes=True,
            profile_memory=True,
            with_stack=True,
            with_flops=True,
        )
        self._profiler.__enter__()

    def after_step(self) -> None:
        """Stops, and writes the trace."""
        if self._profiler is None:
            return
        self._profiler.__exit__(None, None, None)
        if not self._save_tensorboard:
            PathManager.mkdirs(self._output_dir)
            path = os.path.join(self._output_dir, f"profiler-trace-iter{self.trainer.iter}.json")
            self._profiler.export_chrome_trace(path)
        self._profiler = None


class AutogradProfiler(TorchProfiler):
    """Profiles chosen iterations with ``torch.autograd.profiler``, as Chrome traces.

    Note that it slows down runs of several processes, and that NCCL may deadlock under it.
    """

    def __init__(
        self,
        enable_predicate: Callable[[TrainerBase], bool],
        output_dir: str,
        *,
        use_cuda: bool = True,
    ) -> None:
        """As :class:`TorchProfiler`; ``use_cuda`` also times the kernels on the GPU."""
        super().__init__(enable_predicate, output_dir, save_tensorboard=False)
        self._use_cuda = use_cuda

    def before_step(self) -> None:
        """Starts to profile, if the coming iteration is chosen."""
        if not self._enable_predicate(self.trainer):
            return
        device = "cuda" if self._use_cuda and torch.cuda.is_available() else None
        self._profiler = torch.autograd.profiler.profile(use_device=device)
        self._profiler.__enter__()


class TorchMemoryStats(HookBase):
    """Logs the CUDA memory every ``period`` iterations, ``max_runs`` times."""

    def __init__(self, period: int = 20, max_runs: int = 10) -> None:
        """Takes the period in iterations and the number of logs."""
        self._period = period
        self._max_runs = max_runs
        self._runs = 0

    def after_step(self) -> None:
        """Logs, when it is time."""
        if self._runs >= self._max_runs or not torch.cuda.is_available():
            return
        if (self.trainer.iter + 1) % self._period == 0 or (
            self.trainer.iter == self.trainer.max_iter - 1
        ):
            mebibyte = 1024.0 * 1024.0
            logger.info(
                "iter %d: max reserved %.0f MiB, reserved %.0f MiB, "
                "max allocated %.0f MiB, allocated %.0f MiB",
                self.trainer.iter,
                torch.cuda.max_memory_reserved() / mebibyte,
                torch.cuda.memory_reserved() / mebibyte,
                torch.cuda.max_memory_allocated() / mebibyte,
                torch.cuda.memory_allocated() / mebibyte,
            )
            self._runs += 1
            if self._runs == self._max_runs:
                logger.info("%s", torch.cuda.memory_summary())
            torch.cuda.reset_peak_memory_stats()
