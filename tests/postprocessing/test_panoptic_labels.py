"""Labels of class and number become segments."""

from __future__ import annotations

import torch

from seg_projects.postprocessing import segments_of_labels


def test_labels_become_segments_by_rising_label() -> None:
    # Class 1 is a thing, found twice; class 0 and 7 are stuff; -1 is void.
    labels = torch.tensor([[1002, 1001, -1], [7000, 0, 1002]])
    ids, segments = segments_of_labels(labels, thing_classes={1}, label_divisor=1000)
    assert ids.tolist() == [[3, 2, 0], [4, 1, 3]]
    assert ids.dtype == torch.int32
    assert segments == [
        {"id": 1, "isthing": False, "category_id": 0},
        {"id": 2, "isthing": True, "category_id": 1},
        {"id": 3, "isthing": True, "category_id": 1},
        {"id": 4, "isthing": False, "category_id": 7},
    ]


def test_void_and_empty_maps_have_no_segments() -> None:
    for labels in (torch.full((2, 3), -1), torch.zeros(0, 3, dtype=torch.int64)):
        ids, segments = segments_of_labels(labels, thing_classes={1}, label_divisor=1000)
        assert ids.shape == labels.shape
        assert not ids.any()
        assert segments == []
