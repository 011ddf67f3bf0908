"""Pure functions from network outputs to segments."""

from .augmented_scores import augmented_scores
from .panoptic_merge import merge_instances_and_stuff
from .sliding_windows import sliding_window_scores, window_offsets

__all__ = [
    "augmented_scores",
    "merge_instances_and_stuff",
    "sliding_window_scores",
    "window_offsets",
]
