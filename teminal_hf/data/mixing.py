"""Groups of stage B with a user's own audio-caption pairs beside them."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from teminal_hf.data.caption_pairs import CaptionPairs
from teminal_hf.data.captions import warn_of_held_out
from teminal_hf.data.groups import GroupDataset
from teminal_hf.data.views import PAIR
from teminal_hf.storage.cache import digest

logger = logging.getLogger(__name__)

_ORDER = re.compile(
    r"\b(before|after|afterwards|while|then|later|followed by|preceded by|during|until|meanwhile|as)\b", re.IGNORECASE
)


class GroupsWithPairs(Dataset[dict[str, Any]]):
    """Each group with one of the user's own pairs as its view `pair`.

    A round deals every pair out once, in an order of its own; with fewer groups than pairs the rest is never heard (a
    warning says how many).

    Args:
        groups: rows of stage B.
        pairs: recordings with captions, at the same sampling rate.
        seed: of the order.
    """

    def __init__(self, groups: GroupDataset, pairs: CaptionPairs, seed: int) -> None:
        self.groups, self.pairs = groups, pairs
        rng = np.random.default_rng([seed, len(pairs)])
        order: list[int] = []
        while len(order) < len(groups):
            order += rng.permutation(len(pairs)).tolist()
        self._order = order[: len(groups)]
        _describe(pairs, len(groups))

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.groups[index] | _as_pair(self.pairs[self._order[index]])

    def draw_captions(self, seed: int, epoch: int) -> bool:
        """As `CaptionPairs` does."""
        return self.pairs.draw_captions(seed, epoch)

    @property
    def captions(self) -> list[str]:
        """Of the pairs, all that may be drawn."""
        return self.pairs.captions

    @property
    def manifest(self) -> list[dict[str, Any]]:
        """The rows without audio."""
        words = [_as_pair(row) for row in self.pairs.manifest]
        return [dict(row) | words[i] for row, i in zip(self.groups.manifest, self._order, strict=True)]

    @property
    def recordings_id(self) -> str:
        """Hash of all that the audio depends on."""
        return digest(self.groups.recordings_id, self.pairs.recordings_id, self._order)


def _as_pair(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("forward", PAIR): value for name, value in row.items()}


def _describe(pairs: CaptionPairs, n_groups: int) -> None:
    n, captions = len(pairs), pairs.captions
    temporal = sum(bool(_ORDER.search(caption)) for caption in captions)
    logger.info(
        "%d pairs beside %d groups; %d captions say when (before, after, while, then ...)", n, n_groups, temporal
    )
    if not temporal:
        logger.warning("none of the %d captions says when: they teach sounds, not order", n)
    if n > n_groups:
        logger.warning("%d of %d pairs are not heard: set n_groups to %d or more", n - n_groups, n, n)
    warn_of_held_out(captions)
