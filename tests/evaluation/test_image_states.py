"""Two runs compared from what each image added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seg_projects.errors import UserError
from seg_projects.evaluation.image_states import (
    PanopticStates,
    SemanticStates,
    compare,
    compare_runs,
    read_states,
    sampled_metric,
    write_states,
)
from seg_projects.evaluation.precision_bootstrap import MatchedByScore

IMAGES = np.arange(10, 30)


def _panoptic(wrong: int) -> PanopticStates:
    """Two categories, one hit of IoU 0.8 each per image and ``wrong`` false positives."""
    counts = np.ones((4, len(IMAGES), 2))
    counts[0], counts[2], counts[3] = 0.8, wrong, 0
    return PanopticStates(IMAGES, counts)


def _semantic(right: int) -> SemanticStates:
    pixels = np.full((len(IMAGES), 3, 2), 10)
    pixels[:, 0] = right
    return SemanticStates(IMAGES, pixels)


def _instances(hit: int) -> MatchedByScore:
    """One category, an object and a detection per image."""
    size = len(IMAGES)
    bits = np.full(size, hit, dtype=np.int64)
    bounds = np.array([0, size])
    return MatchedByScore(
        IMAGES, bounds, np.arange(size), bits, np.zeros(size, np.int64), np.ones((size, 1), int)
    )


@pytest.mark.parametrize(
    ("name", "states", "value"),
    [
        ("panoptic_images.npz", _panoptic(2), 40),  # 0.8 / (1 + 2 / 2)
        ("semantic_images.npz", _semantic(5), 100 / 3),  # 5 / (10 + 10 - 5)
        ("instances_segm_images.npz", _instances(0b11), 20),  # 2 of 10 thresholds
    ],
)
def test_files_keep_what_the_metric_needs(
    tmp_path: Path, name: str, states: PanopticStates, value: float
) -> None:
    write_states(tmp_path / name, states)
    read = read_states(tmp_path / name)
    assert sampled_metric(read, np.ones((1, len(IMAGES)))) == pytest.approx(value)


def test_a_better_run_is_told_from_an_equal_one() -> None:
    same, better = (compare(_panoptic(2), _panoptic(wrong), 200) for wrong in (2, 0))
    assert same.test.p_value == 1
    assert (better.first, better.second) == pytest.approx((40, 80))
    assert better.test.difference == pytest.approx((40, 40))
    assert better.test.p_value == pytest.approx(2 / 201)


def _run(folder: Path, states: PanopticStates) -> Path:
    (folder / "inference/val").mkdir(parents=True)
    write_states(folder / "inference/val/panoptic_images.npz", states)
    return folder


def test_folders_of_runs_are_compared_by_data_set_and_metric(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a", _panoptic(2)), _run(tmp_path / "b", _panoptic(0))
    result = compare_runs(first, second, 50)
    assert list(result) == [("val", "PQ")]
    assert result["val", "PQ"].second == pytest.approx(80)


def test_other_images_are_refused_by_name(tmp_path: Path) -> None:
    moved = _panoptic(2)._replace(images=IMAGES + 1)
    first, second = _run(tmp_path / "a", _panoptic(2)), _run(tmp_path / "b", moved)
    with pytest.raises(UserError, match=r"2 of them in one run alone \(first: \[10, 30\]\)"):
        compare_runs(first, second, 50)


def test_runs_without_a_common_data_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have no data set in common"):
        compare_runs(_run(tmp_path / "a", _panoptic(2)), tmp_path, 50)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "panoptic_images.npz"
    path.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"panoptic_images\.npz does not hold"):
        read_states(path)
