"""Times Panoptic-DeepLab's training targets, beside Detectron2's generator where it is there."""

from __future__ import annotations

from typing import Any

import torch
from panoptic_deeplab_scenes import THING_IDS, alternating, street

from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator

try:
    from detectron2.projects.panoptic_deeplab.target_generator import (
        PanopticDeepLabTargetGenerator as Reference,
    )
except ImportError:
    Reference = None

SETTINGS: dict[str, Any] = {
    "ignore_label": 255,
    "thing_ids": THING_IDS,
    "sigma": 10,
    "ignore_stuff_in_offset": True,
    "small_instance_area": 4096,
    "small_instance_weight": 3,
}
PAIRS = 7


def main() -> None:
    """Prints a row per number of things: milliseconds, ratio, largest difference."""
    torch.set_num_threads(1)  # as in a worker of the data loader
    print("targets at 1024x2048, one thread: things | ours, ms | Detectron2 / ours | difference")
    for things in (5, 30, 100):
        ids, segments = street(things)
        ours = PanopticDeepLabTargetGenerator(**SETTINGS)
        theirs = Reference(**SETTINGS) if Reference else None
        got = ours(ids, segments)
        difference = "-"
        if theirs:
            wanted = theirs(ids, segments)
            fields = [name for name in wanted if name != "center_points"]
            worst = max((got[name] - wanted[name]).abs().max().item() for name in fields)
            difference = f"{worst:.1g}"
        mine, ratio = alternating(
            lambda: ours(ids, segments),  # noqa: B023 - called before the loop goes on
            (lambda: theirs(ids, segments)) if theirs else None,  # noqa: B023
            pairs=PAIRS,
        )
        print(f"{things:4d} | {1e3 * mine:7.1f} | {ratio or float('nan'):6.1f} | {difference}")


if __name__ == "__main__":
    main()
