"""Recovery from exhausted device memory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["retry_if_cuda_oom"]

T = TypeVar("T")


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "CUDA out of memory" in str(error)


def _attempt(call: Callable[[], T]) -> tuple[bool, T | None]:
    """(True, result), or (False, None) if the device memory did not suffice."""
    try:
        return True, call()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # Outside the handler: its traceback would keep the tensors of the failed call alive.
    return False, None


def retry_if_cuda_oom(func: Callable[..., T]) -> Callable[..., T]:
    """Wraps ``func`` so that it survives exhausted CUDA memory.

    A call that fails for want of memory is tried again with the allocator's cache emptied, then
    once more with its tensor arguments on the CPU; the result then lies on the CPU, too. Only
    direct arguments are moved, so ``func`` must be pure and create its tensors on their device.
    """

    def to_cpu(value: Any) -> Any:
        on_cuda = getattr(getattr(value, "device", None), "type", None) == "cuda"
        return value.to(device="cpu") if on_cuda and hasattr(value, "to") else value

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> T:
        done, result = _attempt(lambda: func(*args, **kwargs))
        if not done:
            torch.cuda.empty_cache()
            done, result = _attempt(lambda: func(*args, **kwargs))
        if done:
            return result  # type: ignore[return-value]  # None only where func returns it
        name = getattr(func, "__qualname__", repr(func))
        logging.getLogger(__name__).info("CUDA memory is exhausted: %s runs on the CPU.", name)
        return func(*map(to_cpu, args), **{key: to_cpu(value) for key, value in kwargs.items()})

    return wrapped
