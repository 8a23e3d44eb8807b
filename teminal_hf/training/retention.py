"""What the starting model knows, and how far another has departed from it: retention, and two sounds heard as two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from teminal_hf.data.captions import meaning_id
from teminal_hf.data.reference import ReferenceRecordings
from teminal_hf.data.sound_names import NAMES, SENTENCES, captions_about
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import TrainedModel, towers_of, unwrap_model
from teminal_hf.models.towers import SplitPoint
from teminal_hf.storage.tensor_store import TensorStore

ROWS = 64  # recordings, and captions, that a step asks about
# Of the three parts of retention: what the model says of recordings, where their embeddings lie, where captions' do.
OPINION, AUDIO, TEXT = 1.0, 2.0, 4.0
_TOGETHER = 128  # rows through a suffix at once


@dataclass(frozen=True)
class Drawn:
    """What one step asks about: `inputs` of the suffixes, and the numbers of its recordings and captions."""

    inputs: dict[str, Tensor]
    recordings: Tensor
    captions: Tensor
    sentence: int

    def __len__(self) -> int:
        return len(self.recordings)


class Reference:
    """Recordings and captions that are not trained on, and what the starting model says of them.

    What the frozen layers make of them is kept on disk, as it is of the training's groups. The starting model's
    embeddings are computed once, when all is there.

    Args:
        start: the starting checkpoint, on the device that is to compute.
        model: what is trained, split at the same point.
        alone: every training clip alone; targets of `mixture`, and recordings like the others. None of a training that
            has no clips.
        around: others, from anywhere.
        labels: as spoken, of the training's classes: named beside the everyday sounds.
        seed: of what a step draws.
        dtype: of what is stored.
    """

    def __init__(
        self,
        start: TrainedModel,
        model: nn.Module,
        split_point: SplitPoint,
        processor: Any,
        alone: ReferenceRecordings | None,
        around: ReferenceRecordings,
        labels: Sequence[str],
        *,
        seed: int = 0,
        dtype: str = "float16",
    ) -> None:
        self._start, self._split_point, self._seed = start, split_point, seed
        # The two models' frozen layers are the same ones, unless a stage before this trained more of them.
        self._prefixes = [FrozenPrefix(m, split_point, processor, dtype) for m in (start, unwrap_model(model))]
        self._sets = (around,) if alone is None else (alone, around)
        self._number = {} if alone is None else {meaning_id(clip): i for i, clip in enumerate(alone.clips.ids)}
        names = list(dict.fromkeys((*labels, *NAMES)))
        self._names = len(names)
        self._audio = [[p.recordings(len(s), 1, s.recordings_id) for s in self._sets] for p in self._prefixes]
        self._places = [(store, row) for store in self._audio[1] for row in range(len(store))]
        self._text = [prefix.captions(captions_about(names)) for prefix in self._prefixes]
        self.stores = tuple(
            {
                s.folder: s for audio, (text, _) in zip(self._audio, self._text, strict=True) for s in (*audio, text)
            }.values()
        )

    @torch.no_grad()
    def fill(self, num_workers: int = 0) -> "Reference":
        """Compute what is missing on disk, and the starting model's embeddings."""
        with torch.autocast(self._start.device.type, enabled=False):  # the keys are of full precision
            return self._fill(num_workers)

    def _fill(self, num_workers: int) -> "Reference":
        for prefix, stores, (hidden, ids_and_mask) in zip(self._prefixes, self._audio, self._text, strict=True):
            for recordings, store in zip(self._sets, stores, strict=True):
                prefix.fill_recordings(store, _Sounds(recordings), num_workers)
            prefix.fill_captions(hidden, ids_and_mask)
        towers, (hidden, ids_and_mask) = towers_of(self._start), self._text[0]
        device = self._start.device
        audio = [
            towers.audio_suffix(self._split_point, _rows(store, rows)[:, 0].to(device)).float()
            for store in self._audio[0]
            for rows in torch.arange(len(store)).split(_TOGETHER)
        ]
        text = [
            towers.text_suffix(self._split_point, _rows(hidden, rows).to(device), ids_and_mask[rows, 1].to(device))
            for rows in torch.arange(len(hidden)).split(_TOGETHER)
        ]
        self.audio_embeds = torch.cat(audio)
        self.text_embeds = torch.cat(text).float()
        self._scale = towers.scale.item()
        self._sentences = self.text_embeds.unflatten(0, (len(SENTENCES), self._names))
        del self._start, self._prefixes
        return self

    def draw(self, step: int, rank: int = 0, world_size: int = 1) -> Drawn:
        """Of step `step`: this process' share of what all processes ask about."""
        rng = np.random.default_rng([self._seed, step])  # torch's own takes 32 bits of a seed alone
        n = max(1, ROWS // world_size) * world_size  # all processes ask about as many
        recordings, captions = (
            torch.from_numpy(rng.integers(len(embeds), size=max(n, ROWS))[:n][rank::world_size])
            for embeds in (self.audio_embeds, self.text_embeds)
        )
        sentence = int(rng.integers(len(SENTENCES)))
        hidden, ids_and_mask = self._text[1]
        tokens = [store[row][0] for store, row in (self._places[i] for i in recordings.tolist())]
        mask = ids_and_mask[captions, 1]
        longest = int(mask.sum(dim=1).max())
        inputs = {
            "audio_tokens": torch.stack(tokens),
            "text_hidden": _rows(hidden, captions)[:, :longest],
            "attention_mask": mask[:, :longest],
        }
        device = self.audio_embeds.device
        return Drawn({k: _moved(v, device) for k, v in inputs.items()}, recordings, captions, sentence)

    def departure(self, audio_embeds: Tensor, text_embeds: Tensor, drawn: Drawn) -> Tensor:
        """How far (n, D) embeddings of what was drawn are from the starting model's.

        The divergence of the distributions over all names, in one sentence, by the starting model's text tower and
        scale, and 1 - cosine of both towers, weighted.
        """
        before = self.audio_embeds[drawn.recordings]
        opinion = kl_div(
            self._opinion(audio_embeds, drawn.sentence),
            self._opinion(before, drawn.sentence),
            log_target=True,
            reduction="batchmean",
        )
        audio = 1 - (audio_embeds.float() * before).sum(dim=-1).mean()
        text = 1 - (text_embeds.float() * self.text_embeds[drawn.captions]).sum(dim=-1).mean()
        return OPINION * opinion + AUDIO * audio + TEXT * text

    def mixture(self, audio_embeds: Tensor, clips: Tensor, sentence: int) -> Tensor:
        """How far recordings of two clips are from both: the divergence from the mean of what the starting model says
        of each clip alone. No label is asked for.

        Args:
            audio_embeds: (n, D).
            clips: (n, 2) hashes of the clips heard, by `meaning_id`; one clip twice where it is alone.
        """
        numbers = torch.tensor([[self._number[clip] for clip in pair] for pair in clips.tolist()])
        alone = self._opinion(self.audio_embeds[numbers], sentence).exp().mean(dim=1)
        return kl_div(self._opinion(audio_embeds, sentence), alone, reduction="batchmean")

    def _opinion(self, audio_embeds: Tensor, sentence: int) -> Tensor:
        """(..., D) -> (..., names) log probabilities, by the starting model's text tower and scale."""
        return (self._scale * audio_embeds.float() @ self._sentences[sentence].T).log_softmax(dim=-1)


class _Sounds:
    """Waveforms of each recording, (1, samples)."""

    def __init__(self, recordings: ReferenceRecordings) -> None:
        self.recordings = recordings

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(self.recordings[row])[None]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for it."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def _rows(store: TensorStore, rows: Tensor) -> Tensor:
    return torch.stack([store[row] for row in rows.tolist()])
