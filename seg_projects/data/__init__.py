"""From a data set's files to the model's input dicts."""

from .datasets.panoptic import declare_panoptic_datasets, register_panoptic
from .panoptic_mapper import PanopticMapper

__all__ = ["PanopticMapper", "declare_panoptic_datasets", "register_panoptic"]
