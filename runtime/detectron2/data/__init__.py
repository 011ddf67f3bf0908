"""Data sets, their metadata, and the loaders that turn their records into a model's input."""

from detectron2.data import (
    build,
    catalog,
    common,
    dataset_mapper,
    datasets,
    detection_utils,
    samplers,
    transforms,
)
from detectron2.data.build import (
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from detectron2.data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.data.common import DatasetFromList, MapDataset, ToIterableDataset
from detectron2.data.dataset_mapper import DatasetMapper

__all__ = [
    "DatasetCatalog",
    "DatasetFromList",
    "DatasetMapper",
    "MapDataset",
    "Metadata",
    "MetadataCatalog",
    "ToIterableDataset",
    "build",
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "catalog",
    "common",
    "dataset_mapper",
    "datasets",
    "detection_utils",
    "get_detection_dataset_dicts",
    "load_proposals_into_dataset",
    "print_instances_class_histogram",
    "samplers",
    "transforms",
]
