"""The data doctor's page: self-contained, findings in order, whatever the data are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_projects.data.doctor import CategoryCount, DataStatistics, Finding, data_statistics
from seg_projects.visualization.data_page import (
    DataPage,
    data_page_html,
    histogram,
    marked_image,
    write_data_page,
)

CATEGORIES = [
    CategoryCount(name="cat <b>", objects=3, images=1, pixels=40),
    CategoryCount(name="dog", objects=0, images=0, pixels=0),
]
STATISTICS = DataStatistics(
    categories=CATEGORIES,
    image_sizes=Counter({(40, 30): 1}),
    objects_per_image=[3],
    relative_sizes=[0.1, 0.1, 0.5],
    gaps=[],
    colors=np.array([[200.0, 10.0, 10.0]]),
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), (0, 0, 0)).save(tmp_path / "a.png")
    return tmp_path


def _page(images: Path, *findings: Finding) -> str:
    page = DataPage(title="x.json", findings=findings, statistics=STATISTICS, images=images)
    return data_page_html(page)


def test_page_needs_no_other_file(images: Path) -> None:
    shape = {"bbox": [5, 5, 10, 10], "segmentation": [[5, 5, 15, 5, 15, 15]]}
    html = _page(images, Finding("wrong area", "annotation 1", "9", image="a.png", shape=shape))
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert html.count("<img ") == 1


def test_errors_come_first_and_text_is_escaped(images: Path) -> None:
    html = _page(
        images,
        Finding("wrong area", "annotation 1", "<script>"),
        Finding("missing image", "b.png", "absent"),
    )
    assert "<script>" not in html
    assert "cat &lt;b&gt;" in html
    assert html.index("b.png: absent") < html.index("annotation 1: &lt;script&gt;")


def test_clean_and_empty_data_have_a_page(tmp_path: Path) -> None:
    content = {"images": [], "annotations": [], "categories": []}
    statistics = data_statistics(content, {})
    page = DataPage(title="empty", findings=[], statistics=statistics, images=tmp_path)
    html = write_data_page(tmp_path / "new" / "page.html", page).read_text()
    assert "found no defects" in html
    assert statistics.lines() == ["images: 0 sizes, 0-0 x 0-0 pixels"]


def test_shape_is_drawn_on_the_shrunk_image(images: Path) -> None:
    Image.new("RGB", (840, 420)).save(images / "b.png")
    shape = {"bbox": [0, 0, 839, 419], "segmentation": None}
    picture = marked_image(images, Finding("wrong area", "", "", image="b.png", shape=shape))
    assert picture is not None
    assert picture.size == (420, 210)
    assert picture.getpixel((1, 100)) == (255, 45, 85)


@pytest.mark.parametrize("name", [None, "absent.png", "text.png"])
def test_image_that_cannot_be_shown_has_no_sample(images: Path, name: str | None) -> None:
    (images / "text.png").write_text("no image")
    assert marked_image(images, Finding("missing image", "", "", image=name)) is None


@pytest.mark.parametrize(
    "shape", [{}, {"bbox": None}, {"bbox": [0, 0, -3, float("nan")], "segmentation": [["x"], [1]]}]
)
def test_shape_without_numbers_draws_nothing(images: Path, shape: dict[str, object]) -> None:
    picture = marked_image(images, Finding("malformed box", "", "", image="a.png", shape=shape))
    assert picture is not None
    assert not np.asarray(picture).any()


def test_histogram_counts_every_value() -> None:
    svg = histogram("Size", "pixels", np.array([1.0, 1.0, 5.0]), bins=2)
    heights = [float(h) for h in re.findall(r' height="([\d.]+)" rx', svg)]
    assert heights == [120, 60]
    assert histogram("Size", "", np.array([])) == ""


def test_statistics_count_objects_and_shares() -> None:
    content = {
        "images": [{"id": 0, "file_name": "a", "height": 10, "width": 10}],
        "annotations": [
            {"image_id": 0, "category_id": 1, "area": 25},
            {"image_id": 0, "category_id": 1, "area": None},
            {"image_id": 9, "category_id": 1, "area": 25},
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    statistics = data_statistics(content, {"a": (1.0, 2.0, 3.0)})
    assert statistics.categories == [CategoryCount(name="cat", objects=2, images=1, pixels=25)]
    assert (statistics.objects_per_image, statistics.relative_sizes) == ([2], [0.5])
    assert statistics.lines()[-1].endswith("1.0 (+-0.0), 2.0 (+-0.0), 3.0 (+-0.0)")
