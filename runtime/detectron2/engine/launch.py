"""Starts the processes of a distributed run."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from detectron2.utils import comm

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = timedelta(minutes=30)
"""How long a collective operation waits for the other processes."""

logger = logging.getLogger(__name__)


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple[Any, ...] = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Runs ``main_func(*args)`` in every process of the run.

    Processes that exist already are used: under ``torchrun`` (RANK and WORLD_SIZE are set) this
    process joins the others, and inside a process group it runs as it is. Otherwise
    ``num_gpus_per_machine`` processes are spawned here, one per GPU or, on a machine without
    CUDA, on the CPU; for a run of one process none is.

    Args:
        main_func: importable from its module, because it is sent to new processes.
        num_gpus_per_machine: number of processes on each machine.
        num_machines: number of machines; ``launch`` is called once on each.
        machine_rank: index of this machine.
        dist_url: where the processes meet, e.g. tcp://host:port; "auto" finds a free port on a
            single machine.
        args: arguments of ``main_func``.
        timeout: see ``DEFAULT_TIMEOUT``.
    """
    if dist.is_initialized():
        main_func(*args)
    elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _join_torchrun(num_gpus_per_machine, timeout)
        try:
            main_func(*args)
        finally:
            dist.destroy_process_group()
    elif num_machines * num_gpus_per_machine > 1:
        url = _meeting_point(dist_url, num_machines)
        torch.multiprocessing.start_processes(
            _worker,
            nprocs=num_gpus_per_machine,
            args=(
                main_func,
                num_machines * num_gpus_per_machine,
                num_gpus_per_machine,
                machine_rank,
                url,
                args,
                timeout,
            ),
            daemon=False,
        )
    else:
        main_func(*args)


def _meeting_point(dist_url: str | None, num_machines: int) -> str:
    if dist_url is None:
        raise ValueError(
            "A run of several processes needs dist_url: 'auto' on one machine, "
            "tcp://<first machine>:<port> on several."
        )
    if dist_url == "auto":
        if num_machines != 1:
            raise ValueError(
                f"dist_url='auto' knows one machine, not num_machines={num_machines}; "
                "give tcp://<first machine>:<port>."
            )
        return f"tcp://127.0.0.1:{_free_port()}"
    if num_machines > 1 and dist_url.startswith("file://"):
        logger.warning("%s: file:// is unreliable between machines; prefer tcp://.", dist_url)
    return dist_url


def _free_port() -> int:
    """A TCP port that nothing listens on; somebody else may take it before we do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _join_torchrun(num_gpus_per_machine: int, timeout: timedelta) -> None:
    """Makes this process, started by torchrun, a member of the run that it describes."""
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", num_gpus_per_machine))
    local_rank = int(os.environ.get("LOCAL_RANK", int(os.environ["RANK"]) % local_size))
    dist.init_process_group(_backend(local_rank, local_size), init_method="env://", timeout=timeout)
    comm.create_local_process_group(local_size)
    comm.synchronize()


def _worker(
    local_rank: int,
    main_func: Callable[..., Any],
    world_size: int,
    num_gpus_per_machine: int,
    machine_rank: int,
    dist_url: str,
    args: tuple[Any, ...],
    timeout: timedelta,
) -> None:
    """The life of a spawned process."""
    rank = machine_rank * num_gpus_per_machine + local_rank
    backend = _backend(local_rank, num_gpus_per_machine)
    try:
        dist.init_process_group(
            backend, init_method=dist_url, world_size=world_size, rank=rank, timeout=timeout
        )
    except Exception:
        logger.exception("Rank %d of %d cannot join at %s.", rank, world_size, dist_url)
        raise
    comm.create_local_process_group(num_gpus_per_machine)
    # Nobody runs ahead while the others still initialise: a collective would wait on them.
    comm.synchronize()
    main_func(*args)
    dist.destroy_process_group()


def _backend(local_rank: int, num_gpus_per_machine: int) -> str:
    """Selects this process' GPU, if the machine has any, and names the matching backend."""
    if not torch.cuda.is_available():
        return "gloo"
    count = torch.cuda.device_count()
    if num_gpus_per_machine > count:
        raise ValueError(
            f"--num-gpus {num_gpus_per_machine}: this machine has {count} CUDA device(s)."
        )
    torch.cuda.set_device(local_rank)
    return "nccl"
