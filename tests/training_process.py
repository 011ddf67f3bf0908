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
def training(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A training of ``config``, beside which ``output`` lies, when its first checkpoint stands.

    What it prints stands in ``printed.txt`` beside ``config``: a pipe that nobody reads fills up.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    printed = config.with_name("printed.txt")
    with (
        printed.open("wb") as file,
        subprocess.Popen(
            [sys.executable, REPOSITORY / "tools/train_net.py", "--config-file", config],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            # A training in the background would ignore Ctrl-C, as its shell tells it to.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process,
    ):
        try:
            end = time.monotonic() + 200
            while not (config.parent / "output/last_checkpoint").exists():
                assert process.poll() is None, printed.read_text()
                assert time.monotonic() < end, printed.read_text()
                time.sleep(0.01)
            yield process
        finally:
            process.kill()
