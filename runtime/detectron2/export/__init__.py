"""Models in a form that runs without Python."""

from .scripting import scripting_with_instances
from .tracing import TracingAdapter

__all__ = ["TracingAdapter", "scripting_with_instances"]
