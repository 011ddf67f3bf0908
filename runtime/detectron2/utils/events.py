"""Records scalars, images and histograms during a run and writes them to logs."""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from fvcore.common.history_buffer import HistoryBuffer

from detectron2.utils.file_io import PathManager

if TYPE_CHECKING:
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]

# The storages whose `with` blocks are open, innermost last.
_open_storages: list[EventStorage] = []


def get_event_storage() -> EventStorage:
    """The storage of the innermost ``with EventStorage()`` block; AssertionError outside."""
    if not _open_storages:
        raise AssertionError("get_event_storage() works inside a `with EventStorage():` block.")
    return _open_storages[-1]


def has_event_storage() -> bool:
    """Are we inside a ``with EventStorage()`` block?"""
    return bool(_open_storages)


class _Image(NamedTuple):
    name: str
    image: torch.Tensor | np.ndarray
    iteration: int


class EventStorage:
    """What a run has recorded so far: the history of each scalar, and pending images."""

    def __init__(self, start_iter: int = 0) -> None:
        self._iter = start_iter
        self._prefix = ""
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        # Under these two names writers of other projects read what is pending.
        self._vis_data: list[_Image] = []
        self._histograms: list[dict[str, Any]] = []

    @property
    def iter(self) -> int:
        """The current iteration; what is recorded is recorded for it."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """The current iteration."""
        return self._iter

    def step(self) -> None:
        """Advances to the next iteration."""
        self._iter += 1

    def put_scalar(
        self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Records a number.

        Args:
            name: Its name; the open ``name_scope`` is put in front.
            value: What ``float()`` takes. A CUDA tensor is waited for.
            smoothing_hint: Is it noisy, so that writers should show its median? The same in
                every call for one name.
            cur_iter: The iteration it belongs to; by default the current one.
        """
        number = float(value)
        name = self._prefix + name
        known_hint = self._smoothing_hints.setdefault(name, smoothing_hint)
        if known_hint != smoothing_hint:
            raise AssertionError(
                f"The scalar {name!r} was recorded with smoothing_hint={known_hint} before; "
                f"now it comes with smoothing_hint={smoothing_hint}."
            )
        iteration = self._iter if cur_iter is None else cur_iter
        self._histories[name].update(number, iteration)
        self._latest[name] = (number, iteration)

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any
    ) -> None:
        """Records several numbers, named by keyword; see ``put_scalar``."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def put_image(self, img_name: str, img_tensor: torch.Tensor | np.ndarray) -> None:
        """Records an image: (3, H, W) RGB, uint8 in [0, 255] or float in [0, 1]."""
        self._vis_data.append(_Image(img_name, img_tensor, self._iter))

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        """Records the distribution of a tensor's values over ``bins`` equal intervals."""
        low, high = float(hist_tensor.min()), float(hist_tensor.max())
        counts = torch.histc(hist_tensor, bins=bins)
        edges = torch.linspace(low, high, steps=bins + 1, dtype=torch.float32)
        self._histograms.append(
            {
                "tag": hist_name,
                "min": low,
                "max": high,
                "num": len(hist_tensor),
                "sum": float(hist_tensor.sum()),
                "sum_squares": float(hist_tensor.square().sum()),
                "bucket_limits": edges[1:].tolist(),
                "bucket_counts": counts.tolist(),
                "global_step": self._iter,
            }
        )

    def history(self, name: str) -> HistoryBuffer:
        """All recorded values of the scalar ``name``; KeyError if there are none."""
        if name not in self._histories:
            raise KeyError(
                f"No scalar {name!r} was recorded. Recorded: {', '.join(self._histories)}."
            )
        return self._histories[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """The history of each scalar."""
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """(value, iteration) recorded last, for each scalar."""
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """``latest``, with the median over ``window_size`` iterations for noisy scalars."""
        return {
            name: (self._median(name, window_size) if self._smoothing_hints[name] else value, at)
            for name, (value, at) in self._latest.items()
        }

    def _median(self, name: str, window_size: int) -> float:
        return float(self._histories[name].median(self.count_samples(name, window_size)))

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many of the latest values of ``name`` fall into the last ``window_size`` iterations.

        The iterations are counted back from the scalar's own latest one; at least 1.
        """
        recorded = self.history(name).values()
        last = recorded[-1][1]
        count = 0
        for _, iteration in reversed(recorded):
            if iteration <= last - window_size:
                break
            count += 1
        return count

    def smoothing_hints(self) -> dict[str, bool]:
        """Whether each scalar is noisy."""
        return self._smoothing_hints

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Puts ``name/`` in front of the names of scalars recorded inside the block."""
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def clear_images(self) -> None:
        """Forgets the images: called once they are written."""
        self._vis_data = []

    def clear_histograms(self) -> None:
        """Forgets the histograms: called once they are written."""
        self._histograms = []

    def __enter__(self) -> EventStorage:
        _open_storages.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        assert _open_storages[-1] is self, "`with EventStorage()` blocks are nested wrongly"
        _open_storages.pop()


class EventWriter:
    """Takes what is new in the open storage somewhere: a subclass says where."""

    def write(self) -> None:
        """Writes what was recorded since the last call."""
        raise NotImplementedError

    def close(self) -> None:
        """Releases files; nothing by default."""


class JSONWriter(EventWriter):
    """Appends a line of JSON per iteration that has new scalars."""

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        """Opens the file.

        Args:
            json_file: Appended to if it exists.
            window_size: Noisy scalars are medians over so many iterations.
        """
        unfinished = _ends_within_a_line(json_file)
        self._file = PathManager.open(json_file, "a")
        if unfinished:  # a run was killed while it wrote: its rest must not spoil our first line
            self._file.write("\n")
        self._window_size = window_size
        self._last_write = -1

    def write(self) -> None:
        """Appends the lines of this period in one piece."""
        by_iteration: dict[int, dict[str, float]] = {}
        scalars = get_event_storage().latest_with_smoothing_hint(self._window_size)
        for name, (value, iteration) in scalars.items():
            if iteration > self._last_write:
                by_iteration.setdefault(iteration, {"iteration": iteration})[name] = value
        if not by_iteration:
            return
        self._last_write = max(by_iteration)
        lines = [json.dumps(line, sort_keys=True) + "\n" for line in by_iteration.values()]
        self._file.write("".join(lines))
        self._file.flush()
        try:
            os.fsync(self._file.fileno())
        except (AttributeError, OSError):
            return  # not a file of the operating system: flushing is all that can be done

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _ends_within_a_line(path: str) -> bool:
    if not PathManager.isfile(path):
        return False
    with PathManager.open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class TensorboardXWriter(EventWriter):
    """Writes scalars, images and histograms as TensorBoard events."""

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        """Keeps the arguments; the file is created by the first ``write``.

        Args:
            log_dir: The folder of the event files.
            window_size: Noisy scalars are medians over so many iterations.
            **kwargs: Passed on to ``torch.utils.tensorboard.SummaryWriter``.
        """
        self._log_dir = log_dir
        self._window_size = window_size
        self._kwargs = kwargs
        self._last_write = -1

    @cached_property
    def _writer(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self._log_dir, **self._kwargs)

    def write(self) -> None:
        """Writes what is new; images and histograms are then dropped from the storage."""
        storage = get_event_storage()
        newest = self._last_write
        scalars = storage.latest_with_smoothing_hint(self._window_size)
        for name, (value, iteration) in scalars.items():
            if iteration > self._last_write:
                self._writer.add_scalar(name, value, iteration)
                newest = max(newest, iteration)
        self._last_write = newest
        for name, image, iteration in storage._vis_data:
            self._writer.add_image(name, image, iteration)
        storage.clear_images()
        for histogram in storage._histograms:
            self._writer.add_histogram_raw(**histogram)
        storage.clear_histograms()

    def close(self) -> None:
        """Closes the event file if there is one."""
        if "_writer" in self.__dict__:
            self._writer.close()


def _peak_memory_mib() -> float | None:
    """Largest memory so far: of the CUDA allocator, else resident memory of this process.

    None on Windows, whose Python does not tell.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class CommonMetricPrinter(EventWriter):
    """Logs a line of what a training shows: time left, losses, times, learning rate, memory."""

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        """Keeps the arguments.

        Args:
            max_iter: Length of the run in iterations; without it no time left is shown.
            window_size: Losses are medians, times means over so many iterations.
        """
        self._logger = logging.getLogger("detectron2.utils.events")
        self._max_iter = max_iter
        self._window_size = window_size
        # (iteration, clock) of the last write: tells the speed where no "time" is recorded.
        self._last_write: tuple[int, float] | None = None

    def write(self) -> None:
        """Logs the line; nothing after the last iteration, whose line stands already."""
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return
        seconds_left = self._seconds_left(storage)
        parts = [f"iter: {storage.iter}", *self._losses(storage), *self._times(storage)]
        if seconds_left is not None:
            parts.insert(0, f"eta: {datetime.timedelta(seconds=int(seconds_left))}")
        parts.append(f"lr: {self._learning_rate(storage)}")
        if (memory := _peak_memory_mib()) is not None:
            parts.append(f"max_mem: {memory:.0f}M")
        self._logger.info(" %s", "  ".join(parts))

    def _losses(self, storage: EventStorage) -> list[str]:
        return [
            f"{name}: {storage._median(name, self._window_size):.4g}"
            for name in storage.histories()
            if "loss" in name
        ]

    def _times(self, storage: EventStorage) -> list[str]:
        """Mean and latest seconds per iteration: all of it, and waiting for data."""
        parts = []
        for name in ("time", "data_time"):
            if name not in storage.histories():
                continue
            history = storage.history(name)
            mean = history.avg(storage.count_samples(name, self._window_size))
            parts += [f"{name}: {mean:.4f}", f"last_{name}: {history.latest():.4f}"]
        return parts

    @staticmethod
    def _learning_rate(storage: EventStorage) -> str:
        latest: Mapping[str, tuple[float, int]] = storage.latest()
        return f"{latest['lr'][0]:.5g}" if "lr" in latest else "N/A"

    def _seconds_left(self, storage: EventStorage) -> float | None:
        """Estimated seconds to ``max_iter``; None as long as the speed is unknown."""
        if self._max_iter is None:
            return None
        iterations_left = self._max_iter - storage.iter - 1
        if "time" in storage.histories():
            # Over the whole run: one slow iteration must not make the estimate jump.
            seconds = storage.history("time").global_avg() * iterations_left
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
            return seconds
        last, self._last_write = self._last_write, (storage.iter, time.perf_counter())
        if last is None or last[0] == storage.iter:
            return None
        per_iteration = (self._last_write[1] - last[1]) / (storage.iter - last[0])
        return per_iteration * iterations_left
