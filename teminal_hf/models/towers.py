"""What post-training needs to know of an architecture: where its towers are split, and what of them is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class SplitPoint:
    """Where each tower is split: the number of audio blocks (counted over stages, from the end) and of text layers that
    belong to the suffix."""

    audio_blocks: int
    text_layers: int


class Towers(Protocol):
    """A model's two towers, each as layers in a row; `towers_of(model)` finds those of its architecture.

    Features are what the model hears, (B, 1, ...), see `features_of`. A prefix ends in tokens (B, L, C), a suffix in
    embeddings (B, D) of length 1. Prefixes are given tensors of the model's dtype, suffixes of any.
    """

    model: Any

    @property
    def audio_layers(self) -> Sequence[nn.Module]:
        """All blocks of the audio tower, in order."""

    @property
    def text_layers(self) -> Sequence[nn.Module]:
        """All layers of the text tower, in order."""

    @property
    def audio_side(self) -> Sequence[nn.Module]:
        """The audio tower and its projection."""

    @property
    def projections(self) -> Sequence[nn.Module]:
        """Of both towers, into the common space."""

    @property
    def text_pooler(self) -> nn.Module | None:
        """The dense layer between the text tower and its projection."""

    @property
    def log_scale(self) -> nn.Parameter | None:
        """The log of `scale` as it is trained; None where it is fixed."""

    @property
    def scale(self) -> Tensor:
        """What the loss multiplies cosines with, a scalar."""

    def prefix_modules(self, split_point: SplitPoint) -> dict[str, list[nn.Module]]:
        """What the prefixes run through, under "audio" and "text"."""

    def with_layers(self, split_point: SplitPoint) -> list[nn.Module]:
        """What is trained together with the layers of the suffixes: the norms after them, what stands between them."""

    def audio_prefix(self, split_point: SplitPoint, features: Tensor) -> Tensor: ...

    def audio_suffix(self, split_point: SplitPoint, tokens: Tensor) -> Tensor: ...

    def text_prefix(self, split_point: SplitPoint, input_ids: Tensor, attention_mask: Tensor) -> Tensor: ...

    def text_suffix(self, split_point: SplitPoint, hidden: Tensor, attention_mask: Tensor) -> Tensor: ...

    def settle(self) -> None:
        """What must hold after every step, and before the model is saved."""


def first_layers(layers: Sequence[nn.Module], trained: int) -> list[nn.Module]:
    """Those of the prefix, where the last `trained` are the suffix's."""
    return list(layers[: len(layers) - trained])


def last_layers(layers: Sequence[nn.Module], trained: int) -> list[nn.Module]:
    """Those of the suffix."""
    return list(layers[len(layers) - trained :])
