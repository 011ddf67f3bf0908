"""Normalisation and frozen parts of ``timm`` models, whose norm layers may hold an activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd

from torch import nn

from seg_projects.errors import UserError

NORMS = ("", "BN", "SyncBN", "FrozenBN", "GN")


def replace_batch_norms(model: nn.Module, norm: str, *, name: str) -> None:
    """Makes of each BatchNorm layer in ``model`` what ``norm`` says, in place.

    GroupNorm has 32 groups, or the largest divisor of 32 that divides the channels.

    Args:
        model: a ``timm`` model.
        norm: one of ``NORMS``; "" and "BN" leave BatchNorm.
        name: of the model, for messages.

    Raises:
        UserError: there is no such norm, or nothing that could become it.
    """
    if norm not in NORMS:
        raise UserError(f"MODEL.TIMM.NORM is {norm!r}; known: {', '.join(map(repr, NORMS))}.")
    if not norm:
        return
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        raise UserError(
            f"MODEL.TIMM.NORM is {norm!r}, but {name} has no BatchNorm: leave it empty."
        )
    if norm == "BN":
        return
    makers: dict[str, Callable[[nn.Module], nn.Module]] = {
        "SyncBN": _synchronised,
        "FrozenBN": _frozen,
        "GN": _group_norm,
    }
    for module in list(model.modules()):
        for child_name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, child_name, makers[norm](child))


def freeze_until(
    model: nn.Module, freeze_at: int, levels: Sequence[int], modules: Sequence[str]
) -> None:
    """Freezes, in place, what comes up to the last of ``modules`` of a level <= ``freeze_at``.

    Frozen parameters take no gradient; a frozen BatchNorm keeps its statistics. Where all levels
    are higher, what comes before the first of ``modules``, the stem, is frozen.

    Args:
        model: a ``timm`` model, whose modules stand in the order in which they are called.
        freeze_at: 0 freezes nothing.
        levels: ascending, one per stage.
        modules: the name of the module that ends each stage.
    """
    if freeze_at < 1:
        return
    done = sum(level <= freeze_at for level in levels)
    frozen = _names_until(model, modules[max(0, done - 1)], inclusive=done > 0)
    for name in frozen:
        module = model.get_submodule(name)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _frozen(module))


def _names_until(model: nn.Module, last: str, *, inclusive: bool) -> list[str]:
    """Names of the modules up to ``last``, with or without it and what it holds."""
    names: list[str] = []
    reached = False
    for name, _ in model.named_modules():
        inside = name == last or name.startswith(f"{last}.")
        if (reached and not inside) or (inside and not inclusive):
            break
        reached |= inside
        names.append(name)
    return names


def _synchronised(norm: nn.Module) -> nn.Module:
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(norm)


def _frozen(norm: nn.Module) -> nn.Module:
    from timm.layers.norm_act import freeze_batch_norm_2d

    return freeze_batch_norm_2d(norm)


def _group_norm(norm: nn.Module) -> nn.Module:
    from timm.layers import GroupNormAct

    assert isinstance(norm, nn.BatchNorm2d)
    channels = norm.num_features
    group_norm = GroupNormAct(channels, num_groups=gcd(32, channels), apply_act=False)
    # timm's BatchNormAct2d drops and activates after normalising.
    if hasattr(norm, "act"):
        group_norm.drop, group_norm.act = norm.drop, norm.act
    return group_norm
