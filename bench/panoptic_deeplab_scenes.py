"""What the Panoptic-DeepLab benchmarks share: synthetic street scenes, and timing in pairs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH = 1024, 2048
NUM_STUFF = 11  # Cityscapes: classes 0 to 10 are stuff, 11 to 18 things
THING_IDS = list(range(11, 19))


def street(num_things: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """An (H, W) int32 map of bands of stuff with ellipses before them, and its segments."""
    rng = np.random.default_rng(num_things)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wave = (30 * np.sin(x / 50)).astype(int)
    ids = np.clip((y + wave) * NUM_STUFF // HEIGHT, 0, NUM_STUFF - 1).astype(np.int32) + 1
    segments = [{"id": k + 1, "category_id": k, "iscrowd": 0} for k in range(NUM_STUFF)]
    for number in range(num_things):
        id_ = 11000 + 13 * number
        cy, cx, radius = rng.integers(HEIGHT), rng.integers(WIDTH), rng.integers(15, 90)
        ids[(y - cy) ** 2 + ((x - cx) / 1.5) ** 2 < radius**2] = id_
        category = THING_IDS[number % len(THING_IDS)]
        segments.append({"id": id_, "category_id": category, "iscrowd": int(number % 20 == 19)})
    return ids, segments


def seconds(call: Callable[[], object]) -> float:
    """The time that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternating(
    ours: Callable[[], object], theirs: Callable[[], object] | None, *, pairs: int
) -> tuple[float, float | None]:
    """Median seconds of our call, and the median ratio of theirs to ours, in one run."""
    times = []
    for _ in range(pairs):
        other = seconds(theirs) if theirs is not None else None
        times.append((seconds(ours), other))
    mine = statistics.median(a for a, _ in times)
    if theirs is None:
        return mine, None
    return mine, statistics.median(b / a for a, b in times if b is not None)


def peak_mib(call: Callable[[], object]) -> float:
    """Memory in MiB that one call takes at its peak; NaN where Linux does not say."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is the present state again
        before = _kib(status.read_text(), "VmRSS")
        call()
        return (_kib(status.read_text(), "VmHWM") - before) / 1024
    except OSError:
        return float("nan")


def _kib(status: str, name: str) -> int:
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))
