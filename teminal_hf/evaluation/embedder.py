"""Recordings and captions that a model is asked about, embedded: by the whole of it, or through the cache of its frozen
prefix."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from teminal_hf.audio.waveform import Waveform
from teminal_hf.data.rendering import Renderer
from teminal_hf.errors import ConfigError
from teminal_hf.models.embed import CAPTIONS, TrainableEncoder, warn_if_collapsed
from teminal_hf.models.encoder import Encoder, audio_embeds, text_embeds
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import towers_of, unwrap_model
from teminal_hf.models.towers import SplitPoint
from teminal_hf.storage.tensor_store import TensorStore

BATCH = 32  # recordings at a time


class Embedder:
    """`embedder(encoder)` -> embeddings of length 1 in float64: audio (groups x views, D), text (captions, D), in the
    order given.

    Args:
        renderer: of the recordings.
        groups: (clips, seed, index) as `Renderer.sounds` takes them.
        views: of every group.
        captions: each once.
    """

    def __init__(
        self,
        renderer: Renderer,
        groups: Sequence[tuple[Sequence[str], int, int]],
        views: Sequence[str],
        captions: Sequence[str],
    ) -> None:
        self._renderer, self._groups = renderer, list(groups)
        self._views, self._captions = list(views), list(captions)

    def __call__(
        self, encoder: Encoder, split_point: SplitPoint | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Embed by `encoder`.

        Args:
            split_point: of a model that can be trained: read the frozen prefixes' output, in float32, from the cache,
                where all models with these frozen layers share it (needs clips that are `usable`). None: the whole
                model, nothing on disk.
        """
        if (rate := self._renderer.settings.sampling_rate) != encoder.sampling_rate:
            raise ConfigError(
                f"the recordings are composed at {rate} Hz, and this model hears {encoder.sampling_rate} Hz; give "
                "RenderSettings.of(encoder)"
            )
        if split_point is None:
            batches = ([sound for row in rows for sound in self.sounds(row)] for rows in self._batches())
            audio = np.concatenate([audio_embeds(encoder, batch) for batch in batches])
            text = text_embeds(encoder, self._captions)
        else:
            assert isinstance(encoder, TrainableEncoder)
            audio, text = self._cached_embeds(encoder, split_point)
        warn_if_collapsed(torch.from_numpy(text[:: max(1, len(text) // 64)]))
        return audio, text

    def stores(self, encoder: TrainableEncoder, split_point: SplitPoint) -> tuple[TensorStore, TensorStore]:
        """What embedding by this model at this split point needs on disk: recordings, captions."""
        prefix = _prefix(encoder, split_point)
        return self._recordings(prefix), prefix.captions(self._captions)[0]

    def sounds(self, row: int) -> list[Waveform]:
        """The recordings of the row-th group, one for each view."""
        sounds = self._renderer.sounds(*self._groups[row], self._views)
        return [sounds[view] for view in self._views]

    @torch.inference_mode()
    def _cached_embeds(
        self, encoder: TrainableEncoder, split_point: SplitPoint
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        prefix = _prefix(encoder, split_point)
        towers, device = towers_of(prefix.model), prefix.model.device
        recordings, (captions, ids_and_mask) = self._recordings(prefix), prefix.captions(self._captions)
        prefix.fill_recordings(recordings, _Sounds(self), together=False)  # the main process may be alone here
        prefix.fill_captions(captions, ids_and_mask, together=False)
        audio, text = [], []
        for rows in self._batches():
            tokens = torch.cat([recordings[row] for row in rows])
            audio.append(towers.audio_suffix(split_point, tokens.to(device)).cpu())
        for start in range(0, len(captions), CAPTIONS):
            rows = range(start, min(start + CAPTIONS, len(captions)))
            hidden, mask = torch.stack([captions[row] for row in rows]), ids_and_mask[rows.start : rows.stop, 1]
            text.append(towers.text_suffix(split_point, hidden.to(device), mask.to(device)).cpu())
        return torch.cat(audio).double().numpy(), torch.cat(text).double().numpy()

    def _recordings(self, prefix: FrozenPrefix) -> TensorStore:
        recordings_id = self._renderer.recordings_id(self._groups, *self._views)
        return prefix.recordings(len(self._groups), len(self._views), recordings_id)

    def _batches(self) -> Iterator[range]:
        """Rows of the groups that make about `BATCH` recordings."""
        size = max(1, BATCH // len(self._views))
        return (range(i, min(i + size, len(self._groups))) for i in range(0, len(self._groups), size))


class _Sounds:
    """Waveforms of each group's recordings, (K, samples)."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(np.stack(self._embedder.sounds(row)))


def _prefix(encoder: TrainableEncoder, split_point: SplitPoint) -> FrozenPrefix:
    return FrozenPrefix(unwrap_model(encoder.model).eval(), split_point, encoder.processor, "float32")
