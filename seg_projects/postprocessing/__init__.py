"""Pure functions from network outputs to segments."""

from .augmented_scores import augmented_scores
from .center_grouping import PanopticGrouping, group_panoptic
from .label_argmax import argmax_labels
from .panoptic_instances import instances_of
from .panoptic_labels import segments_of_labels
from .panoptic_merge import merge_instances_and_stuff
from .sliding_windows import sliding_window_scores, window_offsets
from .upsampled_labels import upsampled_labels

__all__ = [
    "PanopticGrouping",
    "argmax_labels",
    "augmented_scores",
    "group_panoptic",
    "instances_of",
    "merge_instances_and_stuff",
    "segments_of_labels",
    "sliding_window_scores",
    "upsampled_labels",
    "window_offsets",
]
