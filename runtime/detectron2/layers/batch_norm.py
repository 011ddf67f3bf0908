"""Normalisation layers, and the names under which configs ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and affine values: x * scale + shift by channel.

    All four values are buffers, so that no optimizer touches them and checkpoints of
    ``nn.BatchNorm2d`` fit.
    """

    _version = 3
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        """Starts as the identity.

        Args:
            num_features: channels of the input.
            eps: added to the variance.
        """
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape and dtype."""
        if not (x.requires_grad and torch.is_grad_enabled()):
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        # One fused multiply-add, which, unlike F.batch_norm, does not keep x for the backward.
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        scale, shift = (value.to(x.dtype).view(1, -1, 1, 1) for value in (scale, shift))
        return torch.addcmul(shift, x, scale)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        *args: Any,
    ) -> None:
        """Also takes checkpoints of the first format, where mean and variance may be folded in."""
        if (local_metadata.get("version") or 1) < 2:
            defaults = {
                "running_mean": torch.zeros_like(self.running_mean),
                "running_var": torch.ones_like(self.running_var),
            }
            for name, value in defaults.items():
                state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        """Channels and eps."""
        return f"num_features={self.num_features}, eps={self.eps}"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Freezes each 2-D or synchronised batch norm in ``module``: children in place.

        Returns:
            The module itself, or its frozen copy when it is a batch norm itself.
        """
        if not isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            _replace_children(module, cls.convert_frozen_batchnorm)
            return module
        frozen = cls(module.num_features, module.eps)
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(module, name)
            if value is not None:
                frozen.register_buffer(name, value.detach().clone())
        if module.num_batches_tracked is not None:
            # Kept so that the state dict has the same names before and after.
            frozen.register_buffer("num_batches_tracked", module.num_batches_tracked.clone())
        return frozen.to(frozen.running_mean.device)

    @classmethod
    def convert_frozenbatchnorm2d_to_batchnorm2d(cls, module: nn.Module) -> nn.Module:
        """The inverse of :meth:`convert_frozen_batchnorm`: each frozen layer can train again."""
        if not isinstance(module, FrozenBatchNorm2d):
            _replace_children(module, cls.convert_frozenbatchnorm2d_to_batchnorm2d)
            return module
        norm = nn.BatchNorm2d(module.num_features, module.eps)
        norm.load_state_dict(module.state_dict(), strict=False)
        return norm.to(module.weight.device)


def constant_scale_and_shift(norm: nn.Module | None) -> tuple[Tensor, Tensor] | None:
    """What ``norm`` multiplies with and adds, by channel; None if that depends on its input."""
    if norm is None or type(norm) not in (FrozenBatchNorm2d, nn.BatchNorm2d):
        return None
    if norm.training and type(norm) is nn.BatchNorm2d:
        return None
    if norm._forward_hooks or norm._forward_pre_hooks:  # which wait for it to be called
        return None
    weight, bias, mean, variance = norm.weight, norm.bias, norm.running_mean, norm.running_var
    if weight is None or mean is None:  # neither affine values nor statistics of its own
        return None
    scale = weight * (variance + norm.eps).rsqrt()
    return scale, bias - mean * scale


def _replace_children(module: nn.Module, convert: Callable[[nn.Module], nn.Module]) -> None:
    for name, child in list(module.named_children()):
        converted = convert(child)
        if converted is not child:
            setattr(module, name, converted)


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """A normalisation layer for ``out_channels`` channels; None for None and "".

    Args:
        norm: one of "BN", "SyncBN", "FrozenBN", "GN" (32 groups), "LN" (over channels), and, for
            comparisons, "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N"; or what makes the layer from
            the number of channels.
        out_channels: channels of the layer's input.
    """
    if norm is None or norm == "":
        return None
    if not isinstance(norm, str):
        return norm(out_channels)
    if norm not in _NORMS:
        raise KeyError(f"there is no norm {norm!r}; known are {sorted(_NORMS)}.")
    return _NORMS[norm](out_channels)


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes, on any backend and device.

    With unequal batches it weighs each process the same (``stats_mode=""``), or each image
    (``stats_mode="N"``, which also takes processes whose batch is empty).
    """

    def __init__(self, *args: Any, stats_mode: str = "", **kwargs: Any) -> None:
        """Takes the arguments of ``nn.BatchNorm2d``, and ``stats_mode``, "" or "N"."""
        super().__init__(*args, **kwargs)
        assert stats_mode in ("", "N"), f'stats_mode={stats_mode!r} is neither "" nor "N".'
        self._stats_mode = stats_mode

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape and dtype; also updates the running statistics."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        mean, mean_of_squares, momentum = self._synchronised_moments(x)
        var = mean_of_squares - mean * mean
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        if self.track_running_stats:
            with torch.no_grad():
                self.running_mean += momentum * (mean - self.running_mean)
                self.running_var += momentum * (var - self.running_var)
        return torch.addcmul(shift.view(1, -1, 1, 1), x, scale.view(1, -1, 1, 1)).to(input.dtype)

    def _synchronised_moments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Means over all processes of x and x^2, (C,) each, and the momentum of the update."""
        from fvcore.nn.distributed import differentiable_all_reduce

        images, channels = x.shape[:2]
        if self._stats_mode == "":
            assert images > 0, 'an empty batch needs NaiveSyncBatchNorm(stats_mode="N").'
            moments = torch.cat([x.mean(dim=(0, 2, 3)), (x * x).mean(dim=(0, 2, 3))])
            mean, mean_of_squares = (
                differentiable_all_reduce(moments) / dist.get_world_size()
            ).split(channels)
            return mean, mean_of_squares, self.momentum
        if images == 0:
            # The sum ties an empty batch to the graph: its backward takes part in the all-reduce.
            moments = x.new_zeros(2 * channels + 1) + x.sum()
        else:
            means = (x.mean(dim=(0, 2, 3)), (x * x).mean(dim=(0, 2, 3)), x.new_ones(1))
            moments = torch.cat(means) * images
        moments = differentiable_all_reduce(moments)
        total = moments[-1].detach()
        mean, mean_of_squares, _ = (moments / total.clamp(min=1)).split((channels, channels, 1))
        # Without any image anywhere the running statistics stay.
        return mean, mean_of_squares, total.clamp(max=1) * self.momentum


class LayerNorm(nn.Module):
    """Layer normalisation over the channels of (N, C, H, W), at each pixel by itself."""

    def __init__(self, normalized_shape: int, eps: float = 1e-6) -> None:
        """Takes the number of channels, and what is added to the variance."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps
        self.normalized_shape = (normalized_shape,)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": lambda channels: nn.GroupNorm(32, channels),
    "nnSyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": lambda channels: NaiveSyncBatchNorm(channels, stats_mode="N"),
    "LN": LayerNorm,
}
