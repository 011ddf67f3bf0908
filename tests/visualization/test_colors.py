"""Classes without colours get ones that everybody can tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from seg_projects.colors import spread_color

# Linear RGB as it appears (Machado, Oliveira, Fernandes 2009, severity 1).
EYES = {
    "trichromat": np.eye(3),
    "protanopia": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "deuteranopia": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9690]]
    ),
    "tritanopia": np.array(
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(axis=1)


def _least_distance(count: int, seen: np.ndarray) -> float:
    """Between any two of the first colours, in CIELAB."""
    share = np.array([spread_color(i) for i in range(count)]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ seen.T).clip(0, 1) @ XYZ.T / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack((116 * f[:, 1], 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])), axis=1)
    distances = np.linalg.norm(lab[:, None] - lab, axis=2)
    return distances[~np.eye(count, dtype=bool)].min()


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize(("count", "least"), [(3, 40), (11, 18), (21, 9), (40, 6)])
def test_first_colours_differ_for_all_eyes(eyes: str, count: int, least: float) -> None:
    # Two patches side by side differ for everybody at 5 and more.
    assert _least_distance(count, EYES[eyes]) > least


def test_no_two_classes_of_a_large_set_share_a_colour() -> None:
    assert len({spread_color(index) for index in range(300)}) == 300
