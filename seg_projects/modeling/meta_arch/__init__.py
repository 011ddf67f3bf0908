"""Meta-architectures: ``MODEL.META_ARCHITECTURE``."""

from .panoptic_fpn import SegPanopticFPN

__all__ = ["SegPanopticFPN"]
