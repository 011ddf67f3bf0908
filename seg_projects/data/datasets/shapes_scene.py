"""Renders the scenes of the shapes data set: bevelled cut-outs that float over a small landscape.

Frame: x right, y down, in pixels, pixel centres at +0.5. Legend: H x W pixels. Colours are RGB in
[0, 1]. Every outline is a signed distance (negative inside), so that the share of a pixel that it
covers and the pixel's label come from the same number.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Color = tuple[float, float, float]

# Layer indices: the stuff, then the things from the farthest to the nearest.
SKY, GRASS, WATER = range(3)
FIRST_THING = 3


class Layers(NamedTuple):
    """A rendered scene before it is annotated."""

    image_rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    layer_map: NDArray[np.uint8]
    """(H, W) index of the visible layer: SKY, GRASS, WATER, FIRST_THING + position in ``kinds``."""
    kinds: list[str]
    """Outline of each thing, a key of ``OUTLINES``."""
    own_areas: list[int]
    """Pixels of each thing inside the frame, were nothing in front of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mood:
    """Colours of one time of day."""

    zenith: Color
    horizon: Color
    light: Color


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    """One cut-out: its outline in units of ``radius`` around ``center_xy``, and its paint."""

    kind: str
    center_xy: tuple[float, float]
    radius: float
    angle: float
    aspect: float
    points: int
    colors: Floats
    pattern: int
    pitch: float


_MOODS = (
    _Mood(zenith=(0.24, 0.52, 0.85), horizon=(0.76, 0.88, 0.95), light=(1.00, 1.00, 0.97)),
    _Mood(zenith=(0.10, 0.57, 0.78), horizon=(0.68, 0.92, 0.92), light=(1.04, 1.03, 0.98)),
    _Mood(zenith=(0.46, 0.63, 0.84), horizon=(0.99, 0.87, 0.74), light=(1.04, 0.99, 0.91)),
    _Mood(zenith=(0.27, 0.27, 0.51), horizon=(0.97, 0.61, 0.42), light=(1.02, 0.86, 0.77)),
    _Mood(zenith=(0.50, 0.56, 0.61), horizon=(0.82, 0.84, 0.85), light=(0.93, 0.95, 0.97)),
    _Mood(zenith=(0.15, 0.18, 0.39), horizon=(0.75, 0.54, 0.70), light=(0.80, 0.78, 0.93)),
)
# What lies behind and before the second shore line, each pair equally likely.
_GROUNDS = ((GRASS, GRASS), (GRASS, WATER), (WATER, GRASS), (GRASS, WATER), (WATER, GRASS))


def _mix(first: Floats, second: Floats, amount: Floats | float) -> Floats:
    return first + (second - first) * amount


def _coverage(distance: Floats) -> Floats:
    """Share of each pixel inside an outline, exact for straight edges along an axis."""
    return np.clip(0.5 - distance, 0, 1)


def _noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float]) -> Floats:
    """(H, W) smooth noise of about unit variance whose bumps are ``cell`` = (y, x) pixels large."""
    import cv2

    height, width = size
    rows, columns = (max(2, round(n / max(c, 1.0)) + 1) for n, c in zip(size, cell, strict=True))
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(1.4)


# ---- Landscape


def _sky(rng: np.random.Generator, mood: _Mood, y: Floats, x: Floats, horizon: float) -> Floats:
    size = (y.shape[0], x.shape[1])
    zenith, low = (np.asarray(c, np.float32) for c in (mood.zenith, mood.horizon))
    image = _mix(zenith, low, np.clip(y / horizon, 0, 1)[..., None] ** 1.3 + 0 * x[..., None])
    unit = min(size)
    clouds = sum(
        weight * _noise(rng, size, (unit * cell, unit * cell * 2.6))
        for weight, cell in ((0.6, 0.22), (0.35, 0.09), (0.2, 0.04))
    )
    density = np.clip(clouds - rng.uniform(-0.1, 0.7), 0, 1)[..., None] * rng.uniform(0.3, 0.75)
    image = _mix(image, _mix(low, np.ones(3, np.float32), 0.7), density)
    glow_x, reach = rng.uniform(0, size[1]), 0.5 * unit
    glow = np.exp(-((x - glow_x) ** 2 + (y - horizon) ** 2) / reach**2)[..., None]
    return image + glow * np.array([0.16, 0.11, 0.04], np.float32)


def _grass(rng: np.random.Generator, mood: _Mood, depth: Floats, size: tuple[int, int]) -> Floats:
    """(H, W, 3) meadow. ``depth``: (H, 1) from 0 at the horizon to 1 at the lower edge."""
    unit = min(size)
    lush, dry = np.array([[0.24, 0.50, 0.20], [0.58, 0.60, 0.26]], np.float32)
    base = _mix(lush, dry, rng.uniform(0, 0.8)) * rng.uniform(0.85, 1.15)
    patches = _noise(rng, size, (unit * 0.07, unit * 0.25)) * 0.09
    blades = _noise(rng, size, (unit * 0.03, 1.2)) * (0.04 + 0.09 * depth)
    haze = np.asarray(mood.horizon, np.float32)
    image = base * (1.12 - 0.30 * depth + patches + blades)[..., None]
    return _mix(image, haze, 0.35 * np.exp(-5 * depth)[..., None])


def _water(rng: np.random.Generator, mood: _Mood, depth: Floats, size: tuple[int, int]) -> Floats:
    """(H, W, 3) rippled water that mirrors the sky. ``depth`` as in ``_grass``."""
    unit = min(size)
    zenith, low = (np.asarray(c, np.float32) for c in (mood.zenith, mood.horizon))
    deep = np.array([0.05, 0.33, 0.42], np.float32) * rng.uniform(0.8, 1.3)
    image = _mix(_mix(low, zenith, 0.5), _mix(zenith, deep, 0.65), depth[..., None] ** 0.6)
    far = _noise(rng, size, (unit * 0.014, unit * 0.10))
    near = _noise(rng, size, (unit * 0.035, unit * 0.22))
    ripples = _mix(far, near, depth) * (0.03 + 0.06 * depth)
    sparkle = np.clip(far - 1.5, 0, 1) * 0.35
    return image * (1 + ripples[..., None] * 1.4) + (sparkle + 0 * depth)[..., None]


def _shore(rng: np.random.Generator, level: float, swing: float, slope: float, x: Floats) -> Floats:
    """(1, W) height of a wavy line around ``level``."""
    phase = x / x.size
    waves = sum(
        swing / k * np.sin(2 * math.pi * (k * rng.uniform(0.4, 0.9) * phase + rng.uniform()))
        for k in (1, 2, 4)
    )
    return level + slope * (phase - 0.5) + waves


def _landscape(
    rng: np.random.Generator, mood: _Mood, y: Floats, x: Floats
) -> tuple[Floats, NDArray[np.uint8]]:
    """(H, W, 3) colours and (H, W) layers of sky, grass and water."""
    size = (y.shape[0], x.shape[1])
    height = size[0]
    far, near = _GROUNDS[rng.integers(len(_GROUNDS))]
    horizon = height * rng.uniform(0.28, 0.58)
    hills = 0.0 if far == WATER else height * rng.uniform(0.01, 0.06)
    shore = horizon + (height - horizon) * rng.uniform(0.25, 0.65)
    lines = (
        _shore(rng, horizon, hills, 0.0, x),
        _shore(rng, shore, height * 0.05, height * rng.uniform(-0.25, 0.25), x),
    )
    image = _sky(rng, mood, y, x, horizon)
    layers = np.full(size, SKY, np.uint8)
    depth = np.clip((y - horizon) / (height - horizon), 0, 1)
    for kind, line in zip((far, near), lines, strict=True):
        paint = (_grass if kind == GRASS else _water)(rng, mood, depth, size)
        # The near ground never rises above the horizon, however steep its shore.
        distance = np.maximum(line, lines[0]) - y
        image = _mix(image, paint, _coverage(distance)[..., None])
        layers[distance <= 0] = kind
    return image, layers


# ---- Outlines: signed distance, in units of the radius, at (u, v) of the thing's own frame


def _disc(u: Floats, v: Floats, thing: _Thing) -> Floats:
    """Ellipse with half axes 1 and ``aspect``; a first-order distance, exact at the outline."""
    half = max(thing.aspect, 0.75)
    scaled = np.hypot(u, v / half)
    return scaled * (scaled - 1) / np.maximum(np.hypot(u, v / half**2), 1e-6)


def _box(u: Floats, v: Floats, thing: _Thing) -> Floats:
    """Rectangle with half sides 0.9 and 0.9 ``aspect``, corners rounded by 0.08."""
    side_u, side_v = np.abs(u) - 0.82, np.abs(v) - (0.9 * thing.aspect - 0.08)
    outside = np.hypot(np.maximum(side_u, 0), np.maximum(side_v, 0))
    return outside + np.minimum(np.maximum(side_u, side_v), 0) - 0.08


def _star(u: Floats, v: Floats, thing: _Thing) -> Floats:
    """Star of 4 to 6 ``points``: folded into half a ray, then the distance to one segment."""
    sector = math.pi / thing.points
    theta = np.abs((np.arctan2(v, u) + sector) % (2 * sector) - sector)
    along, across = (np.hypot(u, v) * f(theta) for f in (np.cos, np.sin))
    inner = 0.45 + 0.1 * thing.aspect
    edge = np.array([inner * math.cos(sector) - 1.04, inner * math.sin(sector)])
    share = np.clip(((along - 1.04) * edge[0] + across * edge[1]) / (edge @ edge), 0, 1)
    gap = np.hypot(along - 1.04 - share * edge[0], across - share * edge[1])
    return np.where((along - 1.04) * edge[1] < across * edge[0], -gap, gap) - 0.04


OUTLINES: dict[str, Callable[[Floats, Floats, _Thing], Floats]] = {
    "disc": _disc,
    "box": _box,
    "star": _star,
}


# ---- Things


# Each kind tends to a hue, as many real things do; neighbouring ones overlap in their tails.
_HUES = {"disc": 0.98, "box": 0.12, "star": 0.78}


def _paint(rng: np.random.Generator, kind: str) -> Floats:
    """(2, 3) ground and pattern colour, in [0, 1]."""
    hue = (_HUES[kind] + rng.normal(0, 0.05)) % 1.0
    saturation, value = rng.uniform(0.4, 0.95), rng.uniform(0.45, 0.98)
    second = (hue + rng.normal(0, 0.05)) % 1.0
    value_2 = value * 0.62 if value > 0.7 else min(1.0, value * 1.55)
    colors = [
        colorsys.hsv_to_rgb(hue, saturation, value),
        colorsys.hsv_to_rgb(second, saturation * 0.8, value_2),
    ]
    return np.array(colors, np.float32)


def _place(
    rng: np.random.Generator, placed: list[_Thing], radius: float, size: tuple[int, int]
) -> tuple[float, float]:
    """A centre inside the frame: anywhere, or so that the shape touches or overlaps another one."""
    height, width = size
    center_x, center_y = rng.uniform(0.06, 0.94) * width, rng.uniform(0.12, 0.92) * height
    if placed and rng.uniform() < 0.55:
        other = placed[rng.integers(len(placed))]
        gap, angle = rng.uniform(0.45, 1.0) * (radius + other.radius), rng.uniform(0, 2 * math.pi)
        center_x = other.center_xy[0] + gap * math.cos(angle)
        center_y = other.center_xy[1] + gap * math.sin(angle)
    return (
        float(np.clip(center_x, 0.02 * width, 0.98 * width)),
        float(np.clip(center_y, 0.04 * height, 0.96 * height)),
    )


def _things(rng: np.random.Generator, size: tuple[int, int]) -> list[_Thing]:
    """2 to 6 things, the farthest (whose lower edge is highest in the frame) first."""
    count = int(rng.integers(2, 7))
    placed: list[_Thing] = []
    for _ in range(count):
        radius = min(size) * float(rng.uniform(0.12, 0.33 - 0.02 * count))
        kind = tuple(OUTLINES)[rng.integers(len(OUTLINES))]
        thing = _Thing(
            kind=kind,
            center_xy=_place(rng, placed, radius, size),
            radius=radius * (1.15 if kind == "star" else 1.0),
            angle=float(rng.uniform(0, 2 * math.pi)),
            aspect=float(rng.uniform(0.5, 1)),
            points=int(rng.integers(4, 7)),
            colors=_paint(rng, kind),
            pattern=int(rng.integers(5)),
            pitch=float(rng.uniform(0.3, 0.55)),
        )
        placed.append(thing)
    return sorted(placed, key=lambda thing: thing.center_xy[1] + thing.radius)


def _outline(thing: _Thing, y: Floats, x: Floats) -> tuple[Floats, Floats, Floats]:
    """Signed distance in pixels, and the thing's own coordinates (u, v), at the points (y, x)."""
    dx, dy = x - thing.center_xy[0], y - thing.center_xy[1]
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    u, v = (cos * dx + sin * dy) / thing.radius, (cos * dy - sin * dx) / thing.radius
    return OUTLINES[thing.kind](u, v, thing) * thing.radius, u, v


def _pattern(thing: _Thing, distance: Floats, u: Floats, v: Floats) -> Floats:
    """Share of the second colour: plain (twice), stripes, rim, dots."""
    sharpness = thing.radius * thing.pitch / math.pi
    if thing.pattern == 2:
        return np.clip(0.5 + sharpness * np.sin(2 * math.pi / thing.pitch * u), 0, 1)
    if thing.pattern == 3:
        return np.clip(0.5 + distance + 0.16 * thing.radius, 0, 1)
    if thing.pattern == 4:
        cells = np.cos(2 * math.pi / thing.pitch * u) + np.cos(2 * math.pi / thing.pitch * v)
        return np.clip(0.5 + sharpness * (cells - 0.9), 0, 1)
    return np.zeros_like(distance)


def _draw(thing: _Thing, image: Floats, sun_xy: Floats, tint: Floats) -> NDArray[np.bool_]:
    """Draws the shadow and the body of ``thing`` into ``image``; returns its (H, W) mask."""
    height, width = image.shape[:2]
    reach = 1.6 * thing.radius + 2
    y_0, x_0 = (max(0, int(thing.center_xy[a] - reach)) for a in (1, 0))
    y_1, x_1 = min(height, int(y_0 + 2 * reach) + 2), min(width, int(x_0 + 2 * reach) + 2)
    window = image[y_0:y_1, x_0:x_1]
    y = np.arange(y_0, y_1, dtype=np.float32)[:, None] + 0.5
    x = np.arange(x_0, x_1, dtype=np.float32) + 0.5

    drop = 0.16 * thing.radius
    shade, _, _ = _outline(thing, y + drop * sun_xy[1], x + drop * sun_xy[0])
    window *= 1 - 0.5 * np.clip(0.5 - shade / (0.3 * thing.radius), 0, 1)[..., None]

    distance, u, v = _outline(thing, y, x)
    color = _mix(thing.colors[0], thing.colors[1], _pattern(thing, distance, u, v)[..., None])
    grad_y, grad_x = np.gradient(distance)
    # The bevel: a quarter of the radius wide, tilted outwards along the gradient of the distance.
    tilt = np.clip(1 + distance / (0.25 * thing.radius), 0, 1) ** 1.5
    towards_sun = (x - thing.center_xy[0]) * sun_xy[0] + (y - thing.center_xy[1]) * sun_xy[1]
    light = 1 + 0.42 * tilt * (grad_x * sun_xy[0] + grad_y * sun_xy[1])
    light += 0.20 * towards_sun / thing.radius
    body = color * tint * light[..., None]
    coverage = _coverage(distance)
    window += (body - window) * coverage[..., None]

    mask = np.zeros((height, width), bool)
    mask[y_0:y_1, x_0:x_1] = coverage >= 0.5
    return mask


def _finish(rng: np.random.Generator, image: Floats, y: Floats, x: Floats) -> NDArray[np.uint8]:
    """Uneven light over the whole frame, a vignette, sensor noise, 8 bits."""
    height, width = image.shape[:2]
    across, down = x / width - 0.5, y / height - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0, 0.3) * (math.cos(angle) * across + math.sin(angle) * down)
    light -= 0.28 * (across**2 + down**2)
    image = image * (light * rng.uniform(0.9, 1.08))[..., None]
    grain = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0.006, 0.022)
    return np.clip((image + grain) * 255 + 0.5, 0, 255).astype(np.uint8)


def render_layers(rng: np.random.Generator, size: tuple[int, int]) -> Layers:
    """Renders one scene of ``size`` = (H, W) pixels from the numbers of ``rng`` alone."""
    height, width = size
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    x = np.arange(width, dtype=np.float32)[None] + 0.5
    mood = _MOODS[rng.integers(len(_MOODS))]
    image, layer_map = _landscape(rng, mood, y, x)
    image = np.ascontiguousarray(image, np.float32)
    angle = rng.uniform(1.15, 1.85) * math.pi
    sun_xy = np.array([math.cos(angle), math.sin(angle)], np.float32)
    tint = np.asarray(mood.light, np.float32)
    things = _things(rng, size)
    own_areas = []
    for position, thing in enumerate(things):
        mask = _draw(thing, image, sun_xy, tint)
        layer_map[mask] = FIRST_THING + position
        own_areas.append(int(mask.sum()))
    kinds = [thing.kind for thing in things]
    return Layers(_finish(rng, image, y, x), layer_map, kinds, own_areas)
