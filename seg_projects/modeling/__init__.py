"""Networks, registered into Detectron2's builders on import."""

from .meta_arch import SegPanopticFPN

__all__ = ["SegPanopticFPN"]
