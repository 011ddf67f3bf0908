"""Pure functions from network outputs to segments."""

from .panoptic_merge import merge_instances_and_stuff

__all__ = ["merge_instances_and_stuff"]
