"""Networks, registered into Detectron2's builders on import."""

from .meta_arch import SegPanopticDeepLab, SegPanopticFPN
from .upstream_names import register_where_absent

__all__ = ["SegPanopticDeepLab", "SegPanopticFPN"]

register_where_absent()
