"""A training in a process of its own, to be sent signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny_runs import REPOSITORY


@contextmanager
def training(config: Path) -> Iterator[subprocess.Popen[str]]:
    """A training of ``config``, beside which ``output`` lies, when its first checkpoint stands."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, REPOSITORY / "tools/train_net.py", "--config-file", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # A training in the background would ignore Ctrl-C, as its shell tells it to.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        end = time.monotonic() + 100
        while not (config.parent / "output/last_checkpoint").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.01)
        yield process
        process.kill()
