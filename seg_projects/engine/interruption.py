"""Ctrl-C, and the SIGTERM of a scheduler that takes its machine back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

# Processes agree on stopping at the same iteration, which costs a message: not in each one.
AGREEMENT_PERIOD = 10


class Stopped(SystemExit):
    """Ends a training that a signal asked to stop; its exit status is the shell's, 128 + signal."""

    def __init__(self, number: int) -> None:
        """Takes the number of the signal."""
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


class Interruption:
    """Remembers a signal until the training can stop.

    The second signal does what it would have done without this: Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        """No signal has come."""
        # Whether a signal has to wait for :meth:`check`, or raises :class:`Stopped` itself.
        self.held = False
        self._number = 0
        self._before: dict[int, Any] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, the first SIGINT or SIGTERM asks for a stop."""
        if threading.current_thread() is not threading.main_thread():
            yield  # others get no signals
            return
        self._process = os.getpid()
        for number in (signal.SIGINT, signal.SIGTERM):
            # What is ignored, as Ctrl-C is by what a shell script starts with &, remains so.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        try:
            yield
        finally:
            self._restore()

    def check(self) -> None:
        """Raises :class:`Stopped` where a signal came, in a training of one process."""
        if self._number and comm.get_world_size() == 1:
            raise Stopped(self._number)

    def agree(self, iteration: int) -> None:
        """Raises :class:`Stopped` in all processes where one of them got a signal."""
        if comm.get_world_size() > 1 and (iteration + 1) % AGREEMENT_PERIOD == 0:
            number = max(comm.all_gather(self._number))
            if number:
                raise Stopped(number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that loads data: its training ends it
        self._number = number
        self._restore()
        # What may be in the middle of a line is left alone: no logger, no stream.
        name = signal.Signals(number).name
        os.write(2, f"{name}: saving at the end of this iteration; again stops at once.\n".encode())
        if not self.held:
            self.check()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


class StopBeforeEvaluation(HookBase):
    """Stops a training that has been asked to, once an iteration is complete and saved.

    Its place is before the evaluation, in which a signal need not wait: nothing is learnt there.
    """

    def __init__(self, interruption: Interruption) -> None:
        """Takes what knows of signals."""
        self._interruption = interruption

    def before_step(self) -> None:
        """From here on signals wait."""
        self._interruption.held = True

    def after_step(self) -> None:
        """The iteration is complete."""
        self._interruption.agree(self.trainer.iter)
        self.after_train()

    def after_train(self) -> None:
        """All iterations are complete."""
        self._interruption.check()
        self._interruption.held = False
