"""Frozen-prefix cache: what the frozen layers say of each group, computed once and read back in every later epoch."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from teminal_hf.collator import GroupCollator
from teminal_hf.stages import train_mode
from teminal_hf.tokens import tokenize
from teminal_hf.towers import Cut, audio_prefix, plain_clap, text_prefix

logger = logging.getLogger(__name__)


class CachedGroups(Dataset[dict[str, Tensor]]):
    """Groups whose audio tokens and text hidden states at the cut were computed once.

    Args:
        model: prepared by `apply_stage`; its prefix must not change afterwards.
        groups: map-style rows as `GroupCollator` takes them.
        collator: of these rows.
        path: file of the audio tokens (float16, memory-mapped), made anew.
        num_workers: processes that render and compute log-mels.
    """

    def __init__(
        self,
        model: nn.Module,
        cut: Cut,
        groups: Any,
        collator: GroupCollator,
        path: Path,
        *,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        clap = plain_clap(model)
        self.n_views = len(collator.views)
        collate = _FeaturesAndWords(collator)
        loader = DataLoader(
            groups,
            batch_size=batch_size,
            collate_fn=collate,
            num_workers=num_workers,
            generator=torch.Generator(),  # the global random state stays as it is
        )
        captions: dict[str, int] = {}
        words: dict[str, list[Tensor]] = {}
        meanings: list[Tensor] = []
        self._path = path
        done = 0
        training = clap.training
        clap.eval()
        with torch.inference_mode():
            for features, said, means in tqdm(loader, desc="caching the frozen prefix", unit="batch"):
                tokens = audio_prefix(clap, cut, features.to(clap.device)).to("cpu", torch.float16)
                by_group = _by_group(tokens, self.n_views).numpy()
                if not done:
                    self._shape = (len(groups), *by_group.shape[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    store = np.memmap(path, dtype=np.float16, mode="w+", shape=self._shape)
                    logger.info("prefix cache: %.0f MiB in %s", store.nbytes / 2**20, path)
                store[done : done + len(by_group)] = by_group
                for prefix, views in said.items():
                    numbers = [[captions.setdefault(c, len(captions)) for c in view] for view in views]
                    words.setdefault(prefix, []).append(torch.tensor(numbers).T)
                meanings.append(_by_group(means, self.n_views))
                done += len(by_group)
            self._hidden, self._mask = _text_hidden(clap, cut, collator, list(captions))
        store.flush()
        self._meanings = torch.cat(meanings)
        self._words = {prefix: torch.cat(numbers) for prefix, numbers in words.items()}
        self._store: np.memmap[Any, Any] | None = None
        if training:
            train_mode(model)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}  # worker processes map the file themselves

    def __len__(self) -> int:
        return len(self._meanings)

    def delete(self) -> None:
        """Remove the file; the data set is of no use afterwards."""
        self._store = None
        self._path.unlink()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if self._store is None:
            self._store = np.memmap(self._path, dtype=np.float16, mode="r", shape=self._shape)
        row = {
            "audio_tokens": torch.from_numpy(self._store[index].astype(np.float32)),
            "meanings": self._meanings[index],
        }
        for prefix, numbers in self._words.items():
            row |= {f"{prefix}text_hidden": self._hidden[numbers[index]]}
            row |= {f"{prefix}attention_mask": self._mask[numbers[index]]}
        return row


def _by_group(blocks: Tensor, n_views: int) -> Tensor:
    """View blocks (K*N, ...) -> (N, K, ...)."""
    return blocks.unflatten(0, (n_views, -1)).transpose(0, 1)


def collate_cached(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rows of `CachedGroups`, each tensor (K, ...), to view blocks (K*N, ...), padding cut to the batch's longest."""
    batch = {name: torch.stack([row[name] for row in rows], dim=1).flatten(0, 1) for name in rows[0]}
    for name in [name for name in batch if name.endswith("attention_mask")]:
        hidden = name.replace("attention_mask", "text_hidden")
        longest = int(batch[name].sum(dim=1).max())
        batch |= {name: batch[name][:, :longest], hidden: batch[hidden][:, :longest]}
    return batch


class _FeaturesAndWords:
    """Collates to (input_features, captions as `GroupCollator.captions`, meanings)."""

    def __init__(self, collator: GroupCollator) -> None:
        self.collator = collator

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Tensor, dict[str, list[list[str]]], Tensor]:
        return self.collator.features(rows), self.collator.captions(rows), self.collator.meanings(rows)


def _text_hidden(clap: Any, cut: Cut, collator: GroupCollator, captions: list[str]) -> tuple[Tensor, Tensor]:
    tokens = tokenize(collator.processor, captions)
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    chunks = [
        text_prefix(clap, cut, ids[i : i + 128].to(clap.device), mask[i : i + 128].to(clap.device)).cpu()
        for i in range(0, len(captions), 128)
    ]
    return torch.cat(chunks), mask
