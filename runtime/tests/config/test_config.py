"""CfgNode: merging from files, lists and other trees, as recorded, with clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from golden import Golden, exception_name

from detectron2.config import CfgNode, get_cfg, global_cfg, set_global_cfg

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and returns its path."""

    def _write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return _write


def facts() -> Any:
    return Golden("config_semantics").json("facts")


def merged(path: str) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(path)
    return cfg


def test_a_file_goes_over_its_base_and_lists_become_tuples(write: Write) -> None:
    write("base.yaml", "SOLVER: {BASE_LR: 0.5, MAX_ITER: 6, STEPS: [3, 4]}")
    leaf = write("leaf.yaml", "_BASE_: base.yaml\nSOLVER: {MAX_ITER: 7}\nMODEL: {MASK_ON: true}")
    cfg = merged(leaf)
    solver = cfg.SOLVER
    got = [solver.BASE_LR, solver.MAX_ITER, list(solver.STEPS), cfg.MODEL.MASK_ON]
    assert [*got, type(solver.STEPS).__name__] == facts()["base"]


def test_later_bases_go_over_earlier_ones(write: Write) -> None:
    write("a.yaml", "SEED: 1\nVIS_PERIOD: 1")
    write("sub/b.yaml", "SEED: 2")
    cfg = merged(write("leaf.yaml", "_BASE_: [a.yaml, sub/b.yaml]"))
    assert (cfg.SEED, cfg.VIS_PERIOD) == (2, 1)


def test_strings_in_a_list_are_read_as_literals() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(
        ["SOLVER.BASE_LR", "0.25", "SOLVER.STEPS", "[1, 2]", "DATASETS.TRAIN", "('a', 'b')"]
    )
    cfg.merge_from_list(["MODEL.WEIGHTS", "x.pth", "SOLVER.MAX_ITER", 300])
    got = [cfg.SOLVER.BASE_LR, list(cfg.SOLVER.STEPS), list(cfg.DATASETS.TRAIN)]
    assert [*got, cfg.MODEL.WEIGHTS, cfg.SOLVER.MAX_ITER] == facts()["list"]


def test_a_call_in_a_list_stays_a_string() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", "__import__('os').getcwd()"])
    assert cfg.OUTPUT_DIR == "__import__('os').getcwd()"


def from_list(*pairs: Any) -> Callable[[], None]:
    return lambda: get_cfg().merge_from_list(list(pairs))


@pytest.mark.parametrize(
    ("case", "call"),
    [
        ("unknown_key_list", from_list("MODEL.NOPE", 1)),
        ("wrong_type", from_list("SOLVER.MAX_ITER", "many")),
        ("int_for_float", from_list("SOLVER.BASE_LR", 1)),
        ("float_for_int", from_list("SOLVER.MAX_ITER", 1.5)),
        ("list_for_tuple", from_list("SOLVER.STEPS", [1, 2])),
        ("odd_list", from_list("SOLVER.MAX_ITER")),
        ("bool_for_int", from_list("SOLVER.MAX_ITER", True)),
        ("missing_file", lambda: get_cfg().merge_from_file("nowhere.yaml")),
        ("missing_attr", lambda: get_cfg().MODEL.NOPE),
        ("new_attr", lambda: setattr(get_cfg().MODEL, "NEW", 1)),
    ],
)
def test_misuse_raises_as_recorded(case: str, call: Callable[[], object]) -> None:
    assert exception_name(call) == facts()["errors"][case]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("unknown_key_file", "MODEL: {NOPE: 1}"),
        ("old_version", "VERSION: 1\nSOLVER: {BASE_LR: 0.5}"),
        ("unsafe_python_tuple", "SOLVER: {STEPS: !!python/tuple [1, 2]}"),
    ],
)
def test_files_are_accepted_as_recorded(write: Write, case: str, text: str) -> None:
    path = write("x.yaml", text)
    assert exception_name(lambda: merged(path)) == facts()["errors"][case]


def test_computed_keys_are_set_once_even_when_frozen() -> None:
    cfg = get_cfg()
    cfg.freeze()
    cfg.COMPUTED_X = 1
    errors = facts()["errors"]
    assert exception_name(lambda: setattr(cfg, "COMPUTED_X", 1)) == errors["computed_same"]
    assert exception_name(lambda: setattr(cfg, "COMPUTED_X", 2)) == errors["reassign_computed"]
    assert exception_name(lambda: setattr(cfg, "SEED", 2)) == errors["frozen"]


def test_a_clone_is_independent_and_the_version_recorded() -> None:
    cfg = get_cfg()
    cfg.clone().SOLVER.MAX_ITER = 1
    assert facts()["clone_independent"] == cfg.SOLVER.MAX_ITER
    assert facts()["version"] == cfg.VERSION


def test_dumped_tuples_come_back_as_lists() -> None:
    dumped = CfgNode(yaml.safe_load(get_cfg().dump()))
    assert (dumped == get_cfg()) is facts()["dump_roundtrip"]
    assert dumped.SOLVER.STEPS == [30000]


def test_an_unknown_key_is_answered_with_the_nearest(write: Write) -> None:
    with pytest.raises(KeyError, match=r"SOLVER\.MAXITER.*nearest known key is SOLVER\.MAX_ITER"):
        merged(write("x.yaml", "SOLVER: {MAXITER: 1}"))
    with pytest.raises(AssertionError, match=r"nearest known key is SOLVER\.MAX_ITER"):
        get_cfg().merge_from_list(["SOLVER.MAXITER", 1])


def test_a_key_below_a_value_does_not_exist() -> None:
    with pytest.raises(AssertionError, match=r"SEED\.X"):
        get_cfg().merge_from_list(["SEED.X", 1])


def test_an_unknown_key_leaves_the_tree_unchanged() -> None:
    cfg = get_cfg()
    with pytest.raises(KeyError, match="NOPE"):
        cfg.merge_from_other_cfg(CfgNode({"SEED": 5, "NOPE": 1}))
    with pytest.raises(AssertionError, match="NOPE"):
        cfg.merge_from_list(["SEED", 5, "NOPE", 1])
    assert cfg.SEED == -1


def test_renamed_and_deprecated_keys_keep_their_answers() -> None:
    cfg = get_cfg()
    cfg.register_renamed_key("OLD", "SEED")
    cfg.register_deprecated_key("GONE")
    cfg.merge_from_list(["GONE", 1])
    with pytest.raises(KeyError, match="OLD was renamed to SEED"):
        cfg.merge_from_list(["OLD", 1])
    with pytest.raises(KeyError, match="OLD was renamed to SEED"):
        cfg.merge_from_other_cfg(CfgNode({"OLD": 1}))


def test_nodes_that_allow_it_take_new_keys() -> None:
    cfg = CfgNode({"A": {}, "B": {}})
    cfg.A.set_new_allowed(True)
    cfg.merge_from_other_cfg(CfgNode({"A": {"X": 1}}))
    assert cfg.A.X == 1
    with pytest.raises(KeyError, match=r"B\.X"):
        cfg.merge_from_other_cfg(CfgNode({"A": {"Y": 1}, "B": {"X": 1}}))


def test_a_newer_version_is_refused(write: Write) -> None:
    path = write("x.yaml", "VERSION: 3")
    with pytest.raises(AssertionError, match="newer VERSION than 2"):
        merged(path)


def test_the_global_config_holds_what_was_set() -> None:
    cfg = get_cfg()
    cfg.GLOBAL.HACK = 2.5
    try:
        set_global_cfg(cfg)
        assert global_cfg.GLOBAL.HACK == 2.5
    finally:
        set_global_cfg(CfgNode())
    assert len(global_cfg) == 0
