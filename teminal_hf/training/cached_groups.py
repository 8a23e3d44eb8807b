"""Groups whose frozen part is read from disk: computed in the first run, read in every epoch and every later run."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import unwrap_model
from teminal_hf.models.towers import SplitPoint
from teminal_hf.storage.cache import code_id, digest
from teminal_hf.training import data_collator
from teminal_hf.training.data_collator import GroupCollator

_OF_THE_MAIN_PROCESS = ("_prefix", "_rows", "_collator", "_number")


class Rows(Protocol):
    """Rows that can be cached; `rows[i]` is as `GroupCollator` takes it. Those that say something else in each epoch
    have `draw_captions`, and all of it as `captions`."""

    @property
    def manifest(self) -> Sequence[Mapping[str, Any]]:
        """The same rows without audio."""

    @property
    def recordings_id(self) -> str:
        """Hash of all that the audio depends on."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class CachedGroups(Dataset[dict[str, Tensor]]):
    """Groups whose audio tokens and text hidden states at the split point are on disk, once `fill` has computed what
    is missing there. A caption is stored once, however many groups say it.

    Args:
        model: prepared by `apply_stage`, on the device that is to compute; its prefix must not change afterwards.
        groups: `GroupDataset`, `CaptionPairs`, or other `Rows`.
        collator: of these rows.
        dtype: of what is stored: "float16", "bfloat16" or "float32".

    Attributes:
        stores: what it needs on disk; `announce(*stores)` says how much that is.

    Raises:
        ValueError: unknown dtype.
    """

    def __init__(
        self,
        model: nn.Module,
        split_point: SplitPoint,
        groups: Rows,
        collator: GroupCollator,
        *,
        dtype: str = "float16",
    ) -> None:
        self._rows, self._collator = groups, collator
        self._prefix = prefix = FrozenPrefix(
            unwrap_model(model), split_point, collator.processor, dtype, collator.on_device
        )
        manifest, n_views = groups.manifest, len(collator.views)
        self._clips = collator.clips(manifest).unflatten(0, (n_views, -1)).transpose(0, 1) if collator.mixture else None
        wordings = collator.captions(manifest)
        captions = list(dict.fromkeys(caption for views in wordings.values() for view in views for caption in view))
        captions = list(dict.fromkeys([*captions, *getattr(groups, "captions", ())]))
        self._number = {caption: i for i, caption in enumerate(captions)}
        self._say(manifest, wordings)
        self._hidden, self._ids_and_mask = prefix.captions(captions)
        recordings_id = digest(groups.recordings_id, list(collator.views), code_id(data_collator))
        self._tokens = prefix.recordings(len(manifest), n_views, recordings_id)
        self.stores = (self._tokens, self._hidden)

    def fill(self, num_workers: int = 0) -> "CachedGroups":
        """Compute what is missing. In a distributed run every process comes here, and each computes its share.

        Args:
            num_workers: processes that render, and compute log-mels unless the collator leaves them to the device.

        Raises:
            OSError: the disk is full.
            ValueError: activations beyond the range of `dtype`.
        """
        self._prefix.fill_captions(self._hidden, self._ids_and_mask)
        self._prefix.fill_recordings(self._tokens, _Sounds(self._rows, self._collator), num_workers)
        return self

    def draw_captions(self, seed: int, epoch: int) -> bool:
        """Of recordings with several captions say those of this epoch; returns whether there are such."""
        draw = getattr(self._rows, "draw_captions", None)
        several = draw is not None and draw(seed, epoch)
        if several:
            manifest = self._rows.manifest
            self._say(manifest, self._collator.captions(manifest))
        return several

    def _say(self, manifest: Sequence[Mapping[str, Any]], wordings: Mapping[str, list[list[str]]]) -> None:
        n_views = len(self._collator.views)
        self._meanings = self._collator.meanings(manifest).unflatten(0, (n_views, -1)).transpose(0, 1)
        self._words = {
            which: torch.tensor([[self._number[caption] for caption in view] for view in views]).T
            for which, views in wordings.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes read: they need neither model nor audio.
        return {name: value for name, value in vars(self).items() if name not in _OF_THE_MAIN_PROCESS}

    def __len__(self) -> int:
        return len(self._meanings)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = {"audio_tokens": self._tokens[index], "meanings": self._meanings[index]}
        if self._clips is not None:
            row["clips"] = self._clips[index]
        for which, numbers in self._words.items():
            captions = numbers[index]
            row[f"{which}text_hidden"] = torch.stack([self._hidden[number] for number in captions.tolist()])
            row[f"{which}attention_mask"] = self._ids_and_mask[captions, 1]
        return row


class _Sounds:
    """Waveforms of each row's views, (K, samples)."""

    def __init__(self, rows: Rows, collator: GroupCollator) -> None:
        self.rows, self.collator = rows, collator

    def __getitem__(self, index: int) -> Tensor:
        return self.collator.waveforms([self.rows[index]])


def collate_cached(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rows of `CachedGroups`, each tensor (K, ...), to view blocks (K*N, ...), padding cut to the batch's longest."""
    batch = {name: torch.stack([row[name] for row in rows], dim=1).flatten(0, 1) for name in rows[0]}
    for name in [name for name in batch if name.endswith("attention_mask")]:
        hidden = name.replace("attention_mask", "text_hidden")
        longest = int(batch[name].sum(dim=1).max())
        batch |= {name: batch[name][:, :longest], hidden: batch[hidden][:, :longest]}
    return batch
