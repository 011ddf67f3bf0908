"""The catalogs of data sets and their metadata."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
from golden import Golden, exception_name

from detectron2.data.catalog import DatasetCatalog, Metadata, MetadataCatalog

NAME = "catalog_test"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def test_misuse_raises_the_recorded_exceptions() -> None:
    facts = Golden("panoptic_dataset").json("facts")
    DatasetCatalog.register(NAME, list)
    MetadataCatalog.get(NAME).set(x=1)
    meta = MetadataCatalog.get(NAME)
    got = {
        "dup_register": exception_name(lambda: DatasetCatalog.register(NAME, list)),
        "missing": exception_name(lambda: DatasetCatalog.get("absent")),
        "remove_missing": exception_name(lambda: DatasetCatalog.remove("absent")),
        "meta_reset": exception_name(lambda: meta.set(x=2)),
        "meta_same_ok": exception_name(lambda: meta.set(x=1)),
        "meta_missing": exception_name(lambda: meta.y),
        "meta_get_default": meta.get("y", 3),
        "not_callable": exception_name(lambda: DatasetCatalog.register("other", [])),
    }
    assert got == facts


def test_loader_runs_at_each_get_and_not_at_registration() -> None:
    calls: list[int] = []

    def load() -> list[dict[str, int]]:
        calls.append(1)
        return [{"image_id": 7}]

    DatasetCatalog.register(NAME, load)
    assert calls == []
    assert DatasetCatalog.get(NAME) == DatasetCatalog.get(NAME) == [{"image_id": 7}]
    assert len(calls) == 2
    assert NAME in DatasetCatalog
    assert DatasetCatalog.list()[-1] == NAME
    DatasetCatalog.remove(NAME)
    assert NAME not in DatasetCatalog


def test_errors_name_the_data_set() -> None:
    DatasetCatalog.register(NAME, list)
    with pytest.raises(AssertionError, match=f"{NAME}.*already registered"):
        DatasetCatalog.register(NAME, list)
    with pytest.raises(KeyError, match=f"'absent' is not registered.*{NAME}"):
        DatasetCatalog.get("absent")
    with pytest.raises(AttributeError, match=f"'colours'.*{NAME}.*'name', 'x'"):
        MetadataCatalog.get(NAME).set(x=1).colours  # noqa: B018 - reading it is what raises
    with pytest.raises(AssertionError, match="needs the name"):
        MetadataCatalog.get("")


def test_metadata_is_one_object_per_name() -> None:
    meta = MetadataCatalog.get(NAME)
    meta.thing_classes = ["a", "b"]
    assert MetadataCatalog.get(NAME) is meta
    assert meta.as_dict() == {"name": NAME, "thing_classes": ["a", "b"]}
    meta.as_dict()["extra"] = 1
    assert not hasattr(meta, "extra")
    MetadataCatalog.remove(NAME)
    assert MetadataCatalog.get(NAME).as_dict() == {"name": NAME}


def test_metadata_without_a_name_is_usable() -> None:
    meta = Metadata()
    assert meta.name == "N/A"
    assert meta.as_dict() == {}
    with pytest.raises(AttributeError, match="none at all"):
        meta.thing_classes  # noqa: B018 - reading it is what raises


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_metadata_survives_copying_to_another_process(clone) -> None:  # type: ignore[no-untyped-def]
    meta = Metadata(name="n", thing_classes=["a"])
    assert clone(meta) == meta
    assert clone(meta).as_dict() == meta.as_dict()


def test_catalogs_print_their_names() -> None:
    DatasetCatalog.register(NAME, list)
    MetadataCatalog.get(NAME)
    assert NAME in str(DatasetCatalog)
    assert NAME in repr(MetadataCatalog)


def test_earlier_names_of_metadata_still_work() -> None:
    metadata = Metadata(name="x").set(class_names=["a"], stuff_class_names=["b"])
    assert metadata.as_dict() == {"name": "x", "thing_classes": ["a"], "stuff_classes": ["b"]}
    assert metadata.class_names == metadata.get("class_names") == ["a"]
    with pytest.raises(AttributeError, match="'thing_dataset_id_to_contiguous_id'"):
        metadata.dataset_id_to_contiguous_id  # noqa: B018 (the access is what raises)
