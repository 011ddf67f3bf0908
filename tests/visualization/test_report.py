"""The report: all of its parts are there, text is escaped, files are complete."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from math import nan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_projects import files
from seg_projects.visualization.overlay import Category
from seg_projects.visualization.report import Report, Table, report_html, write_report
from seg_projects.visualization.samples import Panoptic, Sample, panoptic_sample

BOX = Category(name="box", color=(250, 160, 30), is_thing=True)


class Page(HTMLParser):
    """Checks that tags nest, collects text and the addresses that the page refers to."""

    VOID = frozenset({"meta", "link", "img", "circle", "path", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.addresses += [value or "" for key, value in attrs if key in {"src", "href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())


def a_sample(name: str = "a.jpg", *, ground_truth: bool = True) -> Sample:
    picture = np.full((6, 8, 3), 90, np.uint8)
    return Sample(
        name=name,
        image=picture,
        ground_truth=picture if ground_truth else None,
        prediction=picture,
        caption="PQ 61.2",
    )


def full_report() -> Report:
    return Report(
        title="A run",
        summary="On shapes.",
        highlights={"PQ": 68.467, "Time": "3 min"},
        tables=[
            Table(title="By category", columns=["category", "PQ"], rows=[["box", 71.5]]),
            Table(
                title="Counts", columns=["", "n", "m"], rows=[["all", 6, None], ["none", 0, nan]]
            ),
        ],
        records=[{"iteration": 9, "total_loss": 2.5, "panoptic_seg/PQ": 12.0}],
        samples=[a_sample("a.jpg"), a_sample("b.jpg", ground_truth=False)],
        categories=[BOX],
        config={"MAX_ITER": "90"},
        environment={"torch": "2.11"},
    )


def test_the_page_holds_every_part() -> None:
    page = Page(report_html(full_report()))
    for text in (
        *("A run", "On shapes.", "68.47", "3 min", "By category", "71.50", "Counts", "6"),
        *("Total loss", "Panoptic quality", "a.jpg", "b.jpg", "PQ 61.2", "MAX_ITER", "90"),
        *("torch", "2.11", "Results", "Training", "Samples", "Setup"),
    ):
        assert text in page.text, text
    assert [image["alt"] for image in page.images] == [
        *("Image of a.jpg", "Ground truth of a.jpg", "Prediction of a.jpg"),
        *("Image of b.jpg", "Prediction of b.jpg"),
    ]
    assert page.text.count("–") == 2  # noqa: RUF001 - an en dash for None and NaN


def test_the_page_needs_nothing_else() -> None:
    html = report_html(full_report())
    assert all(a.startswith(("#", "data:")) for a in Page(html).addresses)
    assert not re.search(r"https?://|url\(|@import|<script", html)


def test_empty_parts_are_left_out() -> None:
    page = Page(report_html(Report(title="Nothing yet")))
    assert not {"Results", "Training", "Samples", "Setup"} & set(page.text)


def test_all_text_is_escaped() -> None:
    evil = "<script>alert('$title')</script>&\""
    report = Report(
        title=evil,
        summary=evil,
        highlights={evil: evil},
        tables=[Table(title=evil, columns=[evil], rows=[[evil]])],
        records=[{"iteration": 1, f"loss{evil}": 1.0}],
        samples=[replace(a_sample(), name=evil, caption=evil)],
        categories=[Category(name=evil, color=(1, 2, 3), is_thing=True)],
        config={evil: evil},
        environment={evil: evil},
    )
    html = report_html(report)
    assert "<script" not in html
    # Each field once or more; the page's title, the regions and images repeat some.
    assert Page(html).text.count(evil) >= 13


def test_images_are_embedded_as_they_are(tmp_path: Path) -> None:
    page = Page(report_html(Report(title="t", samples=[a_sample()])))
    header, _, content = (page.images[0]["src"] or "").partition(",")
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert (header, picture.format, picture.size) == (
            *("data:image/jpeg;base64", "JPEG"),
            (8, 6),
        )
        assert abs(np.asarray(picture).astype(int) - 90).max() <= 2


def test_a_category_in_a_table_has_its_colour() -> None:
    table = Table(title="t", columns=["", "PQ"], rows=[["box", 1.0], ["all", 1.0]])
    html = report_html(Report(title="t", tables=[table], categories=[BOX]))
    assert html.count("background:rgb(250,160,30)") == 1


def test_a_row_of_another_length_is_named() -> None:
    table = Table(title="Odd", columns=["a", "b"], rows=[[1.0]])
    with pytest.raises(ValueError, match="'Odd' has 2 columns, a row has 1"):
        report_html(Report(title="t", tables=[table]))


def test_page_and_pictures_are_written(tmp_path: Path) -> None:
    page = write_report(tmp_path / "new" / "run", full_report())
    assert page == tmp_path / "new" / "run" / "report.html"
    assert page.read_text(encoding="utf-8") == report_html(full_report())
    pictures = sorted((page.parent / "report").iterdir())
    assert [path.name for path in pictures] == ["001-a.jpg.png", "002-b.jpg.png"]
    sizes = [Image.open(path).size for path in pictures]
    assert sizes == [(3 * 8 + 2 * 8, 6), (2 * 8 + 8, 6)]  # panels and gaps, all 8 wide


def test_a_new_report_replaces_the_former_pictures(tmp_path: Path) -> None:
    write_report(tmp_path, full_report())
    write_report(tmp_path, Report(title="t", samples=[a_sample("c")]))
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["001-c.png"]


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    names = ["../../etc/x y", "same", "same", "", "é" * 300]
    write_report(tmp_path, Report(title="t", samples=[a_sample(name) for name in names]))
    written = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert written == ["001-etc-x-y.png", "002-same.png", "003-same.png", "004-.png", "005-.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "report.html"]


def test_an_interrupted_write_keeps_the_former_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write_report(tmp_path, Report(title="former"))
    former = page.read_bytes()

    def fail(handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path, Report(title="new"))
    assert page.read_bytes() == former
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "report.html"]


def test_small_images_are_enlarged_for_legible_names() -> None:
    image, ids = np.full((128, 160, 3), 90, np.uint8), np.ones((128, 160), np.int32)
    result = Panoptic(ids, [{"id": 1, "category_id": 3}])
    sample = panoptic_sample("a", image, prediction=result, categories={3: BOX})
    assert sample.ground_truth is None
    assert sample.image.shape == sample.prediction.shape == (512, 640, 3)


def test_large_images_keep_their_size() -> None:
    image, ids = np.full((420, 300, 3), 90, np.uint8), np.zeros((420, 300), np.int32)
    nothing = Panoptic(ids, [])
    sample = panoptic_sample("a", image, ground_truth=nothing, prediction=nothing, categories={})
    assert sample.image is image
    assert sample.ground_truth is not None
    assert np.array_equal(sample.ground_truth, sample.prediction)


def test_figures_below_one_have_the_digits_of_the_others() -> None:
    table = Table(title="T", columns=("a", "b", "c", "d"), rows=[(0.6409, 63.0, 0.0, 0.001)])
    text = Page(report_html(Report(title="R", tables=[table]))).text
    assert text[-4:] == ["0.64", "63.00", "0", "0.0010"]


def test_curves_say_what_they_run_over() -> None:
    records = [{"iteration": 0, "total_loss": 2.0}, {"iteration": 9, "total_loss": 1.0}]
    assert "Over the iterations; each name with its last value." in report_html(
        Report(title="R", records=records)
    )


def test_pictures_are_smaller_where_there_are_many() -> None:
    wide = np.full((4, 1200, 3), 90, np.uint8)
    sample = Sample(name="a", image=wide, prediction=wide)

    def width(samples: int) -> int:
        source = Page(report_html(Report(title="R", samples=[sample] * samples))).images[0]["src"]
        assert source is not None
        return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).width

    assert (width(48), width(49)) == (960, 480)
