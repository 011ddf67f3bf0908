"""The built-in data sets and their metadata."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

import pytest
from golden import reference_json

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import builtin, builtin_meta
from detectron2.data.datasets.builtin import register_all_coco

ROOT = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def recorded() -> dict[str, dict[str, Any]]:
    """Metadata by name, with shared values and the root filled in."""
    facts = reference_json("datasets.json")

    def value(entry: Any) -> Any:
        if isinstance(entry, str) and entry.startswith("@"):
            return facts["shared_values"][entry]
        if isinstance(entry, str) and entry.startswith("datasets/"):
            return os.path.join(ROOT, entry.removeprefix("datasets/"))
        return entry

    return {
        name: {key: value(entry) for key, entry in entries.items()}
        for name, entries in facts["metadata"].items()
    }


def test_all_recorded_data_sets_are_registered() -> None:
    assert recorded().keys() <= set(DatasetCatalog.list())


def test_metadata_are_the_recorded_ones() -> None:
    for name, expected in recorded().items():
        # Integer keys are strings in JSON, tuples are lists.
        assert json.loads(json.dumps(MetadataCatalog.get(name).as_dict())) == expected, name


def test_the_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetCatalog, "data", {})
    monkeypatch.setattr(MetadataCatalog, "data", {})
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/sets")
    importlib.reload(builtin)
    expected = os.path.expanduser("~/sets/coco/annotations/instances_val2017.json")
    assert MetadataCatalog.get("coco_2017_val").json_file == expected


def test_absent_files_are_reported_when_the_data_set_is_loaded() -> None:
    if os.path.exists(MetadataCatalog.get("coco_2017_val").json_file):
        pytest.skip("COCO 2017 is there")
    with pytest.raises(FileNotFoundError, match=r"coco_2017_val'.*DETECTRON2_DATASETS"):
        DatasetCatalog.get("coco_2017_val")


def test_registering_twice_raises() -> None:
    with pytest.raises(AssertionError, match="coco_2014_train' is already registered"):
        register_all_coco("elsewhere")


def test_tables_have_the_published_sizes() -> None:
    categories = builtin_meta.COCO_CATEGORIES
    assert len(categories) == len({c["id"] for c in categories}) == 133
    assert sum(c["isthing"] for c in categories) == 80
    assert [c["trainId"] for c in builtin_meta.CITYSCAPES_CATEGORIES] == list(range(19))
    assert len(builtin_meta.ADE20K_SEM_SEG_CATEGORIES) == 150


def test_keypoint_names_are_consistent() -> None:
    names = set(builtin_meta.COCO_PERSON_KEYPOINT_NAMES)
    assert len(names) == 17
    assert {side for pair in builtin_meta.COCO_PERSON_KEYPOINT_FLIP_MAP for side in pair} == (
        names - {"nose"}
    )
    assert len(builtin_meta.KEYPOINT_CONNECTION_RULES) == 14
    assert all({a, b} <= names for a, b, _ in builtin_meta.KEYPOINT_CONNECTION_RULES)


def test_data_sets_do_not_share_their_lists() -> None:
    train = MetadataCatalog.get("coco_2017_train").thing_classes
    assert train == MetadataCatalog.get("coco_2017_val").thing_classes
    assert train is not MetadataCatalog.get("coco_2017_val").thing_classes
