"""Pure functions from network outputs to segments."""

from .center_grouping import PanopticGrouping, group_panoptic
from .panoptic_instances import instances_of
from .panoptic_merge import merge_instances_and_stuff

__all__ = ["PanopticGrouping", "group_panoptic", "instances_of", "merge_instances_and_stuff"]
