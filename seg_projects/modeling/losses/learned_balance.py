"""Balance of the branches of a model by uncertainties that it learns (arXiv:1705.07115)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from detectron2.utils.events import get_event_storage

LOG_PERIOD = 20  # iterations; reading the weights waits for the device


class LearnedBalance(nn.Module):
    """Weighs branch b by exp(-s_b) and adds s_b / 2, s_b being the logarithm of its variance.

    That is equation 10 of the paper, in the form that its section 3.2 recommends: the weight falls
    while the branch's loss is above 1/2 exp(s_b), and rises below it. All branches start at s = 0,
    with the fixed weights of the config.
    """

    def __init__(self, branches: Sequence[str]) -> None:
        """Takes the names of the branches."""
        super().__init__()
        self.branches = tuple(branches)
        self.log_variances = nn.Parameter(torch.zeros(len(self.branches)))

    def forward(
        self, losses: Mapping[str, Tensor], branch_of: Mapping[str, str]
    ) -> dict[str, Tensor]:
        """Scalar losses by name, of the branches ``branch_of``, weighed; and ``loss_balance``."""
        weights = torch.exp(-self.log_variances)
        self._log(weights)
        at = {branch: index for index, branch in enumerate(self.branches)}
        balanced = {name: loss * weights[at[branch_of[name]]] for name, loss in losses.items()}
        return balanced | {"loss_balance": 0.5 * self.log_variances.sum()}

    def _log(self, weights: Tensor) -> None:
        storage = get_event_storage()
        if storage.iter % LOG_PERIOD == 0:
            for branch, weight in zip(self.branches, weights.tolist(), strict=True):
                storage.put_scalar(f"balance/{branch}", weight)
