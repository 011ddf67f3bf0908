"""From a config file to a trained and evaluated model."""

from .setup import import_modules, load_config, prepare
from .trainer import SegTrainer
from .weights import load_weights

__all__ = ["SegTrainer", "import_modules", "load_config", "load_weights", "prepare"]
