"""Losses, as functions."""

from .hard_pixels import DeepLabCE, hard_pixel_cross_entropy

__all__ = ["DeepLabCE", "hard_pixel_cross_entropy"]
