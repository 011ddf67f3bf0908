"""The evaluator interface, and the loop that runs a model over a data set."""

from __future__ import annotations

import datetime
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from detectron2.utils.comm import get_world_size, is_main_process

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOG_LINES = 5.0
WARMUP_BATCHES = 5


class DatasetEvaluator:
    """Accumulates what a model says about a data set, then condenses it into metrics.

    :func:`inference_on_dataset` calls ``reset`` once, ``process`` after each batch and ``evaluate``
    once at the end. A subclass keeps its state between those calls.
    """

    def reset(self) -> None:
        """Forgets everything; called before a round of evaluation."""

    def process(self, inputs: Any, outputs: Any) -> None:
        """Takes in one batch.

        Args:
            inputs: the batch that the model was called with, usually a list of dicts.
            outputs: what the model returned; usually one dict for each input.
        """

    def evaluate(self) -> dict[str, Any] | None:
        """Condenses what was processed, over all ranks.

        Returns:
            ``{task: {metric: value}}`` on the main process. Other ranks may return None.
        """


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators that see the same outputs, so that the model runs only once."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        super().__init__()
        self._evaluators = evaluators

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """Merges the results; two evaluators must not report under the same key."""
        merged: OrderedDict[str, Any] = OrderedDict()
        for evaluator in self._evaluators:
            result = evaluator.evaluate()
            if result is None or not is_main_process():
                continue
            for key, value in result.items():
                if key in merged:
                    raise AssertionError(
                        f"Two evaluators report under the key {key!r}: {type(evaluator).__name__}"
                        " and one before it. Evaluate them in separate rounds."
                    )
                merged[key] = value
        return merged


@dataclass(slots=True)
class _Stopwatch:
    """Seconds spent waiting for data, in the model and in the evaluator, after a warm-up."""

    total_batches: int
    warmup: int
    measured: int = 0
    data: float = 0.0
    compute: float = 0.0
    evaluation: float = 0.0
    started: float = 0.0

    def add(self, index: int, data: float, compute: float, evaluation: float) -> None:
        if index < self.warmup:
            self.started = time.perf_counter()
            return
        self.measured += 1
        self.data += data
        self.compute += compute
        self.evaluation += evaluation

    def progress_line(self) -> str:
        count = max(self.measured, 1)
        done = self.warmup + self.measured
        per_batch = (time.perf_counter() - self.started) / count
        eta = datetime.timedelta(seconds=int(per_batch * (self.total_batches - done)))
        return (
            f"Inference done {done}/{self.total_batches}."
            f" Dataloading: {self.data / count:.4f} s/iter."
            f" Inference: {self.compute / count:.4f} s/iter."
            f" Eval: {self.evaluation / count:.4f} s/iter."
            f" Total: {per_batch:.4f} s/iter. ETA={eta}"
        )

    def log_totals(self, devices: int) -> None:
        wall = time.perf_counter() - self.started
        for what, seconds in (("time", wall), ("pure compute time", self.compute)):
            logger.info(
                "Total inference %s: %s (%.6f s / iter per device, on %d devices)",
                what,
                datetime.timedelta(seconds=int(seconds)),
                seconds / max(self.measured, 1),
                devices,
            )


def inference_on_dataset(
    model: Callable[[Any], Any],
    data_loader: Iterable[Any],
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, Any]:
    """Runs ``model`` on every batch of ``data_loader`` and evaluates what it returns.

    The model runs in eval mode without gradients; its training mode is as before afterwards. The
    speed is logged every five seconds, and the first batches do not count: they are a warm-up.

    Args:
        model: takes a batch and returns its outputs.
        data_loader: gives the batches; it must have a length.
        evaluator: what to evaluate with. None only measures the speed.
        callbacks: functions without arguments, called ``on_start``, ``before_inference`` and
            ``after_inference`` (around each call of the model) and ``on_end``.

    Returns:
        What ``evaluator.evaluate()`` returns, or {} where that is None.
    """
    devices = get_world_size()
    logger.info("Start inference on %d batches", _length(data_loader))
    if evaluator is None:
        evaluator = DatasetEvaluators([])
    elif not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator)
    evaluator.reset()
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        stopwatch = _run(model, data_loader, evaluator, callbacks or {})
    stopwatch.log_totals(devices)
    results = evaluator.evaluate()
    return {} if results is None else results


def _run(
    model: Callable[[Any], Any],
    data_loader: Iterable[Any],
    evaluator: DatasetEvaluator,
    callbacks: Mapping[str, Callable[[], Any]],
) -> _Stopwatch:
    def call(name: str) -> None:
        if name in callbacks:
            callbacks[name]()

    total = _length(data_loader)
    stopwatch = _Stopwatch(total, min(WARMUP_BATCHES, max(total - 1, 0)))
    call("on_start")
    stopwatch.started = last_line = last = time.perf_counter()
    for index, inputs in enumerate(_with_progress_bar(data_loader, total)):
        loaded = time.perf_counter()
        call("before_inference")
        outputs = model(inputs)
        if torch.cuda.is_available():
            # The evaluator waits for the outputs anyway: this only attributes the time rightly.
            torch.cuda.synchronize()
        call("after_inference")
        computed = time.perf_counter()
        evaluator.process(inputs, outputs)
        now = time.perf_counter()
        stopwatch.add(index, loaded - last, computed - loaded, now - computed)
        if stopwatch.measured and now - last_line > SECONDS_BETWEEN_LOG_LINES:
            logger.info(stopwatch.progress_line())
            last_line = now
        last = time.perf_counter()
    call("on_end")
    return stopwatch


def _with_progress_bar(data_loader: Iterable[Any], total: int) -> Iterable[Any]:
    """Shows a bar on a terminal, on the main process; log files get the log lines alone."""
    if not (sys.stderr.isatty() and is_main_process()):
        return data_loader
    from tqdm import tqdm

    return tqdm(data_loader, total=total, desc="Inference", unit="batch", dynamic_ncols=True)


def _length(data_loader: Iterable[Any]) -> int:
    if not isinstance(data_loader, Sized):
        raise TypeError(
            f"inference_on_dataset needs a data loader with a length, which a"
            f" {type(data_loader).__name__} has not; build_detection_test_loader gives one."
        )
    return len(data_loader)


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Puts ``model`` into eval mode, and every submodule back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    training = model.training
    model.eval()
    try:
        yield
    finally:
        # A model may do more than set flags in `train`; a part frozen by `.eval()` stays so.
        model.train(training)
        for module, mode in modes:
            module.training = mode
