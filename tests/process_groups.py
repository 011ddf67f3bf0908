"""Several processes on one machine, joined as those of a training run."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def results_of_processes(number: int, evaluate: Callable[[int], Any], folder: Path) -> Any:
    """What ``evaluate(rank)`` gives in the first of ``number`` processes that know one another.

    NaN and all digits survive; the others give nothing. ``folder`` is for the meeting.
    """
    # Forked: data sets are registered in this process.
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_work, args=(rank, number, evaluate, folder))
        for rank in range(number)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * number
    return json.loads((folder / "results.json").read_text())


def _work(rank: int, number: int, evaluate: Callable[[int], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=number
    )
    results = evaluate(rank)
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))
    else:
        assert not results
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
