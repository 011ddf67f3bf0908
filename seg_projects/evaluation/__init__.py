"""Evaluators over plain functions on arrays."""

from .build import build_evaluator
from .instances import InstanceEvaluator
from .panoptic import PanopticEvaluator
from .semantic import SemanticEvaluator

__all__ = ["InstanceEvaluator", "PanopticEvaluator", "SemanticEvaluator", "build_evaluator"]
