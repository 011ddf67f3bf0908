"""Layers of torch with what segmentation models add: norm and activation, empty inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.layers.batch_norm import constant_scale_and_shift

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Linear",
    "cat",
    "check_if_dynamo_compiling",
    "cross_entropy",
    "disable_torch_compiler",
    "empty_input_loss_func_wrapper",
    "interpolate",
    "move_device_like",
    "nonzero_tuple",
    "shapes_to_tensor",
]

BatchNorm2d = nn.BatchNorm2d
ConvTranspose2d = nn.ConvTranspose2d
Linear = nn.Linear
interpolate = F.interpolate


def shapes_to_tensor(x: list[int], device: torch.device | None = None) -> Tensor:
    """Integers as a tensor; under tracing, where sizes are tensors, a stack of them."""
    if torch.jit.is_tracing():
        sizes = [size if isinstance(size, Tensor) else torch.as_tensor(size) for size in x]
        return torch.stack(sizes).to(device)
    return torch.as_tensor(x, device=device)


def check_if_dynamo_compiling() -> bool:
    """Whether ``torch.compile`` is tracing this call."""
    return torch.compiler.is_dynamo_compiling()


def disable_torch_compiler(func: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps ``func``, and all that it calls, out of ``torch.compile``: it always runs eagerly."""

    @functools.wraps(func)
    def eager(*args: Any, **kwargs: Any) -> Any:
        # torch.compiler.disable imports the compiler, a second that only its users should pay.
        if torch.compiler.is_dynamo_compiling():
            return torch.compiler.disable(func)(*args, **kwargs)
        return func(*args, **kwargs)

    return eager


def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
    """``torch.cat`` that gives the tensor itself for a list of one."""
    assert isinstance(tensors, (list, tuple)), f"cat joins a list, not a {type(tensors).__name__}."
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def empty_input_loss_func_wrapper(loss_func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Makes the mean of a loss over no elements 0, with a gradient of 0, instead of NaN."""

    @functools.wraps(loss_func, assigned=("__module__", "__doc__"))
    def loss_or_zero(
        input: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any
    ) -> Tensor:
        if target.numel() == 0 and reduction == "mean":
            # The sum keeps `input` in the graph, so that no parameter misses its gradient.
            return input.sum() * 0.0
        return loss_func(input, target, reduction=reduction, **kwargs)

    del loss_or_zero.__wrapped__  # else inspect would show the signature of loss_func
    return loss_or_zero


cross_entropy = empty_input_loss_func_wrapper(F.cross_entropy)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, followed by a normalisation and an activation where these are given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes the arguments of ``nn.Conv2d``, and two keywords.

        Args:
            args: as of ``nn.Conv2d``.
            kwargs: as of ``nn.Conv2d``; ``norm``, a module or None, and ``activation``, a callable
                or None.
        """
        norm = kwargs.pop("norm", None)
        activation = kwargs.pop("activation", None)
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H', W'); N may be 0."""
        if self.training and isinstance(self.norm, nn.SyncBatchNorm) and x.numel() == 0:
            raise AssertionError("SyncBatchNorm has no statistics of an empty batch.")
        constants = constant_scale_and_shift(self.norm) if self._may_fold(x) else None
        if constants is not None:
            scale, shift = constants
            if self.bias is not None:
                shift = shift + self.bias * scale
            x = self._conv_forward(x, self.weight * scale.view(-1, 1, 1, 1), shift)
        else:
            x = super().forward(x)
            if self.norm is not None:
                x = self.norm(x)
        return x if self.activation is None else self.activation(x)

    def _may_fold(self, x: Tensor) -> bool:
        """Whether a constant norm costs less in the weights than in a pass over the output.

        A graph that is being traced keeps its norms: exporters and counters look for them.
        """
        if torch.is_grad_enabled() or torch.jit.is_tracing():
            return False
        pixels = x.shape[0] * x.shape[-2] * x.shape[-1] // (self.stride[0] * self.stride[1])
        return pixels > self.weight[0].numel()


def nonzero_tuple(x: Tensor) -> tuple[Tensor, ...]:
    """Indices of the nonzero elements, one tensor per axis; a scalar counts as one element."""
    return (x[None] if x.dim() == 0 else x).nonzero(as_tuple=True)


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """``src`` on the device of ``dst``."""
    return src.to(dst.device)
