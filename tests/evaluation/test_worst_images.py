"""The worst images of each metric."""

from __future__ import annotations

import pytest

from detectron2.utils import comm
from seg_projects.evaluation.worst_images import WorstImages


def _ids(worst: WorstImages, metric: str) -> list[object]:
    return [image["image_id"] for image in worst.as_json()[metric]]


def test_the_lowest_are_kept_worst_first_and_ties_in_the_order_of_ids() -> None:
    worst = WorstImages(3)
    for image_id, value in ((4, 50.0), (3, 20.0), (2, 20.0), (1, 70.0), (5, 60.0)):
        worst.add(image_id, f"{image_id}.jpg", {"mIoU": value})
    assert worst.as_json()["mIoU"] == [
        {"image_id": 2, "file_name": "2.jpg", "value": 20.0},
        {"image_id": 3, "file_name": "3.jpg", "value": 20.0},
        {"image_id": 4, "file_name": "4.jpg", "value": 50.0},
    ]


def test_of_distances_the_highest_are_kept() -> None:
    worst = WorstImages(1, lower_is_better=["HD95"])
    worst.add("a", "a.png", {"HD95": 3.0, "mIoU": 90.0})
    worst.add("b", "b.png", {"HD95": 8.0, "mIoU": 95.0})
    assert worst.as_json()["HD95"] == [{"image_id": "b", "file_name": "b.png", "value": 8.0}]
    assert _ids(worst, "mIoU") == ["a"]


def test_undefined_values_are_left_out_and_an_image_counts_once() -> None:
    worst = WorstImages(2)
    for image_id, value in ((1, float("nan")), (2, 10.0), (2, 10.0), (3, 30.0)):
        worst.add(image_id, "", {"mIoU": value})
    assert _ids(worst, "mIoU") == [2, 3]


def test_processes_give_the_images_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, shares = WorstImages(2), [WorstImages(2), WorstImages(2)]
    # Image 1 was dealt out to both.
    for image_id, value, ranks in ((0, 9.0, [0]), (1, 3.0, [0, 1]), (2, 3.0, [1]), (3, 8.0, [1])):
        alone.add(image_id, "", {"mIoU": value})
        for rank in ranks:
            shares[rank].add(image_id, "", {"mIoU": value})
    monkeypatch.setattr(comm, "gather", lambda _: [share.by_metric for share in shares])
    merged = shares[0].gather()
    assert merged is not None
    assert merged.as_json() == alone.as_json()
    assert _ids(merged, "mIoU") == [1, 2]
