"""What drawings are made of: a canvas over an image, masks in any form, text, lines and shapes.

Colors are matplotlib's: names, "#rrggbb" or RGB tuples in [0, 1]. Coordinates are (x, y) in pixels
of the image, whatever the scale of the drawing.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from detectron2.structures.masks import BitMasks, polygon_area, polygons_to_bitmask
from detectron2.utils.colormap import random_color

Color: TypeAlias = Any
RGB: TypeAlias = tuple[float, float, float]

LARGE_COMPONENT = 120_000  # square pixels: gets a label of its own


class GenericMask:
    """One mask, given in any form, that is turned into pixels or polygons where asked for."""

    def __init__(self, mask_or_polygons: Any, height: int, width: int) -> None:
        """Takes a mask of an image of ``height`` x ``width``.

        Args:
            mask_or_polygons: an (H, W) array; a list of flat x0, y0, x1, y1, ... polygons; or a
                COCO run-length dict, compressed or not.
            height: of the image.
            width: of the image.
        """
        self.height = height
        self.width = width
        self._mask: np.ndarray | None = None
        self._polygons: list[np.ndarray] | None = None
        self._has_holes: bool | None = None
        if isinstance(mask_or_polygons, dict):
            mask_or_polygons = _decode_runs(mask_or_polygons)
        if isinstance(mask_or_polygons, list):
            self._polygons = [np.asarray(polygon).reshape(-1) for polygon in mask_or_polygons]
            self._has_holes = False
        elif isinstance(mask_or_polygons, np.ndarray):
            assert mask_or_polygons.shape == (height, width), (
                f"the mask has shape {mask_or_polygons.shape}, the image {(height, width)}."
            )
            self._mask = mask_or_polygons.astype(np.uint8)
        else:
            raise ValueError(
                f"a mask is an (H, W) array, a list of polygons or a run-length dict, not a "
                f"{type(mask_or_polygons).__name__}."
            )

    @property
    def mask(self) -> np.ndarray:
        """(H, W) uint8 in {0, 1}."""
        if self._mask is None:
            assert self._polygons is not None
            self._mask = self.polygons_to_mask(self._polygons)
        return self._mask

    @property
    def polygons(self) -> list[np.ndarray]:
        """Outlines as flat x0, y0, x1, y1, ... arrays, those of holes too."""
        if self._polygons is None:
            assert self._mask is not None
            self._polygons, self._has_holes = self.mask_to_polygons(self._mask)
        return self._polygons

    @property
    def has_holes(self) -> bool:
        """Whether an outline runs inside of another one."""
        if self._has_holes is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self.mask)
        return self._has_holes

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """Outlines of an (H, W) mask, through its border pixels' centers; whether it has holes."""
        import cv2

        mask = np.ascontiguousarray(mask, dtype=np.uint8)
        contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        if hierarchy is None:
            return [], False
        # A contour with a parent is a hole. Fewer than three points enclose nothing.
        has_holes = bool((hierarchy.reshape(-1, 4)[:, 3] >= 0).any())
        outlines = [contour.reshape(-1) + 0.5 for contour in contours if len(contour) >= 3]
        return outlines, has_holes

    def polygons_to_mask(self, polygons: list[np.ndarray]) -> np.ndarray:
        """(H, W) uint8: the union of polygons."""
        return polygons_to_bitmask(polygons, self.height, self.width).astype(np.uint8)

    def area(self) -> int:
        """The number of pixels."""
        return self.mask.sum()

    def bbox(self) -> np.ndarray:
        """(4,) XYXY box around the pixels; zeros for an empty mask."""
        return BitMasks(self.mask[None]).get_bounding_boxes().tensor[0].numpy()


def _decode_runs(runs: dict[str, Any]) -> np.ndarray:
    from pycocotools import mask as coco_mask

    if isinstance(runs["counts"], list):
        runs = coco_mask.frPyObjects(runs, *runs["size"])
    return coco_mask.decode(runs)


class VisImage:
    """An image that matplotlib draws on, without any window or global state of pyplot.

    Attributes:
        ax: the axes, in pixels of the image.
        fig: the figure of these axes.
        canvas: the figure's Agg canvas.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        """Starts from an (H, W, 3) RGB image in [0, 255], drawn ``scale`` times as large."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.img = img
        self.scale = scale
        self.height, self.width = img.shape[:2]
        self.fig = Figure(frameon=False)
        self.dpi = self.fig.get_dpi()
        # A hundredth of a pixel more: rounding must not cut the last row.
        self.fig.set_size_inches(
            (self.width * scale + 1e-2) / self.dpi, (self.height * scale + 1e-2) / self.dpi
        )
        self.canvas = FigureCanvasAgg(self.fig)
        self.ax = self.fig.add_axes((0.0, 0.0, 1.0, 1.0))
        self.ax.axis("off")
        self._background = self.ax.imshow(
            img.astype(np.uint8), extent=(0, self.width, self.height, 0), interpolation="nearest"
        )

    def reset_image(self, img: np.ndarray) -> None:
        """Exchanges the image below what is drawn; the new one has the same size."""
        self._background.set_data(img.astype(np.uint8))

    def save(self, filepath: str) -> None:
        """Writes the drawing to a file of any format that matplotlib knows by its ending."""
        self.fig.savefig(filepath)

    def get_image(self) -> np.ndarray:
        """(scale * H, scale * W, 3) uint8 RGB, rounded down."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


class Painter:
    """Draws shapes and text; each ``draw_`` method returns the :class:`VisImage` drawn on."""

    def __init__(self, output: VisImage, font_size: float) -> None:
        """Draws on ``output``; ``font_size``, in points at scale 1, also governs line widths."""
        self.output = output
        self._default_font_size = font_size

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        font_size: float | None = None,
        color: Color = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Writes ``text`` on a dark ground, its top at ``position``; ``rotation`` in degrees."""
        from matplotlib.colors import to_rgb

        size = self._default_font_size if font_size is None else font_size
        # Bright enough to be read on the dark ground.
        channels = np.maximum(to_rgb(color), 0.2)
        channels[np.argmax(channels)] = max(0.8, channels.max())
        x, y = position
        self.output.ax.text(
            x,
            y,
            text,
            size=size * self.output.scale,
            family="sans-serif",
            bbox={"facecolor": "black", "alpha": 0.8, "pad": 0.7, "edgecolor": "none"},
            verticalalignment="top",
            horizontalalignment=horizontal_alignment,
            color=tuple(channels),
            zorder=10,
            rotation=rotation,
        )
        return self.output

    def draw_box(
        self,
        box_coord: Sequence[float],
        alpha: float = 0.5,
        edge_color: Color = "g",
        line_style: str = "-",
    ) -> VisImage:
        """Draws the frame of an XYXY box."""
        from matplotlib.patches import Rectangle

        x0, y0, x1, y1 = box_coord
        self.output.ax.add_artist(
            Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=edge_color,
                linewidth=max(self._default_font_size / 4, 1) * self.output.scale,
                alpha=alpha,
                linestyle=line_style,
            )
        )
        return self.output

    def draw_circle(
        self, circle_coord: tuple[float, float], color: Color, radius: float = 3
    ) -> VisImage:
        """Draws a disk around ``circle_coord``, with a radius in pixels."""
        from matplotlib.patches import Circle

        self.output.ax.add_artist(Circle(circle_coord, radius=radius, fill=True, color=color))
        return self.output

    def draw_line(
        self,
        x_data: Sequence[float],
        y_data: Sequence[float],
        color: Color,
        linestyle: str = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draws a line through the points (x_data[i], y_data[i])."""
        from matplotlib.lines import Line2D

        width = self._default_font_size / 3 if linewidth is None else linewidth
        self.output.ax.add_artist(
            Line2D(
                x_data,
                y_data,
                linewidth=max(width, 1) * self.output.scale,
                color=color,
                linestyle=linestyle,
            )
        )
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: np.ndarray,
        color: Color | None = None,
        *,
        edge_color: Color | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: int | None = 10,
    ) -> VisImage:
        """Draws a mask.

        Args:
            binary_mask: (H, W); what is not 0 is drawn.
            color: of the inside; a random one without.
            edge_color: of the outlines; that of the inside without.
            text: written in the middle.
            alpha: opacity in [0, 1].
            area_threshold: outlines of fewer square pixels are left out.
        """
        color = random_color(rgb=True, maximum=1) if color is None else color
        mask = GenericMask(np.asarray(binary_mask), self.output.height, self.output.width)
        least = area_threshold or 0
        outlines = [p for p in mask.polygons if polygon_area(p[0::2], p[1::2]) >= least]
        if outlines:
            self._draw_outlines(outlines, color, edge_color, alpha)
            if text is not None:
                self._draw_text_in_mask(mask.mask, text, change_brightness(color, 0.7))
        return self.output

    def draw_soft_mask(
        self,
        soft_mask: np.ndarray,
        color: Color | None = None,
        *,
        text: str | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draws an (H, W) mask of values in [0, 1], which scale its opacity."""
        from matplotlib.colors import to_rgb

        color = to_rgb(random_color(rgb=True, maximum=1) if color is None else color)
        rgba = np.empty((*soft_mask.shape, 4), dtype=np.float32)
        rgba[..., :3] = color
        rgba[..., 3] = soft_mask * alpha
        self.output.ax.imshow(rgba, extent=(0, self.output.width, self.output.height, 0))
        if text is not None:
            self._draw_text_in_mask(
                (soft_mask > 0.5).astype(np.uint8), text, change_brightness(color, 0.7)
            )
        return self.output

    def draw_polygon(
        self,
        segment: np.ndarray,
        color: Color,
        edge_color: Color | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draws a polygon of (P, 2) corners, its inside ``alpha`` opaque, its edge entirely."""
        return self._draw_outlines([np.asarray(segment).reshape(-1)], color, edge_color, alpha)

    def get_output(self) -> VisImage:
        """The image with all that was drawn."""
        return self.output

    def _draw_outlines(
        self, outlines: list[np.ndarray], color: Color, edge_color: Color | None, alpha: float
    ) -> VisImage:
        """Fills flat x0, y0, ... outlines as one shape; those that run the other way are holes."""
        from matplotlib.colors import to_rgb
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if edge_color is None:
            # On a shape that is nearly opaque only a darker edge is seen.
            edge_color = change_brightness(color, -0.7) if alpha > 0.8 else color
        vertices, codes = [], []
        for outline in outlines:
            corners = outline.reshape(-1, 2)
            vertices += [corners, corners[:1]]
            code = np.full(len(corners) + 1, Path.LINETO, dtype=Path.code_type)
            code[0], code[-1] = Path.MOVETO, Path.CLOSEPOLY
            codes.append(code)
        if outlines:
            self.output.ax.add_artist(
                PathPatch(
                    Path(np.concatenate(vertices), np.concatenate(codes)),
                    facecolor=(*to_rgb(color), alpha),
                    edgecolor=(*to_rgb(edge_color), 1.0),
                    linewidth=max(self._default_font_size // 15 * self.output.scale, 1),
                )
            )
        return self.output

    def _draw_text_in_mask(self, mask: np.ndarray, text: str, color: Color) -> None:
        """Writes in the middle of the largest component of a uint8 mask, and of each huge one."""
        import cv2

        count, components, stats, _ = cv2.connectedComponentsWithStats(mask, 8)
        if count < 2:  # The ground alone.
            return
        areas = stats[1:, cv2.CC_STAT_AREA]
        for component in range(1, count):
            area = areas[component - 1]
            if component == areas.argmax() + 1 or area > LARGE_COMPONENT:
                x, y = middle(components == component)
                self.draw_text(text, (x, y), color=color)


def middle(mask: np.ndarray) -> tuple[float, float]:
    """Medians x and y of the pixels of a mask."""
    rows, columns = mask.nonzero()
    return float(np.median(columns)), float(np.median(rows))


def change_brightness(color: Color, factor: float) -> RGB:
    """``color`` with its HLS lightness times 1 + ``factor``, within [0, 1]."""
    from matplotlib.colors import to_rgb

    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(color))
    return colorsys.hls_to_rgb(hue, min(max(lightness * (1 + factor), 0.0), 1.0), saturation)
