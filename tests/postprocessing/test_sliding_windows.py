"""Windows over an image, and scores averaged over looks at it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from seg_projects.postprocessing import augmented_scores, sliding_window_scores, window_offsets


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (10, 10, 0.5, [0]),
        (7, 10, 0.5, [0]),
        (10, 4, 0.0, [0, 3, 6]),
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 10, 0.9, [0, 1]),
        (8, 4, 0.0, [0, 4]),
    ],
)
def test_windows_start_evenly_spread(length, window, overlap, expected):
    assert window_offsets(length, window, overlap=overlap) == expected


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("length", [1, 5, 6, 17, 64])
def test_windows_cover_the_image_with_the_overlap(length, overlap):
    starts = window_offsets(length, 5, overlap=overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - 5)
    least = int(5 * overlap) if length > 5 else 0
    assert all(0 < b - a <= 5 - least for a, b in pairwise(starts))


def _classify(images: torch.Tensor) -> torch.Tensor:
    """Three scores of each pixel alone."""
    return torch.cat((images, images**2, -images), dim=1)


@pytest.mark.parametrize("size", [(9, 13), (4, 6), (3, 20), (1, 1)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_is_local_is_the_same_through_windows(size, batch_size):
    image = torch.randn(1, *size)
    scores = sliding_window_scores(
        image, _classify, window=(4, 6), overlap=0.3, batch_size=batch_size
    )
    torch.testing.assert_close(scores, _classify(image[None])[0])


def test_windows_weigh_less_towards_their_edges():
    # Windows at 0 and 2 of 4 pixels say 0 and 1; each has the weights 1/2, 1, 1, 1/2.
    answers = iter([0.0, 1.0])
    scores = sliding_window_scores(
        torch.zeros(1, 1, 6),
        lambda windows: torch.full_like(windows, next(answers)),
        window=(1, 4),
        overlap=0.5,
        batch_size=1,
    )
    assert scores[0, 0].tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(ValueError, match=f"overlap={overlap}"):
        window_offsets(10, 4, overlap=overlap)


def test_mirrored_look_is_mirrored_back():
    image = torch.randn(1, 3, 4)
    # Each look sees the pixel to its left: mirrored, that is the one to the right.
    scores = augmented_scores(image, lambda x: x.roll(1, dims=-1), sizes=[(3, 4)], flip=True)
    wanted = (image.roll(1, dims=-1) + image.roll(-1, dims=-1)) / 2
    torch.testing.assert_close(scores, wanted)


def test_looks_at_several_sizes_are_averaged():
    seen = []

    def predict(image):
        seen.append(tuple(image.shape[1:]))
        return torch.full((2, *image.shape[1:]), float(len(seen)))

    scores = augmented_scores(torch.zeros(1, 4, 6), predict, sizes=[(4, 6), (8, 12)], flip=False)
    assert seen == [(4, 6), (8, 12)]
    assert scores.shape == (2, 4, 6)
    torch.testing.assert_close(scores, torch.full((2, 4, 6), 1.5))
