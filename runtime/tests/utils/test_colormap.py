"""The colors of drawings."""

import random

import numpy as np
import pytest

from detectron2.utils.colormap import colormap, random_color, random_colors


def test_colors_are_bgr_up_to_255_by_default() -> None:
    colors = colormap(rgb=True)
    assert colors.shape == (74, 3)
    assert colors.dtype == np.float32
    assert colors.max() == 255
    assert np.array_equal(colormap(), colors[:, ::-1])
    assert np.allclose(colormap(rgb=True, maximum=1) * 255, colors)


def test_the_first_colors_are_those_of_lines_and_the_last_is_white() -> None:
    colors = colormap(rgb=True, maximum=1)
    assert colors[0].tolist() == pytest.approx([0, 0.447, 0.741])
    assert colors[-1].tolist() == [1, 1, 1]


def test_the_map_cannot_be_changed_by_its_users() -> None:
    colormap()[:] = 0
    assert colormap().max() == 255


def test_another_maximum_is_refused() -> None:
    with pytest.raises(AssertionError, match="not 100"):
        colormap(maximum=100)


def test_random_colors_are_different_colors_of_the_map() -> None:
    random.seed(0)
    known = {tuple(color) for color in colormap(rgb=True, maximum=1).tolist()}
    drawn = [tuple(color.tolist()) for color in random_colors(30, rgb=True, maximum=1)]
    assert len(drawn) == 30
    assert set(drawn) <= known
    assert tuple(random_color(rgb=True, maximum=1).tolist()) in known


def test_random_color_follows_the_global_seed() -> None:
    np.random.seed(3)  # noqa: NPY002 - the generator under test
    first = random_color()
    np.random.seed(3)  # noqa: NPY002 - the generator under test
    assert np.array_equal(random_color(), first)


def test_more_colors_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="74 different colors, not N=75"):
        random_colors(75)
