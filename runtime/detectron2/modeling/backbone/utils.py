"""Building blocks of plain vision transformer backbones (ViTDet, arXiv:2203.16527).

Legend: N images, H x W patches, S patches along the side of a square window, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "PatchEmbed",
    "add_decomposed_rel_pos",
    "get_abs_pos",
    "get_rel_pos",
    "window_partition",
    "window_unpartition",
]


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cuts maps into windows that do not overlap, with zeros below and to the right as needed.

    Args:
        x: (N, H, W, C).
        window_size: S.

    Returns:
        The windows, (N * rows * columns, S, S, C) in reading order, and the padded height and
        width, which ``window_unpartition`` needs.
    """
    height, width = x.shape[1:3]
    rows, columns = -(-height // window_size), -(-width // window_size)
    padded = rows * window_size, columns * window_size
    if padded != (height, width):
        x = F.pad(x, (0, 0, 0, padded[1] - width, 0, padded[0] - height))
    tiles = x.unflatten(2, (columns, window_size)).unflatten(1, (rows, window_size))
    return tiles.transpose(2, 3).flatten(0, 2), padded


def window_unpartition(
    windows: Tensor, window_size: int, pad_hw: tuple[int, int], hw: tuple[int, int]
) -> Tensor:
    """The inverse of ``window_partition``.

    Args:
        windows: (N * rows * columns, S, S, C).
        window_size: S.
        pad_hw: padded height and width.
        hw: height and width before padding, H and W.

    Returns:
        (N, H, W, C).
    """
    rows, columns = (length // window_size for length in pad_hw)
    tiles = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3)
    maps = tiles.flatten(3, 4).flatten(1, 2)
    return maps[:, : hw[0], : hw[1]].contiguous()


def get_rel_pos(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """Looks up the embedding of the offset between each query and each key along one axis.

    Queries and keys spread evenly over the same length, so that the shorter axis takes larger
    steps (MViTv2, arXiv:2112.01526).

    Args:
        q_size: number of queries.
        k_size: number of keys.
        rel_pos: (L, C) embeddings by offset; resampled where L is not
            ``2 * max(q_size, k_size) - 1``.

    Returns:
        (q_size, k_size, C).
    """
    offsets = 2 * max(q_size, k_size) - 1
    if len(rel_pos) != offsets:
        rel_pos = F.interpolate(rel_pos.T[None], size=offsets, mode="linear")[0].T
    q_step, k_step = max(k_size / q_size, 1.0), max(q_size / k_size, 1.0)
    queries = torch.arange(q_size, device=rel_pos.device)[:, None] * q_step
    keys = torch.arange(k_size, device=rel_pos.device)[None, :] * k_step
    return rel_pos[(queries - keys + (k_size - 1) * k_step).long()]


def add_decomposed_rel_pos(
    attn: Tensor,
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Adds relative positions, one embedding per axis, to attention (arXiv:2112.01526, eq. 4).

    Args:
        attn: (B, Hq * Wq, Hk * Wk) attention before softmax; B is images times heads.
        q: (B, Hq * Wq, C) queries.
        rel_pos_h: (Lh, C) embeddings by vertical offset.
        rel_pos_w: (Lw, C) embeddings by horizontal offset.
        q_size: (Hq, Wq).
        k_size: (Hk, Wk).

    Returns:
        The sum, shaped as ``attn``.
    """
    grid = q.unflatten(1, q_size)  # (B, Hq, Wq, C)
    vertical = get_rel_pos(q_size[0], k_size[0], rel_pos_h)
    horizontal = get_rel_pos(q_size[1], k_size[1], rel_pos_w)
    by_row = torch.einsum("bhwc,hkc->bhwk", grid, vertical)
    by_column = torch.einsum("bhwc,wkc->bhwk", grid, horizontal)
    bias = by_row[..., :, None] + by_column[..., None, :]  # (B, Hq, Wq, Hk, Wk)
    return attn + bias.flatten(3).flatten(1, 2)


def get_abs_pos(abs_pos: Tensor, has_cls_token: bool, hw: tuple[int, int]) -> Tensor:
    """Brings absolute position embeddings of a square grid to another grid.

    Args:
        abs_pos: (1, positions, C); positions is a square, plus 1 with a class token.
        has_cls_token: whether the first position is that of a class token, which is left out.
        hw: height and width of the grid wanted.

    Returns:
        (1, H, W, C), resampled bicubically where the size changes.
    """
    patches = abs_pos[:, 1:] if has_cls_token else abs_pos
    side = math.isqrt(patches.shape[1])
    assert side * side == patches.shape[1], (
        f"{patches.shape[1]} position embeddings are not those of a square grid; is "
        f"has_cls_token={has_cls_token} right?"
    )
    grid = patches.unflatten(1, (side, side))
    if (side, side) == tuple(hw):
        return grid
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=hw, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """Turns an image into a map of patch embeddings by one convolution."""

    def __init__(
        self,
        kernel_size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        padding: tuple[int, int] = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
    ) -> None:
        """Builds the convolution.

        Args:
            kernel_size: height and width of a patch, in pixels.
            stride: vertical and horizontal distance of patches, in pixels.
            padding: rows and columns of zeros on each side.
            in_chans: channels of the image.
            embed_dim: C.
        """
        super().__init__()
        self.proj = nn.Conv2d(
            in_chans, embed_dim, kernel_size=kernel_size, stride=stride, padding=padding
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, height, width) to (N, H, W, C)."""
        return self.proj(x).permute(0, 2, 3, 1)
