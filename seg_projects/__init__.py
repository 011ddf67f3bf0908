"""Panoptic, instance and semantic segmentation for Detectron2.

Importing this package registers its meta-architectures into Detectron2's registries. It needs a
``detectron2``: the real one, or the one in this repository's ``runtime`` folder.
"""

from __future__ import annotations

from importlib.util import find_spec

__version__ = "0.1.0"

if find_spec("detectron2") is None:
    raise ModuleNotFoundError(
        "seg_projects extends Detectron2, and no `detectron2` is installed. Add one of the two:\n"
        "  pip install ./runtime     (from the root of the seg_projects repository: pure Python,\n"
        "                             no compiler, the part of the API that segmentation needs)\n"
        "  the real Detectron2       (built from its source, see its INSTALL.md)",
        name="detectron2",
    )

from seg_projects.config import add_seg_projects_config

__all__ = ["__version__", "add_seg_projects_config"]
