"""Pictures for pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from seg_projects.visualization.pictures import read_picture


def test_grey_of_16_bits_is_scaled_not_cut_off(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.asarray(read_picture(tmp_path / "deep.png"))[0].tolist() == [
        [value] * 3 for value in (0, 1, 128, 255)
    ]
