"""Names of Detectron2's DeepLab projects, for installations that come without them."""

from __future__ import annotations

from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY

from .backbones import build_resnet_deeplab_backbone
from .meta_arch import PanopticDeepLab
from .semantic_heads import DeepLabV3Head, DeepLabV3PlusHead, PanopticDeepLabSemSegHead


def register_where_absent() -> None:
    """Registers our DeepLab under the names of Detectron2's projects, or imports those.

    Published configs then find their parts either way; where the projects are, theirs stay.
    """
    try:
        import detectron2.projects.deeplab
        import detectron2.projects.panoptic_deeplab  # noqa: F401 - registers its classes
    except ImportError:
        # Absent, or installed without what they need: panopticapi.
        pass
    for registry, part in (
        (BACKBONE_REGISTRY, build_resnet_deeplab_backbone),
        (SEM_SEG_HEADS_REGISTRY, DeepLabV3Head),
        (SEM_SEG_HEADS_REGISTRY, DeepLabV3PlusHead),
        (SEM_SEG_HEADS_REGISTRY, PanopticDeepLabSemSegHead),
        (META_ARCH_REGISTRY, PanopticDeepLab),
    ):
        if part.__name__ not in registry:
            registry.register(part)
