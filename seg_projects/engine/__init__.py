"""From a config file to a trained and evaluated model."""

from .setup import load_config, prepare
from .trainer import SegTrainer

__all__ = ["SegTrainer", "load_config", "prepare"]
