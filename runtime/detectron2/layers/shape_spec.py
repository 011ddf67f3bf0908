"""What is known of a feature map before it exists."""

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """The shape of a tensor (N, channels, height, width); ``None`` where it is unknown or free."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
    """Pixels of the input image per pixel of the feature map."""
