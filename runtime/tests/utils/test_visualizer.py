"""What is drawn, and where."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden

from detectron2.data.catalog import Metadata
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from detectron2.utils.drawing import GenericMask, change_brightness
from detectron2.utils.visualizer import ColorMode, VisImage, Visualizer

HEIGHT, WIDTH = 60, 80


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture
def metadata() -> Metadata:
    return Metadata(
        name="drawn",
        thing_classes=["cat", "dog"],
        thing_colors=[(250, 0, 0), (0, 250, 0)],
        thing_dataset_id_to_contiguous_id={1: 0, 2: 1},
        stuff_classes=["things", "sky", "road"],
        stuff_colors=[(0, 0, 0), (0, 0, 250), (200, 200, 200)],
        label_divisor=1000,
    )


@pytest.fixture
def block() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[20:50, 10:60] = True
    return mask


def black(metadata: Metadata | None = None, **keywords: Any) -> Visualizer:
    return Visualizer(np.zeros((HEIGHT, WIDTH, 3)), metadata, **keywords)


def texts(output: VisImage) -> list[str]:
    return [text.get_text() for text in output.ax.texts]


def detections(masks: list[np.ndarray]) -> Instances:
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_masks = torch.from_numpy(np.stack(masks))
    instances.pred_boxes = BitMasks(instances.pred_masks).get_bounding_boxes()
    instances.scores = torch.linspace(0.9, 0.5, len(masks))
    instances.pred_classes = torch.arange(len(masks)) % 2
    return instances


class TestVisImage:
    def test_nothing_drawn_gives_the_image_back(self, image: np.ndarray) -> None:
        drawn = Visualizer(image).get_output().get_image()
        assert drawn.dtype == np.uint8
        assert np.array_equal(drawn, image)

    def test_size_and_type_are_the_recorded_ones(self) -> None:
        golden = Golden("predictor_and_misc")
        drawn = Visualizer(golden.input_array("image"), scale=1.5).get_output().get_image()
        facts = golden.json("facts")
        assert (list(drawn.shape), str(drawn.dtype)) == (facts["vis_shape"], facts["vis_dtype"])

    @pytest.mark.parametrize(("scale", "size"), [(0.33, (19, 26)), (2.0, (120, 160))])
    def test_size_is_rounded_down(
        self, image: np.ndarray, scale: float, size: tuple[int, int]
    ) -> None:
        assert VisImage(image, scale).get_image().shape == (*size, 3)

    def test_twice_the_size_repeats_pixels(self, image: np.ndarray) -> None:
        expected = image.repeat(2, axis=0).repeat(2, axis=1)
        assert np.array_equal(VisImage(image, 2.0).get_image(), expected)

    def test_the_image_can_be_exchanged_below_the_drawing(self, image: np.ndarray) -> None:
        output = VisImage(image)
        output.reset_image(255 - image)
        assert np.array_equal(output.get_image(), 255 - image)

    def test_saved_files_hold_the_drawing(self, image: np.ndarray, tmp_path: Path) -> None:
        from PIL import Image

        VisImage(image).save(str(tmp_path / "drawn.png"))
        with Image.open(tmp_path / "drawn.png") as saved:
            assert np.array_equal(np.asarray(saved.convert("RGB")), image)

    def test_values_beyond_the_range_are_cut(self) -> None:
        drawn = Visualizer(np.array([[[-5.0, 300, 7.9]]])).get_output().get_image()
        assert drawn.tolist() == [[[0, 255, 7]]]


class TestGenericMask:
    def test_polygons_and_runs_become_the_same_mask(self, block: np.ndarray) -> None:
        from pycocotools import mask as coco_mask

        runs = coco_mask.encode(np.asfortranarray(block.astype(np.uint8)))
        # Column by column: ten empty ones, then 30 of 60 rows of each.
        counts = [10 * 60 + 20, *[30, 30] * 49, 30, 10 + 20 * 60]
        plain = {"counts": counts, "size": [HEIGHT, WIDTH]}
        polygon = [10, 20, 60, 20, 60, 50, 10, 50]
        for form in (block, runs, plain, [polygon]):
            mask = GenericMask(form, HEIGHT, WIDTH)
            assert np.array_equal(mask.mask, block)
            assert mask.area() == 30 * 50
            assert mask.bbox().tolist() == [10, 20, 60, 50]
            assert not mask.has_holes

    def test_an_outline_runs_through_the_centers_of_the_border(self, block: np.ndarray) -> None:
        (outline,) = GenericMask(block, HEIGHT, WIDTH).polygons
        assert outline[0::2].min() == 10.5
        assert outline[0::2].max() == 59.5
        assert outline[1::2].max() == 49.5

    def test_a_hole_has_an_outline_too(self, block: np.ndarray) -> None:
        block[30:40, 30:40] = False
        mask = GenericMask(block, HEIGHT, WIDTH)
        assert mask.has_holes
        assert len(mask.polygons) == 2

    def test_an_empty_mask_has_nothing(self) -> None:
        mask = GenericMask(np.zeros((HEIGHT, WIDTH)), HEIGHT, WIDTH)
        assert mask.polygons == []
        assert (mask.area(), mask.has_holes) == (0, False)
        assert mask.bbox().tolist() == [0, 0, 0, 0]

    def test_another_size_is_refused(self) -> None:
        with pytest.raises(AssertionError, match=r"\(2, 3\), the image \(60, 80\)"):
            GenericMask(np.zeros((2, 3)), HEIGHT, WIDTH)

    def test_another_type_is_refused(self) -> None:
        with pytest.raises(ValueError, match="not a int"):
            GenericMask(3, HEIGHT, WIDTH)


class TestShapes:
    def test_a_mask_covers_its_pixels_with_its_opacity(self, block: np.ndarray) -> None:
        drawn = black().draw_binary_mask(block, (1.0, 0, 0), alpha=0.4).get_image()
        assert drawn[30, 30].tolist() == pytest.approx([102, 0, 0], abs=1)
        assert not drawn[~block & ~np.roll(block, 1, 0) & ~np.roll(block, -1, 0)][:, 1:].any()
        assert drawn[5, 5].tolist() == [0, 0, 0]

    def test_a_hole_stays_open(self, block: np.ndarray) -> None:
        block[28:42, 28:42] = False
        for drawn in (
            black().draw_binary_mask(block, "r").get_image(),
            black().overlay_instances(masks=[block], assigned_colors=["r"]).get_image(),
        ):
            assert drawn[35, 35].tolist() == [0, 0, 0]
            assert drawn[24, 20, 0] > 100

    def test_polygons_of_either_direction_add_up(self) -> None:
        square = np.array([10.0, 10, 50, 10, 50, 50, 10, 50])
        masks = PolygonMasks([[square, square.reshape(-1, 2)[::-1].ravel() + 10]])
        output = black().overlay_instances(masks=masks, assigned_colors=["r"])
        assert output.get_image()[40, 40, 0] > 100

    def test_small_outlines_are_left_out(self, block: np.ndarray) -> None:
        output = black().draw_binary_mask(block, "r", text="block", area_threshold=5000)
        assert not output.get_image().any()
        assert texts(output) == []

    def test_an_empty_mask_draws_nothing(self) -> None:
        output = black().draw_binary_mask(np.zeros((HEIGHT, WIDTH)), text="none")
        assert not output.get_image().any()

    def test_a_soft_mask_scales_its_opacity(self, block: np.ndarray) -> None:
        output = black().draw_soft_mask(block * 0.6, (0, 0, 1.0), alpha=0.5, text="soft")
        assert output.get_image()[45, 12].tolist() == pytest.approx([0, 0, 76], abs=2)
        assert texts(output) == ["soft"]

    def test_text_stands_in_the_middle_of_the_largest_component(self, block: np.ndarray) -> None:
        block[:3, :3] = True
        (text,) = black().draw_binary_mask(block, "r", text="here").ax.texts
        assert text.get_position() == (34.5, 34.5)

    def test_text_is_bright(self) -> None:
        (text,) = black().draw_text("dark", (5, 5), color=(0.1, 0.1, 0.1)).ax.texts
        assert text.get_color() == pytest.approx((0.8, 0.2, 0.2))

    def test_a_box_has_a_frame_only(self) -> None:
        drawn = black().draw_box((10, 10, 50, 40), edge_color="w", alpha=1).get_image()
        assert drawn[10, 30].min() > 200
        assert not drawn[25, 30].any()

    def test_lines_disks_and_polygons_cover_their_places(self) -> None:
        drawer = black()
        drawer.draw_line([0, WIDTH], [5, 5], "w")
        drawer.draw_circle((60, 40), "w", radius=6)
        drawer.draw_polygon(np.array([[10, 20], [30, 20], [30, 40], [10, 40]]), "w", alpha=1)
        drawn = drawer.get_output().get_image()
        assert all(drawn[y, x].min() > 200 for y, x in ((5, 40), (40, 60), (30, 20)))
        assert not drawn[50, 20].any()

    def test_a_nearly_opaque_polygon_has_a_darker_edge(self) -> None:
        corners = np.array([[10, 20], [30, 20], [30, 40]])
        (patch,) = black().draw_polygon(corners, (1.0, 0, 0), alpha=0.9).ax.patches
        assert patch.get_edgecolor() == pytest.approx((0.3, 0, 0, 1))

    def test_brightness_changes_in_proportion_and_has_limits(self) -> None:
        assert change_brightness("r", 0.7) == pytest.approx((1, 0.7, 0.7))
        assert change_brightness("r", -0.7) == pytest.approx((0.3, 0, 0))
        assert change_brightness("w", 0.7) == (1, 1, 1)


class TestInstances:
    def test_labels_have_names_and_scores_the_largest_first(
        self, block: np.ndarray, metadata: Metadata
    ) -> None:
        small = np.zeros_like(block)
        small[2:8, 2:8] = True
        output = black(metadata).draw_instance_predictions(detections([small, block]))
        assert texts(output) == ["dog 50%", "cat 90%"]

    def test_without_names_the_class_number_is_written(self, block: np.ndarray) -> None:
        assert texts(black().draw_instance_predictions(detections([block]))) == ["0 90%"]

    def test_scores_alone_are_written(self) -> None:
        instances = Instances((HEIGHT, WIDTH), scores=torch.tensor([0.456]))
        instances.pred_boxes = Boxes([[5, 5, 50, 50]])
        assert texts(black().draw_instance_predictions(instances)) == ["46%"]

    @pytest.mark.parametrize("jittering", [True, False])
    def test_class_colors_are_kept_or_varied(
        self, block: np.ndarray, metadata: Metadata, jittering: bool
    ) -> None:
        drawer = black(metadata, instance_mode=ColorMode.SEGMENTATION)
        output = drawer.draw_instance_predictions(detections([block]), jittering=jittering)
        edge = np.array(output.ax.patches[1].get_edgecolor()[:3])
        distance = np.abs(edge - [250 / 255, 0, 0])
        assert distance.max() <= 0.5
        assert (distance.max() < 1e-6) != jittering

    def test_what_was_not_found_turns_gray(self, image: np.ndarray, block: np.ndarray) -> None:
        drawer = Visualizer(image, instance_mode=ColorMode.IMAGE_BW)
        drawn = drawer.draw_instance_predictions(detections([block])).get_image()
        assert (drawn[56:] == drawn[56:, :, :1]).all()
        assert not (drawn[30:40, 20:50] == drawn[30:40, 20:50, :1]).all()

    def test_no_instances_draw_nothing(self, image: np.ndarray) -> None:
        drawer = Visualizer(image)
        drawer.draw_instance_predictions(Instances((HEIGHT, WIDTH)))
        drawer.draw_instance_predictions(detections([np.ones((HEIGHT, WIDTH), bool)])[:0])
        drawer.overlay_instances()
        assert np.array_equal(drawer.get_output().get_image(), image)

    def test_masks_of_every_kind_are_drawn_alike(self, block: np.ndarray) -> None:
        stack = block[None]
        kinds = [stack, torch.from_numpy(stack), BitMasks(stack), list(stack)]
        drawn = [
            black().overlay_instances(masks=kind, assigned_colors=["g"]).get_image()
            for kind in kinds
        ]
        assert drawn[0].any()
        assert all(np.array_equal(other, drawn[0]) for other in drawn[1:])

    def test_small_instances_are_labelled_beside(self) -> None:
        boxes = np.array([[20, 20, 25, 25], [60, 50, 70, 58]])
        output = black().overlay_instances(boxes=boxes, labels=["below", "right"])
        positions = {text.get_text(): text.get_position() for text in output.ax.texts}
        assert positions == {"below": (20, 25), "right": (70, 50)}

    def test_an_instance_without_outline_has_no_label(self) -> None:
        output = black().overlay_instances(masks=np.zeros((1, HEIGHT, WIDTH)), labels=["none"])
        assert texts(output) == []

    def test_unequal_numbers_are_refused(self) -> None:
        with pytest.raises(AssertionError, match="differ in number"):
            black().overlay_instances(boxes=np.ones((2, 4)), labels=["one"])

    def test_keypoints_are_refused(self) -> None:
        with pytest.raises(NotImplementedError, match="keypoints"):
            black().overlay_instances(keypoints=torch.zeros(1, 17, 3))


class TestSegments:
    def test_classes_are_drawn_in_their_colors_and_named(
        self, block: np.ndarray, metadata: Metadata
    ) -> None:
        output = black(metadata).draw_sem_seg(torch.from_numpy(np.where(block, 2, 1)), alpha=0.8)
        assert texts(output) == ["sky", "road"]
        drawn = output.get_image()
        assert drawn[55, 5].tolist() == pytest.approx([0, 0, 200], abs=1)
        assert drawn[22, 14].tolist() == pytest.approx([160, 160, 160], abs=1)

    def test_ignored_pixels_and_text_are_left_out(
        self, block: np.ndarray, metadata: Metadata
    ) -> None:
        output = black(metadata).draw_sem_seg(np.where(block, 1, 255), draw_text=False)
        assert texts(output) == []
        assert not output.get_image()[:15].any()

    def test_names_are_needed_for_a_map(self) -> None:
        with pytest.raises(AttributeError, match="stuff_classes"):
            black().draw_sem_seg(np.zeros((HEIGHT, WIDTH), int))

    def test_stuff_lies_below_things(self, block: np.ndarray, metadata: Metadata) -> None:
        segments: list[dict[str, Any]] = [
            {"id": 2, "isthing": True, "category_id": 1, "score": 0.7},
            {"id": 1, "isthing": False, "category_id": 1},
            {"id": 9, "isthing": False, "category_id": 2},
        ]
        ids = torch.from_numpy(np.where(block, 2, 1))
        output = black(metadata).draw_panoptic_seg_predictions(ids, segments)
        assert texts(output) == ["sky", "dog 70%"]
        assert output.get_image()[45, 12, 1] > 150

    def test_ids_may_hold_the_category(self, block: np.ndarray, metadata: Metadata) -> None:
        # Category 1 is a thing; so -1 is void.
        output = black(metadata).draw_panoptic_seg(np.where(block, 1003, -1), None)
        assert texts(output) == ["dog"]

    def test_void_turns_gray(
        self, image: np.ndarray, block: np.ndarray, metadata: Metadata
    ) -> None:
        drawer = Visualizer(image, metadata, instance_mode=ColorMode.IMAGE_BW)
        segments = [{"id": 5, "isthing": False, "category_id": 1}]
        drawn = drawer.draw_panoptic_seg(torch.from_numpy(block * 5), segments).get_image()
        assert (drawn[:18] == drawn[:18, :, :1]).all()

    def test_a_record_is_drawn_with_files(
        self, block: np.ndarray, metadata: Metadata, tmp_path: Path
    ) -> None:
        from PIL import Image

        Image.fromarray(np.where(block, 1, 255).astype(np.uint8)).save(tmp_path / "sem.png")
        # The segment id 258 is 2 + 1 * 256.
        colors = np.where(block[..., None], [2, 1, 0], 0).astype(np.uint8)
        Image.fromarray(colors).save(tmp_path / "pan.png")
        record = {
            "annotations": [
                {
                    "bbox": [5, 5, 40, 50],
                    "bbox_mode": BoxMode.XYWH_ABS,
                    "category_id": 0,
                    "segmentation": [[5, 5, 45, 5, 45, 50]],
                    "iscrowd": 1,
                }
            ],
            "sem_seg_file_name": str(tmp_path / "sem.png"),
            "pan_seg_file_name": str(tmp_path / "pan.png"),
            "segments_info": [{"id": 258, "isthing": False, "category_id": 2}],
        }
        assert texts(black(metadata).draw_dataset_dict(record)) == ["cat|crowd", "sky", "road"]

    def test_a_record_without_annotations_is_the_image(self, image: np.ndarray) -> None:
        assert np.array_equal(Visualizer(image).draw_dataset_dict({}).get_image(), image)


def test_importing_leaves_matplotlib_alone() -> None:
    code = (
        "import sys, torch, detectron2.utils.visualizer;"
        "print([m for m in ('matplotlib', 'cv2', 'pycocotools') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
