"""Communication between the processes of a distributed run.

Every function also works in a single process, where no process group exists.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

# The processes on this machine: set by create_local_process_group.
_local_group: dist.ProcessGroup | None = None


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes in the run."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Index of this process in the run, in [0, world size)."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Is this the process that writes logs and files?"""
    return get_rank() == 0


@functools.lru_cache(maxsize=1)
def create_local_process_group(num_workers_per_machine: int) -> None:
    """Makes the group of the processes on this machine; every process must call it once.

    Ranks are assumed to be numbered machine by machine.
    """
    global _local_group
    if _local_group is not None:
        raise RuntimeError("The local process group exists already; it is created once.")
    world_size = get_world_size()
    if world_size % num_workers_per_machine:
        raise ValueError(
            f"{world_size} processes do not split into machines of {num_workers_per_machine}."
        )
    own_machine = get_rank() // num_workers_per_machine
    for machine in range(world_size // num_workers_per_machine):
        first = machine * num_workers_per_machine
        group = dist.new_group(list(range(first, first + num_workers_per_machine)))
        if machine == own_machine:
            _local_group = group


def get_local_process_group() -> dist.ProcessGroup:
    """The group of the processes on this machine; AssertionError before its creation."""
    if _local_group is None:
        raise AssertionError(
            "There is no local process group. launch() creates one; processes started in "
            "another way call comm.create_local_process_group(num_workers_per_machine) after "
            "torch.distributed.init_process_group()."
        )
    return _local_group


def get_local_rank() -> int:
    """Index of this process among those of its machine."""
    return dist.get_rank(group=get_local_process_group()) if _is_distributed() else 0


def get_local_size() -> int:
    """Number of processes on this machine."""
    return dist.get_world_size(group=get_local_process_group()) if _is_distributed() else 1


def synchronize() -> None:
    """Waits until all processes have arrived here."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == dist.Backend.NCCL:
        # Without its device NCCL guesses one from the rank, wrong where several machines take part.
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


def _cpu_group() -> dist.ProcessGroup:
    """A group of all processes that passes objects through host memory."""
    world = dist.group.WORLD
    assert world is not None
    return _gloo_twin(world) if dist.get_backend() == dist.Backend.NCCL else world


@functools.lru_cache(maxsize=1)
def _gloo_twin(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """A gloo group of the processes of ``world``, made once."""
    return dist.new_group(backend="gloo")


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """The picklable ``data`` of every process of ``group`` (default: all), by rank."""
    if get_world_size() == 1:
        return [data]
    group = _cpu_group() if group is None else group
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    gathered: list[Any] = [None] * size
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """On rank ``dst`` the picklable ``data`` of every process, by rank; elsewhere ``[]``."""
    if get_world_size() == 1:
        return [data]
    group = _cpu_group() if group is None else group
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    gathered: list[Any] | None = [None] * size if dist.get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered if gathered is not None else []


def shared_random_seed() -> int:
    """A number in [0, 2**31) that all processes agree on; all of them must call this."""
    # From numpy's global stream, so that seed_all_rng makes it reproducible.
    own = int(np.random.randint(2**31))  # noqa: NPY002
    return all_gather(own)[0]


def reduce_dict(
    input_dict: dict[str, torch.Tensor], average: bool = True
) -> dict[str, torch.Tensor]:
    """The sums over all processes of 0-d tensors by name, complete on rank 0 only.

    Args:
        input_dict: The same names in every process.
        average: Divide the sums by the number of processes.
    """
    world_size = get_world_size()
    if world_size == 1:
        return input_dict
    with torch.no_grad():
        # Sorted: the processes may have filled their dicts in different orders.
        names = sorted(input_dict)
        values = torch.stack([input_dict[name] for name in names])
        dist.reduce(values, dst=0)
        if average and dist.get_rank() == 0:
            values /= world_size
        return dict(zip(names, values, strict=True))
