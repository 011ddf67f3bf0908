#!/usr/bin/env python
"""Times how long training stands still for a checkpoint, beside a plain save by Detectron2.

46 M parameters with momentum, on the CPU. First what training does after its first step: to take
the memory of the copy, in another thread. Then the first save and those that follow; with the
seconds, the memory that each adds at its peak.

python bench/bench_checkpoint.py --pairs 5
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer

LAYERS = 80


def training(parameters: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model after its first step of SGD."""
    model = nn.ModuleList(nn.Linear(parameters // LAYERS, 1, bias=False) for _ in range(LAYERS))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def resident_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class PeakMemory:
    """The most memory that the process has between entering and leaving, above the start."""

    def __enter__(self) -> PeakMemory:
        self.start = self.peak = resident_mib()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, resident_mib())

    @property
    def added(self) -> float:
        """In MiB."""
        return self.peak - self.start


def main(argv: Sequence[str] | None = None) -> int:
    """Prints seconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parameters", type=int, default=46_000_000)
    args = parser.parse_args(argv)
    from seg_projects.engine.background_checkpoint import BackgroundCheckpointer

    model, optimizer = training(args.parameters)
    with tempfile.TemporaryDirectory() as folder:
        plain = DetectionCheckpointer(model, f"{folder}/plain", optimizer=optimizer)
        Path(plain.save_dir).mkdir()
        ours = BackgroundCheckpointer(
            model, f"{folder}/ours", save_to_disk=True, optimizer=optimizer
        )
        start = time.perf_counter()
        ours.reserve()
        print(f"taking memory: {time.perf_counter() - start:.3f} s, ", end="")
        ours.wait()
        print(f"done after {time.perf_counter() - start:.3f} s")
        ratios, kept = [], []
        for number in range(args.pairs + 1):
            with PeakMemory() as plain_memory:
                theirs = _seconds(plain, "model")
            with PeakMemory() as our_memory:
                own = _seconds(ours, "model")
                ours.wait()
            same = _content(plain) == _content(ours)
            what = "first" if number == 0 else "later"
            print(
                f"{what} save: plain {theirs:.3f} s, ours {own:.3f} s, ratio {theirs / own:.1f}, "
                f"memory added: plain {plain_memory.added:.0f}, ours {our_memory.added:.0f} MiB, "
                f"files {'equal' if same else 'DIFFER'}",
                flush=True,
            )
            if number:
                ratios.append(theirs / own)
                kept.append(own)
    print(f"later saves: {statistics.median(kept):.3f} s, ratio {statistics.median(ratios):.1f}")
    return 0


def _seconds(checkpointer: DetectionCheckpointer, name: str) -> float:
    start = time.perf_counter()
    checkpointer.save(name)
    return time.perf_counter() - start


def _content(checkpointer: DetectionCheckpointer) -> bytes:
    return Path(checkpointer.save_dir, "model.pth").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
