"""Saving and loading of models and of the state of training."""

from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer

from detectron2.utils.file_io import PathManager

from .catalog import ModelCatalogHandler
from .detection_checkpoint import DetectionCheckpointer

PathManager.register_handler(ModelCatalogHandler())

__all__ = ["Checkpointer", "DetectionCheckpointer", "PeriodicCheckpointer"]
