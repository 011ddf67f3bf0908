"""One of several processes that exercise ``comm``: ``comm_process.py RANK SIZE STORE``.

It writes what each function returned as a line of JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from detectron2.utils import comm


def observe(rank: int, size: int) -> dict[str, Any]:
    """The results of all functions in this process."""
    np.random.seed(rank)  # noqa: NPY002 - shared_random_seed draws from the global generator
    # Filled in another order in each process.
    names = ["a", "b"] if rank == 0 else ["b", "a"]
    values = {name: torch.tensor(float(ord(name) + rank)) for name in names}
    reduced = comm.reduce_dict(values)
    summed = comm.reduce_dict(values, average=False)
    comm.create_local_process_group(1)
    comm.synchronize()
    single = comm.get_local_process_group()
    return {
        "world": [comm.get_world_size(), comm.get_rank(), comm.is_main_process()],
        "local": [comm.get_local_size(), comm.get_local_rank()],
        "all_gather": comm.all_gather({"rank": rank, "text": "x" * rank}),
        "gather": comm.gather(rank, dst=size - 1),
        "all_gather_alone": comm.all_gather(rank, group=single),
        "gather_alone": comm.gather(rank, group=single),
        "seed": comm.shared_random_seed(),
        "mean": {name: value.item() for name, value in reduced.items()},
        "sum": {name: value.item() for name, value in summed.items()},
    }


def main() -> None:
    """Joins the group, observes, leaves."""
    rank, size, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    sys.stdout.write(json.dumps(observe(rank, size)) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
