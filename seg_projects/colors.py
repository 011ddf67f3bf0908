"""Colours for classes that bring none."""

from __future__ import annotations

import colorsys

# RGB, each as far as can be from all before it, for eyes with and without colour blindness: the
# least CIELAB distance, after the simulation of protanopia, deuteranopia and tritanopia by Machado
# et al. (2009), is 20 among the first 11 and 6 among all. None is near grey, which is void.
_FAR_APART = bytes.fromhex(
    "ee4444 0066ee 00ffcc ffcc22 aa4488 ccee88 ff88ff 44aa88 446600 ee8822 "
    "aa2244 8866cc 88aa66 cc88cc 88cc44 88eeaa ff88aa 6666aa ffaa88 448800 "
    "ee66aa 8844cc 888844 cc22aa 0088ff ffaaff cc2266 44cccc cc6666 8888ee "
    "aa2266 cc66cc cccc66 ff4488 66aaee aa6600 aa0088 aaaa44 ff6666 aaee66"
)


def spread_color(index: int) -> tuple[int, int, int]:
    """RGB in [0, 255] of the class ``index``; beyond 40, in pale, full and dark shades."""
    if 3 * index < len(_FAR_APART):
        red, green, blue = _FAR_APART[3 * index : 3 * index + 3]
        return red, green, blue
    saturation, value = ((0.75, 0.85), (0.4, 1.0), (0.95, 0.5))[index % 3]
    # Successive hues lie a golden angle apart.
    shade = colorsys.hsv_to_rgb(index * 0.381966 % 1, saturation, value)
    red, green, blue = (round(channel * 255) for channel in shade)
    return red, green, blue
