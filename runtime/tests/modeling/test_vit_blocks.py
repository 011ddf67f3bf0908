"""The building blocks of plain vision transformers."""

from __future__ import annotations

import importlib

import pytest
import torch

from detectron2.modeling.backbone import utils


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 1), (2, 9)])
def test_windows_come_back_as_the_map(size: tuple[int, int]) -> None:
    maps = torch.randn(2, *size, 3)
    windows, padded = utils.window_partition(maps, 3)
    assert windows.shape == (2 * (padded[0] // 3) * (padded[1] // 3), 3, 3, 3)
    assert torch.equal(utils.window_unpartition(windows, 3, padded, size), maps)


def test_windows_are_in_reading_order_and_padded_with_zeros() -> None:
    maps = torch.arange(1.0, 7.0).view(1, 2, 3, 1)
    windows, padded = utils.window_partition(maps, 2)
    assert padded == (2, 4)
    assert windows.flatten(1).tolist() == [[1, 2, 4, 5], [3, 0, 6, 0]]


def test_relative_positions_index_the_offset_of_query_and_key() -> None:
    table = torch.arange(5.0)[:, None]
    assert utils.get_rel_pos(3, 3, table)[..., 0].tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]


def test_the_shorter_axis_takes_larger_steps() -> None:
    # Four queries, two keys: keys lie two apart; offsets -2..3 plus the shift of 2.
    table = torch.arange(7.0)[:, None]
    assert utils.get_rel_pos(4, 2, table)[..., 0].tolist() == [[2, 0], [3, 1], [4, 2], [5, 3]]


def test_relative_positions_are_resampled_to_the_number_of_offsets() -> None:
    found = utils.get_rel_pos(2, 2, torch.tensor([[0.0], [6.0]]))
    # Three samples of two values: 0, the middle, 6.
    assert found[..., 0].tolist() == [[3, 0], [6, 3]]


def test_attention_gets_the_sum_of_both_axes() -> None:
    torch.manual_seed(0)
    q_size, k_size = (2, 3), (2, 3)
    attention, queries = torch.randn(1, 6, 6), torch.randn(1, 6, 4)
    by_row, by_column = torch.randn(3, 4), torch.randn(5, 4)
    result = utils.add_decomposed_rel_pos(attention, queries, by_row, by_column, q_size, k_size)
    # Query (1, 0) is number 3, key (0, 2) number 2; offsets +1 and -2.
    expected = attention[0, 3, 2] + queries[0, 3] @ (by_row[2] + by_column[0])
    assert result[0, 3, 2].item() == pytest.approx(expected.item(), rel=1e-5)


def test_absolute_positions_keep_their_grid_without_the_class_token() -> None:
    positions = torch.arange(10.0).view(1, 5, 2)
    assert torch.equal(
        utils.get_abs_pos(positions, True, (2, 2)), positions[:, 1:].view(1, 2, 2, 2)
    )


def test_absolute_positions_are_resampled_to_the_grid_wanted() -> None:
    resized = utils.get_abs_pos(torch.full((1, 4, 3), 2.0), False, (3, 5))
    assert resized.shape == (1, 3, 5, 3)
    torch.testing.assert_close(resized, torch.full((1, 3, 5, 3), 2.0))


def test_absolute_positions_of_no_square_are_an_error() -> None:
    with pytest.raises(AssertionError, match=r"5 position embeddings.*has_cls_token=False"):
        utils.get_abs_pos(torch.zeros(1, 5, 3), False, (2, 2))


def test_patches_become_channels_last_maps() -> None:
    embed = utils.PatchEmbed((4, 4), (4, 4), in_chans=1, embed_dim=2)
    torch.nn.init.ones_(embed.proj.weight)
    torch.nn.init.zeros_(embed.proj.bias)
    result = embed(torch.ones(1, 1, 8, 12))
    assert torch.equal(result, torch.full((1, 2, 3, 2), 16.0))


def test_rotated_proposals_say_that_they_are_not_offered() -> None:
    rrpn = importlib.import_module("detectron2.modeling.proposal_generator.rrpn")
    with pytest.raises(AttributeError, match="RRPN: rotated boxes are not offered"):
        _ = rrpn.RRPN
