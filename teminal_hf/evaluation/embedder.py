"""Recordings and captions that a model is asked about, embedded: by the whole of it, or through the cache of its frozen
prefix."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import ClapModel, ClapProcessor

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.audio.waveform import Waveform
from teminal_hf.data.rendering import Renderer
from teminal_hf.models.embed import CAPTIONS, embed_features, embed_text, warn_if_collapsed
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import SplitPoint, audio_suffix, text_suffix, unwrap_clap
from teminal_hf.storage.tensor_store import TensorStore

BATCH = 32  # recordings at a time


class Embedder:
    """`embedder(model)` -> embeddings in float64: audio (groups x views, D), text (captions, D), in the order given.

    Args:
        processor: the model's; sampling rate, window and mel settings are its.
        renderer: of the recordings.
        groups: (clips, seed, index) as `Renderer.sounds` takes them.
        views: of every group.
        captions: each once.
    """

    def __init__(
        self,
        processor: ClapProcessor,
        renderer: Renderer,
        groups: Sequence[tuple[Sequence[str], int, int]],
        views: Sequence[str],
        captions: Sequence[str],
    ) -> None:
        self._processor, self._renderer = processor, renderer
        self._groups, self._views, self._captions = list(groups), list(views), list(captions)
        self._log_mel = LogMel.from_extractor(processor.feature_extractor)

    def __call__(
        self, model: nn.Module, split_point: SplitPoint | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Embed by `model` (a `ClapModel`, plain or wrapped).

        Args:
            split_point: read the frozen prefixes' output, in float32, from the cache, where all models with these
                frozen layers share it (needs clips that are `usable`). None: the whole model, nothing on disk.
        """
        clap = unwrap_clap(model).eval()
        if split_point is None:
            audio, text = self._audio_embeds(clap), embed_text(clap, self._processor, self._captions)
        else:
            audio, text = self._cached_embeds(clap, split_point)
        warn_if_collapsed(text[:: max(1, len(text) // 64)])
        return audio.double().numpy(), text.double().numpy()

    def stores(self, model: nn.Module, split_point: SplitPoint) -> tuple[TensorStore, TensorStore]:
        """What embedding by `model` at this split point needs on disk: recordings, captions."""
        prefix = self._prefix(unwrap_clap(model), split_point)
        return self._recordings(prefix), prefix.captions(self._captions)[0]

    def sounds(self, row: int) -> list[Waveform]:
        """The recordings of the row-th group, one for each view."""
        sounds = self._renderer.sounds(*self._groups[row], self._views)
        return [sounds[view] for view in self._views]

    def _audio_embeds(self, clap: ClapModel) -> Tensor:
        features = _Features(self)
        return torch.cat([embed_features(clap, torch.cat([features[row] for row in rows])) for rows in self._batches()])

    @torch.inference_mode()
    def _cached_embeds(self, clap: ClapModel, split_point: SplitPoint) -> tuple[Tensor, Tensor]:
        prefix = self._prefix(clap, split_point)
        recordings, (captions, ids_and_mask) = self._recordings(prefix), prefix.captions(self._captions)
        prefix.fill_recordings(recordings, _Features(self), together=False)  # the main process may be alone here
        prefix.fill_captions(captions, ids_and_mask, together=False)
        audio, text = [], []
        for rows in self._batches():
            tokens = torch.cat([recordings[row] for row in rows])
            audio.append(audio_suffix(clap, split_point, tokens.to(clap.device)).cpu())
        for start in range(0, len(captions), CAPTIONS):
            rows = range(start, min(start + CAPTIONS, len(captions)))
            hidden, mask = torch.stack([captions[row] for row in rows]), ids_and_mask[rows.start : rows.stop, 1]
            text.append(text_suffix(clap, split_point, hidden.to(clap.device), mask.to(clap.device)).cpu())
        return torch.cat(audio), torch.cat(text)

    def _prefix(self, clap: ClapModel, split_point: SplitPoint) -> FrozenPrefix:
        return FrozenPrefix(clap, split_point, self._processor, "float32")

    def _recordings(self, prefix: FrozenPrefix) -> TensorStore:
        recordings_id = self._renderer.recordings_id(self._groups, *self._views)
        return prefix.recordings(len(self._groups), len(self._views), recordings_id)

    def _batches(self) -> Iterator[range]:
        """Rows of the groups that make about `BATCH` recordings."""
        size = max(1, BATCH // len(self._views))
        return (range(i, min(i + size, len(self._groups))) for i in range(0, len(self._groups), size))


class _Features:
    """Log-mels of each group's recordings, (K, 1, frames, mels)."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __getitem__(self, row: int) -> Tensor:
        return self._embedder._log_mel(torch.from_numpy(np.stack(self._embedder.sounds(row))))
