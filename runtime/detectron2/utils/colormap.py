"""Colors that are told apart easily."""

from __future__ import annotations

import random
from functools import cache

import numpy as np

__all__ = ["colormap", "random_color", "random_colors"]


@cache
def _palette() -> np.ndarray:
    """(74, 3) float32 RGB in [0, 1], read-only: seven line colors, pure ones, cubes and ramps."""
    lines = [
        (0, 0.447, 0.741),
        (0.85, 0.325, 0.098),
        (0.929, 0.694, 0.125),
        (0.494, 0.184, 0.556),
        (0.466, 0.674, 0.188),
        (0.301, 0.745, 0.933),
        (0.635, 0.078, 0.184),
    ]
    grays = [(level,) * 3 for level in (0.3, 0.6)]
    pure = [(1, 0, 0), (1, 0.5, 0), (0.749, 0.749, 0), (0, 1, 0), (0, 0, 1), (0.667, 0, 1)]
    thirds = (0, 0.333, 0.667, 1)
    # Black, white, and the ramps of red and green come at their own places.
    left_out: set[tuple[float, ...]] = {(0, 0, 0.5), (0, 0, 1), (1, 1, 1)}
    left_out.update((level, 0, 0) for level in thirds)
    left_out.update((0, level, 0) for level in thirds)
    cube = [(red, green, blue) for blue in (0, 0.5, 1) for red in thirds for green in thirds]
    cube = [color for color in cube if color not in left_out]
    sixths = (0.167, 0.333, 0.5, 0.667, 0.833, 1)
    ramps = [
        tuple(level if channel == axis else 0 for channel in range(3))
        for axis in range(3)
        for level in sixths[axis == 0 :]
    ]
    ends = [(level,) * 3 for level in (0, 0.143, 0.857, 1)]
    palette = np.array([*lines, *grays, *pure, *cube, *ramps, *ends], dtype=np.float32)
    palette.setflags(write=False)
    return palette


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """(74, 3) float32 colors.

    Args:
        rgb: the order of the channels is RGB; by default it is BGR.
        maximum: 255 or 1, the value of full intensity.
    """
    assert maximum in (1, 255), f"colors range up to 1 or 255, not {maximum}."
    colors = _palette() * maximum
    return colors if rgb else colors[:, ::-1]


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """(3,) float32: one color of the map, chosen by numpy's global generator."""
    colors = colormap(rgb, maximum)
    # The global generator: that is what seeding the whole program seeds.
    return colors[np.random.randint(0, len(colors))]  # noqa: NPY002


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[np.ndarray]:  # noqa: N803 - name of the API
    """N different colors of the map (at most 74), each (3,) float32."""
    colors = colormap(rgb, maximum)
    if len(colors) < N:
        raise ValueError(f"there are {len(colors)} different colors, not N={N}.")
    return [colors[index] for index in random.sample(range(len(colors)), N)]
