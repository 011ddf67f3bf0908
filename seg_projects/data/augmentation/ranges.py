"""Checks of the numbers that augmentations take from a config."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

Range: TypeAlias = Sequence[float]


def as_range(
    value: Any, name: str, *, symmetric: bool = False, least: float = -math.inf
) -> tuple[float, float]:
    """``value`` as (least, greatest).

    Args:
        value: two numbers, or one: x stands for (x, x), or for (-x, x) where ``symmetric``.
        name: of the option, for the message.
        symmetric: what one number means.
        least: smaller numbers are refused.

    Raises:
        ValueError: it is no range of finite numbers.
    """
    pair = list(value) if isinstance(value, list | tuple) else [value, value]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair)
    if len(pair) != 2 or not numbers or not all(math.isfinite(v) for v in pair):
        raise ValueError(f"{name} is {value!r}; it is [least, greatest], or one number.")
    if symmetric and not isinstance(value, list | tuple):
        pair = sorted((-value, value))
    low, high = map(float, pair)
    if low > high or low < least:
        bound = "" if least == -math.inf else f", none below {least:g}"
        raise ValueError(f"{name} is {value!r}; it is [least, greatest]{bound}.")
    return low, high


def as_probability(value: Any, name: str) -> float:
    """``value`` as a float.

    Raises:
        ValueError: it is not in [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; a probability is in [0, 1].")
    return float(value)
