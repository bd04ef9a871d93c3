"""Two networks of different kinds that look at the same slices.

Trained on the same labels they still err in different places, so that their mean is better than either and
their disagreement says where not to trust it.
Pham, Nguyen-Ho, Tran (2022), section 2.1: at test time the two softmax outputs are summed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Pair(nn.Module):
    """Both networks of the reference module.

    Args:
        first: a network that takes (images, position) and returns logits.
        second: another one, of the same classes.
        classes: background included.
        made_of: the `network` section that both were built from, which their weights' file repeats.
    """

    def __init__(
        self, first: nn.Module, second: nn.Module, classes: int = 0, made_of: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.classes = classes
        self.first = first
        self.second = second
        self.made_of = dict(made_of or {})

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the first and of the second network.

        Args:
            images: (B, 3, H, W) in [0, 1], any H and W.
            position: (B,) slice index / number of slices.

        Returns:
            Twice (B, classes, H, W).
        """
        return self.first(images, position), self.second(images, position)

    def probabilities(self, images: Tensor, position: Tensor) -> Tensor:
        """What the pair believes: the mean of the two softmaxes, float32 (B, classes, H, W)."""
        first, second = self(images, position)
        return (first.float().softmax(1) + second.float().softmax(1)) / 2
