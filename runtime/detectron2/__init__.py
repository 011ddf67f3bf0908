"""Detectron2's Python API for segmentation, implemented in pure Python on torch and torchvision."""

import os

# A local version of 0.6, equal to that of the distribution (runtime/pyproject.toml).
__version__ = "0.6+seg.1"

if os.environ.get("DETECTRON2_ENV_MODULE"):
    # A site may name a module that prepares the process; without one nothing is imported here.
    from detectron2.utils.env import setup_environment

    setup_environment()
