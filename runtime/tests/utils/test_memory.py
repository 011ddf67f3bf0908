"""Calls that run out of device memory are tried again, at last on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from detectron2.utils.memory import retry_if_cuda_oom


class OnCuda:
    """Looks like a tensor on a CUDA device."""

    device = torch.device("cuda:0")

    def to(self, device: str) -> str:
        return f"moved to {device}"


class Failing:
    """Fails for want of memory in its first ``times`` calls."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        self.calls.append((args, kwargs))
        if len(self.calls) <= self.times:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return "done"


def test_a_call_that_fits_is_made_once() -> None:
    function = Failing(0)
    assert retry_if_cuda_oom(function)(1, x=2) == "done"
    assert function.calls == [((1,), {"x": 2})]


def test_the_second_attempt_has_the_same_arguments() -> None:
    function, tensor = Failing(1), OnCuda()
    assert retry_if_cuda_oom(function)(tensor) == "done"
    assert function.calls[1] == ((tensor,), {})


def test_the_third_attempt_is_on_the_cpu() -> None:
    function, tensor, here = Failing(2), OnCuda(), torch.zeros(1)
    assert retry_if_cuda_oom(function)(tensor, here, 3, key=tensor) == "done"
    assert function.calls[2] == (("moved to cpu", here, 3), {"key": "moved to cpu"})


def test_a_result_of_none_is_a_result() -> None:
    calls: list[int] = []
    retry_if_cuda_oom(lambda: calls.append(1))()
    assert calls == [1]


def test_memory_that_the_cpu_lacks_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        retry_if_cuda_oom(Failing(3))()


def test_other_errors_pass_at_once() -> None:
    def function() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        retry_if_cuda_oom(function)()


def test_the_wrapper_keeps_the_name() -> None:
    def function() -> None: ...

    assert retry_if_cuda_oom(function).__name__ == "function"
