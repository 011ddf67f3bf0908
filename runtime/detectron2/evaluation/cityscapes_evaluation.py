"""Cityscapes' own evaluation, by the package cityscapesScripts."""

from __future__ import annotations

import contextlib
import glob
import importlib
import logging
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

from detectron2.data.catalog import MetadataCatalog
from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.layers.label_map import label_map
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)


class CityscapesEvaluator(DatasetEvaluator):
    """What the two evaluators share: a folder, seen by all ranks, for the predictions as files."""

    def __init__(self, dataset_name: str) -> None:
        """Looks up the ground truth.

        Args:
            dataset_name: a registered data set of Cityscapes, e.g. "cityscapes_fine_sem_seg_val".
        """
        self._metadata = MetadataCatalog.get(dataset_name)

    def reset(self) -> None:
        """Makes an empty folder; all ranks must be on one machine."""
        self._folder = tempfile.TemporaryDirectory(prefix="cityscapes_eval_")
        # The folder of the main process serves all of them.
        self._predictions = comm.all_gather(self._folder.name)[0]
        if self._predictions != self._folder.name:
            self._folder.cleanup()
        logger.info("Writing predictions for Cityscapes' evaluation to %s ...", self._predictions)

    def _evaluate_folder(self, script: str, ground_truth: str, json_file: str | None) -> Any:
        """Runs one of cityscapesScripts' evaluations on the folder; None on the other ranks."""
        comm.synchronize()
        if not comm.is_main_process():
            return None
        evaluation = _cityscapes_script(script)
        evaluation.args.predictionPath = os.path.abspath(self._predictions)
        evaluation.args.predictionWalk = None
        evaluation.args.JSONOutput = False
        evaluation.args.colorized = False
        if json_file is not None:
            # The script keeps the ground truth's instances in a file of this name.
            evaluation.args.gtInstancesFile = os.path.join(self._predictions, json_file)
        folder = PathManager.get_local_path(self._metadata.gt_dir)
        truth = sorted(glob.glob(os.path.join(folder, "*", ground_truth)))
        if not truth:
            raise AssertionError(
                f"There are no {ground_truth} in the folders of {folder}. The test split of"
                " Cityscapes has none; for the others, unpack gtFine_trainvaltest.zip."
            )
        # The two scripts have these parameters in different orders.
        predictions = [
            evaluation.getPrediction(groundTruthFile=path, args=evaluation.args) for path in truth
        ]
        with _made_to_run(evaluation):
            return evaluation.evaluateImgLists(predictions, truth, evaluation.args)


class CityscapesInstanceEvaluator(CityscapesEvaluator):
    """AP of instances by Cityscapes' definition: ``{"segm": {"AP", "AP50"}}`` in percent."""

    def process(self, inputs: Any, outputs: Any) -> None:
        """Writes the masks of a batch.

        Args:
            inputs: dicts with "file_name".
            outputs: dicts with "instances": ``pred_masks``, ``scores``, ``pred_classes``.
        """
        from PIL import Image

        label_ids = {c["name"]: c["id"] for c in CITYSCAPES_CATEGORIES}
        for item, output in zip(inputs, outputs, strict=False):
            stem = Path(item["file_name"]).stem
            instances = output["instances"].to("cpu")
            lines = []
            for index in range(len(instances)):
                name = self._metadata.thing_classes[int(instances.pred_classes[index])]
                mask_file = f"{stem}_{index}_{name}.png"
                mask = np.asarray(instances.pred_masks[index]).astype(np.uint8)
                Image.fromarray(mask * 255).save(os.path.join(self._predictions, mask_file))
                lines.append(f"{mask_file} {label_ids[name]} {float(instances.scores[index])}\n")
            Path(self._predictions, f"{stem}_pred.txt").write_text("".join(lines))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Evaluates the files of all ranks; None on ranks other than the main one."""
        results = self._evaluate_folder(
            "evalInstanceLevelSemanticLabeling", "*_gtFine_instanceIds.png", "gtInstances.json"
        )
        if results is None:
            return None
        averages = results["averages"]
        self._folder.cleanup()
        return OrderedDict(
            {
                "segm": {
                    "AP": 100 * float(averages["allAp"]),
                    "AP50": 100 * float(averages["allAp50%"]),
                }
            }
        )


class CityscapesSemSegEvaluator(CityscapesEvaluator):
    """IoU by Cityscapes' definition, in percent.

    Results are ``{"sem_seg": {"IoU", "iIoU", "IoU_sup", "iIoU_sup"}}``: over classes and over their
    groups ("sup"), by pixels and weighted by instances ("i").
    """

    def process(self, inputs: Any, outputs: Any) -> None:
        """Writes the label maps of a batch.

        Args:
            inputs: dicts with "file_name".
            outputs: dicts with "sem_seg": (19, H, W) scores by train id.
        """
        from PIL import Image

        label_ids = np.full(256, 255, dtype=np.uint8)
        for category in CITYSCAPES_CATEGORIES:
            label_ids[category["trainId"]] = category["id"]
        for item, output in zip(inputs, outputs, strict=False):
            labels = label_ids[label_map(output["sem_seg"]).cpu().numpy()]
            path = os.path.join(self._predictions, f"{Path(item['file_name']).stem}_pred.png")
            Image.fromarray(labels).save(path)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Evaluates the files of all ranks; None on ranks other than the main one."""
        results = self._evaluate_folder(
            "evalPixelLevelSemanticLabeling", "*_gtFine_labelIds.png", None
        )
        if results is None:
            return None
        self._folder.cleanup()
        names = {
            "IoU": "averageScoreClasses",
            "iIoU": "averageScoreInstClasses",
            "IoU_sup": "averageScoreCategories",
            "iIoU_sup": "averageScoreInstCategories",
        }
        scores = {key: 100 * float(results[name]) for key, name in names.items()}
        return OrderedDict({"sem_seg": scores})


@contextlib.contextmanager
def _made_to_run(script: ModuleType) -> Iterator[None]:
    """Lets cityscapesScripts 2.3 run with today's numpy, and leave no files behind.

    It calls ``numpy.in1d``, which numpy 2.4 removed, and writes its matches, whose numpy integers
    JSON does not know, into the current folder.
    """
    with contextlib.ExitStack() as stack:
        if not hasattr(np, "in1d"):
            stack.enter_context(mock.patch.object(np, "in1d", np.isin, create=True))
        stack.enter_context(mock.patch.object(script, "writeDict2JSON"))
        yield


def _cityscapes_script(name: str) -> ModuleType:
    # The scripts parse this variable when they are imported.
    os.environ.setdefault("CITYSCAPES_DATASET", "")
    try:
        return importlib.import_module(f"cityscapesscripts.evaluation.{name}")
    except ImportError as error:
        raise ImportError(
            f"Cityscapes' evaluation needs the package cityscapesScripts ({error}):"
            " pip install cityscapesscripts."
        ) from error
