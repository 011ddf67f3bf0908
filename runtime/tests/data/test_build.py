"""Tests of the data loaders and of what they do with records."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import data

from detectron2.config import CfgNode, get_cfg
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.structures import BoxMode
from detectron2.utils import comm

Register = Callable[..., str]


def annotation(category_id: int = 0, **more: Any) -> dict[str, Any]:
    return {"bbox": [0, 0, 1, 1], "bbox_mode": 0, "category_id": category_id, "iscrowd": 0, **more}


def record(*annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"file_name": "x.png", "width": 3, "height": 2, "annotations": list(annotations), **more}


# Both take a config, too, which their signatures do not show.
from_train_config: Any = build_detection_train_loader
from_test_config: Any = build_detection_test_loader

ONE = record(annotation())
CROWD = record(annotation(iscrowd=1))
EMPTY = record()


class Numbers(data.IterableDataset):
    def __iter__(self) -> Iterator[int]:
        return iter(range(7))


@pytest.fixture
def register() -> Iterator[Register]:
    """Registers records under a name, for the time of a test."""
    names = []

    def add(name: str, records: Any, classes: list[str] | None = None) -> str:
        DatasetCatalog.register(name, lambda: records)
        names.append(name)
        if classes is not None:
            MetadataCatalog.get(name).thing_classes = classes
        return name

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        if name in MetadataCatalog:
            MetadataCatalog.remove(name)


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg


def test_images_with_crowds_only_are_dropped() -> None:
    no_flag = record({"category_id": 0})
    kept = filter_images_with_only_crowd_annotations([ONE, CROWD, EMPTY, no_flag])
    assert kept == [ONE, no_flag]


def test_records_of_several_data_sets_are_joined(register: Register) -> None:
    names = [register(f"build_{i}", [ONE, EMPTY], ["a"]) for i in range(2)]
    assert get_detection_dataset_dicts(names) == [ONE, ONE]
    assert get_detection_dataset_dicts(names[0], filter_empty=False) == [ONE, EMPTY]


def test_records_without_annotations_are_kept(register: Register) -> None:
    plain = [{"file_name": "x.png"}]
    assert get_detection_dataset_dicts(register("build_plain", plain)) == plain


def test_registered_torch_data_sets_are_returned(register: Register) -> None:
    numbers = data.TensorDataset(torch.arange(3))
    names = [register(f"build_torch_{i}", numbers) for i in range(2)]
    assert get_detection_dataset_dicts(names[0]) is numbers
    assert len(get_detection_dataset_dicts(names)) == 6


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "Dataset 'build_wrong' is empty"),
        ([CROWD], "No valid data found in build_wrong.*FILTER_EMPTY_ANNOTATIONS"),
        ([record(annotation(7))], r"category_id=7.*'x\.png'.*2 classes"),
        ([record(annotation(-1))], r"category_id=-1.*'x\.png'.*2 classes"),
    ],
)
def test_wrong_data_sets_are_named(
    register: Register, records: list[dict[str, Any]], message: str
) -> None:
    register("build_wrong", records, ["a", "b"])
    with pytest.raises(ValueError, match=message):
        get_detection_dataset_dicts("build_wrong")


def test_different_classes_are_refused(register: Register) -> None:
    names = [register(f"build_{name}", [ONE], [name]) for name in "ab"]
    with pytest.raises(ValueError, match="different metadata 'thing_classes'"):
        get_detection_dataset_dicts(names)
    assert len(get_detection_dataset_dicts(names, check_consistency=False)) == 2


def test_wrong_arguments_are_named(register: Register) -> None:
    name = register("build_one", [ONE], ["a"])
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN"):
        get_detection_dataset_dicts([])
    with pytest.raises(KeyError, match="not registered"):
        get_detection_dataset_dicts("build_unknown")
    with pytest.raises(ValueError, match="2 proposal files for 1 data sets"):
        get_detection_dataset_dicts(name, proposal_files=["a", "b"])
    with pytest.raises(NotImplementedError, match="min_keypoints=1"):
        get_detection_dataset_dicts(name, min_keypoints=1)


@pytest.fixture
def histogram(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """The rows of the table that is logged."""

    def rows(records: list[dict[str, Any]], names: list[str]) -> list[list[str]]:
        lines: list[str] = []
        monkeypatch.setattr(
            "detectron2.data.build.log_first_n", lambda level, text, **_: lines.append(text)
        )
        print_instances_class_histogram(records, names)
        (text,) = lines
        return [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()[1:]]

    return rows


def test_the_histogram_counts_instances(histogram: Callable[..., list[list[str]]]) -> None:
    records = [record(annotation(0), annotation(1), annotation(0, iscrowd=1)), ONE, EMPTY]
    rows = histogram(records, ["a" * 20, "b", "c", "d"])
    assert rows[0] == ["category", "#instances"] * 3
    assert rows[2] == ["a" * 11 + "..", "2", "b", "1", "c", "0"]
    assert rows[3] == ["d", "0", "", "", "", ""]
    assert rows[4][:2] == ["total", "3"]


def test_the_histogram_takes_one_class_and_no_records(
    histogram: Callable[..., list[list[str]]],
) -> None:
    assert histogram([], ["a"])[2:] == [["a", "0"]]
    assert histogram([ONE], ["a"])[2:] == [["a", "1"]]


def write_proposals(path: Path, **changes: Any) -> str:
    proposals = {
        "ids": ["5", "7"],
        "boxes": [np.array([[0, 0, 1, 1], [0, 0, 2, 2]], np.float32), np.zeros((0, 4))],
        "objectness_logits": [np.array([0.1, 0.9]), np.zeros(0)],
        "bbox_mode": BoxMode.XYXY_ABS,
        **changes,
    }
    path.write_bytes(pickle.dumps(proposals))
    return str(path)


def test_proposals_come_by_descending_score(tmp_path: Path) -> None:
    path = write_proposals(tmp_path / "proposals.pkl")
    first, second = load_proposals_into_dataset([{"image_id": 5}, {"image_id": 7}], path)
    assert first["proposal_boxes"].tolist() == [[0, 0, 2, 2], [0, 0, 1, 1]]
    assert first["proposal_objectness_logits"].tolist() == [0.9, 0.1]
    assert first["proposal_bbox_mode"] is BoxMode.XYXY_ABS
    assert len(second["proposal_boxes"]) == 0


def test_proposals_of_the_first_detectron_are_read(tmp_path: Path) -> None:
    boxes, scores = [np.ones((1, 4))], [np.ones(1)]
    path = tmp_path / "proposals.pkl"
    path.write_bytes(pickle.dumps({"indexes": [5], "boxes": boxes, "scores": scores}, protocol=2))
    (found,) = load_proposals_into_dataset([{"image_id": 5}], str(path))
    assert found["proposal_objectness_logits"].tolist() == [1]
    assert found["proposal_bbox_mode"] is BoxMode.XYXY_ABS


def test_an_image_without_proposals_is_named(tmp_path: Path) -> None:
    path = write_proposals(tmp_path / "proposals.pkl")
    with pytest.raises(KeyError, match=r"proposals\.pkl has no proposals of image 6"):
        load_proposals_into_dataset([{"image_id": 6}], path)


def test_proposals_run_no_code(tmp_path: Path) -> None:
    path = write_proposals(tmp_path / "proposals.pkl", bbox_mode=print)
    with pytest.raises(pickle.UnpicklingError, match="print"):
        load_proposals_into_dataset([{"image_id": 5}], path)


def test_batches_have_the_size_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, sampler = [1, 2, 3], TrainingSampler(3, shuffle=False)
    assert next(iter(build_batch_data_loader(numbers, sampler, 2))) == [1, 2]
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    assert len(next(iter(build_batch_data_loader(numbers, sampler, 2)))) == 1
    single = build_batch_data_loader(numbers, sampler, None, single_gpu_batch_size=2)
    assert len(next(iter(single))) == 2
    with pytest.raises(ValueError, match=r"\(3\) must be divisible by the number of gpus \(2\)"):
        build_batch_data_loader(numbers, sampler, 3)


@pytest.mark.parametrize(
    ("total", "single", "message"),
    [(0, None, "IMS_PER_BATCH"), (-2, None, "IMS_PER_BATCH"), (2, 2, "incompatible")],
)
def test_wrong_batch_sizes_are_named(total: int, single: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_batch_data_loader([1], TrainingSampler(1), total, single_gpu_batch_size=single)


def test_iterable_data_sets_take_no_sampler() -> None:
    loader = build_batch_data_loader(Numbers(), None, 3, drop_last=False)
    assert list(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(build_batch_data_loader(Numbers(), None, 3)) == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(AssertionError, match="sampler must be None"):
        build_batch_data_loader(Numbers(), TrainingSampler(3), 3)


def test_batches_can_be_grouped_and_collated() -> None:
    shapes = [{"width": w, "height": 2} for w in (1, 3)]
    loader = build_batch_data_loader(
        shapes, TrainingSampler(2, seed=0), 2, aspect_ratio_grouping=True, collate_fn=tuple
    )
    first, second = itertools.islice(loader, 2)
    assert sorted([first, second], key=lambda b: b[0]["width"]) == [
        (shapes[0], shapes[0]),
        (shapes[1], shapes[1]),
    ]


def test_workers_draw_different_and_reproducible_numbers() -> None:
    def draw(_: Any) -> int:
        return int(np.random.randint(2**31))  # noqa: NPY002  (what augmentations draw from)

    def run() -> list[list[int]]:
        loader = build_detection_train_loader(
            [0, 1],
            mapper=draw,
            total_batch_size=2,
            aspect_ratio_grouping=False,
            num_workers=2,
            sampler=TrainingSampler(2, shuffle=False),
            seed=5,
        )
        return list(itertools.islice(loader, 2))

    first, again = run(), run()
    assert len({*first[0], *first[1]}) == 4
    assert first == again


def test_the_training_loader_maps_and_groups() -> None:
    shapes = [{"width": 3, "height": 2, "id": i} for i in range(3)]
    loader = build_detection_train_loader(
        shapes,
        mapper=lambda r: {**r, "mapped": True},
        total_batch_size=3,
        sampler=TrainingSampler(3, shuffle=False),
    )
    assert isinstance(loader, AspectRatioGroupedDataset)
    batch = next(iter(loader))
    assert [(r["id"], r["mapped"]) for r in batch] == [(0, True), (1, True), (2, True)]


def test_the_training_loader_takes_iterables_and_no_mapper() -> None:
    loader = build_detection_train_loader(
        Numbers(), mapper=None, total_batch_size=2, aspect_ratio_grouping=False
    )
    assert next(iter(loader)) == [0, 1]
    with pytest.raises(AssertionError, match="Expect a Sampler"):
        build_detection_train_loader([1], mapper=None, sampler=[1], total_batch_size=2)
    with pytest.raises(AssertionError, match="sampler must be None"):
        build_detection_train_loader(
            Numbers(), mapper=None, sampler=TrainingSampler(2), total_batch_size=2
        )


def test_the_test_loader_gives_all_elements_once() -> None:
    def double(x: int) -> int:
        return x * 2

    assert list(build_detection_test_loader([1, 2, 3], mapper=double)) == [[2], [4], [6]]
    assert list(build_detection_test_loader([1, 2, 3], mapper=None, batch_size=2)) == [[1, 2], [3]]
    iterable = build_detection_test_loader(Numbers(), mapper=double, batch_size=4, collate_fn=sum)
    assert list(iterable) == [12, 30]
    loader = build_detection_test_loader([1, 2, 3], mapper=double, num_workers=2)
    assert isinstance(loader.sampler, InferenceSampler)
    assert list(loader) == [[2], [4], [6]]


@pytest.mark.parametrize(
    "kind", [TrainingSampler, RepeatFactorTrainingSampler, RandomSubsetTrainingSampler]
)
def test_the_config_chooses_the_training_sampler(
    cfg: CfgNode, register: Register, kind: type
) -> None:
    cfg.DATASETS.TRAIN = (register("build_train", [ONE, ONE], ["a"]),)
    cfg.DATALOADER.SAMPLER_TRAIN = kind.__name__
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.5
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    loader = from_train_config(cfg, mapper=lambda r: r)
    assert type(loader.dataset.sampler) is kind
    assert next(iter(loader)) == [ONE, ONE]


@pytest.mark.parametrize("name", ["TrainingSampler", "RepeatFactorTrainingSampler"])
def test_the_order_of_training_follows_the_seed_of_the_config(
    cfg: CfgNode, register: Register, name: str
) -> None:
    records = [record(annotation(), image_id=i) for i in range(20)]
    cfg.DATASETS.TRAIN = (register("build_train", records, ["a"]),)
    cfg.DATALOADER.SAMPLER_TRAIN = name

    def order(seed: int) -> list[int]:
        cfg.SEED = seed
        loader = from_train_config(cfg, mapper=lambda r: r)
        return [r["image_id"] for batch in itertools.islice(loader, 10) for r in batch]

    assert order(3) == order(3)
    assert order(3) != order(4)
    assert order(-1) == order(-1)


def test_an_unknown_sampler_is_named(cfg: CfgNode, register: Register) -> None:
    cfg.DATASETS.TRAIN = (register("build_train", [ONE], ["a"]),)
    cfg.DATALOADER.SAMPLER_TRAIN = "Foo"
    with pytest.raises(ValueError, match="SAMPLER_TRAIN='Foo'"):
        from_train_config(cfg)


def test_the_config_builds_the_test_loader(cfg: CfgNode, register: Register) -> None:
    name = register("build_test", [ONE, EMPTY], ["a"])
    loader = from_test_config(cfg, name, mapper=lambda r: len(r["annotations"]))
    assert list(loader) == [[1], [0]]
    twice = from_test_config(cfg, [name, name])
    assert len(twice) == 4


def test_the_config_names_proposal_files(cfg: CfgNode, register: Register, tmp_path: Path) -> None:
    name = register("build_proposals", [record(annotation(), image_id=5)], ["a"])
    path = write_proposals(tmp_path / "proposals.pkl")
    cfg.MODEL.LOAD_PROPOSALS = True
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DATASETS.PROPOSAL_FILES_TRAIN = cfg.DATASETS.PROPOSAL_FILES_TEST = (path,)
    train = from_train_config(cfg, mapper=lambda r: r)
    assert len(next(iter(train))[0]["proposal_boxes"]) == 2
    test = from_test_config(cfg, name, mapper=lambda r: r)
    assert len(next(iter(test))[0]["proposal_boxes"]) == 2


def test_a_data_set_can_be_given_beside_the_config(cfg: CfgNode) -> None:
    loader = from_train_config(cfg, mapper=lambda r: r, dataset=[ONE])
    assert next(iter(loader)) == [ONE, ONE]
