"""Colours for classes that bring none."""

from __future__ import annotations

import colorsys


def spread_color(index: int) -> tuple[int, int, int]:
    """RGB in [0, 255] of the class ``index``; successive hues lie a golden angle apart."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.381966 % 1, 0.65, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)
