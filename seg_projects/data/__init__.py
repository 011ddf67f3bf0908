"""From a data set's files to the model's input dicts."""

from .datasets.panoptic import declare_panoptic_datasets, register_panoptic
from .datasets.semantic import declare_semantic_datasets, register_semantic
from .panoptic_mapper import PanopticMapper
from .semantic_mapper import SemanticMapper

__all__ = [
    "PanopticMapper",
    "SemanticMapper",
    "declare_panoptic_datasets",
    "declare_semantic_datasets",
    "register_panoptic",
    "register_semantic",
]
