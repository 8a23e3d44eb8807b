"""Batches of rows: features, tokens and meanings of every view, in blocks [view 1; view 2; ...]."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from teminal_hf.audio.features import features_of
from teminal_hf.data.captions import caption, meaning_id
from teminal_hf.data.groups import in_order, plain_caption, view_meanings
from teminal_hf.models.tokenizer import tokenize
from teminal_hf.training.config import TeminalConfig


@dataclass
class GroupCollator:
    """Collates N rows with K views into one batch for `TeminalTrainer`.

    A row holds, for each view, its audio `{"array", "sampling_rate"}` under the view's name and its caption under
    `<view>_caption`. The batch holds `input_features` (K*N, 1, ...), `input_ids` and `attention_mask`
    (K*N, L), and `meanings` (K*N, m) int64: the first column is what the row says, the others what else holds of it.
    With `mixture` also `clips` (K*N, 2) int64, hashes of the clips that each recording was made of (one twice where it
    is alone; of no meaning for the view `pair`).
    With `on_device` it holds `waveforms` (K*N, samples) float32 in the place of `input_features`: the trainer computes
    log-mels of them on its device.
    With `plain_wording` also `plain_input_ids`, `plain_attention_mask`: the same with every sequence as "X before Y".
    With `order` also `order_input_ids`, `order_attention_mask` (4*N, L): each group's "X before Y", "Y after X", "Y
    before X", "X after Y".
    """

    processor: Any
    views: Sequence[str]
    plain_wording: bool = False
    mixture: bool = False
    on_device: bool = False
    order: bool = False

    @classmethod
    def of(cls, processor: Any, args: TeminalConfig) -> "GroupCollator":
        """As a training with these arguments needs it."""
        return cls(
            processor,
            args.views,
            plain_wording=args.plain_share > 0,
            mixture=args.mixture > 0,
            on_device=args.features_on_device,
            order=args.text_hinge > 0,
        )

    def __post_init__(self) -> None:
        self.hear = features_of(self.processor.feature_extractor)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        return self.audio(rows) | self.text(rows)

    def audio(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The part of the batch that needs no captions."""
        waveforms = self.waveforms(rows)
        return {"waveforms": waveforms} if self.on_device else {"input_features": self.hear(waveforms)}

    def waveforms(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Every view, followed by silence up to the model's window (K*N, samples)."""
        return torch.stack([self._waveform(row, view) for view in self.views for row in rows])

    def text(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The part of the batch that needs no audio."""
        batch = {"meanings": self.meanings(rows)} | ({"clips": self.clips(rows)} if self.mixture else {})
        for prefix, captions in self.captions(rows).items():
            tokens = tokenize(self.processor, [said for view in captions for said in view])
            batch |= {f"{prefix}{name}": tokens[name] for name in ("input_ids", "attention_mask")}
        return batch

    def captions(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
        """Captions of the batch by view and row: {"": as drawn, "plain_": in plain wording}; "order_" has no views."""
        wordings = {"": [[row[f"{view}_caption"] for row in rows] for view in self.views]}
        if self.plain_wording:
            wordings["plain_"] = [[plain_caption(row, view) for row in rows] for view in self.views]
        if self.order:
            pairs = [in_order(row) for row in rows]
            ways = [pairs, [pair[::-1] for pair in pairs]]
            wordings["order_"] = [
                [caption(word, *pair) for pair in way] for way in ways for word in ("before", "after")
            ]
        return wordings

    def meanings(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """(K*N, m) int64; rows with fewer keys than m repeat their own meaning."""
        keys = [view_meanings(row, view) for view in self.views for row in rows]
        width = max(len(key) for key in keys)
        return torch.tensor([[meaning_id(k) for k in (key + key[:1] * width)[:width]] for key in keys])

    def clips(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """(K*N, 2) int64: see above."""
        heard = [
            (row["clip_a"], row["clip_a" if view == "single" else "clip_b"]) for view in self.views for row in rows
        ]
        return torch.tensor([[meaning_id(clip) for clip in clips] for clips in heard])

    def _waveform(self, row: Mapping[str, Any], view: str) -> Tensor:
        audio = row[view]
        if audio["sampling_rate"] != self.hear.sampling_rate:
            raise ValueError(
                f"{view!r} audio is at {audio['sampling_rate']} Hz, the model listens at {self.hear.sampling_rate} "
                "Hz; render or resample at the model's rate"
            )
        waveform = torch.tensor(np.asarray(audio["array"]), dtype=torch.float32)  # a copy: theirs may be read-only
        return torch.nn.functional.pad(waveform, (0, max(0, self.hear.n_samples - len(waveform))))


def false_negatives(meanings: Tensor) -> Tensor:
    """(M, m) meanings -> (M, M) boolean: rows = audio, columns = text, true where the text also holds of the audio."""
    return (meanings[:, None, :] == meanings[None, :, :1]).any(dim=-1)


def pick_wording(inputs: Mapping[str, Tensor], plain: bool) -> dict[str, Tensor]:
    """The batch with one wording of its captions: "plain_*" in the place of "*", or left out."""
    chosen = {name: tensor for name, tensor in inputs.items() if not name.startswith("plain_")}
    if plain:
        in_plain_wording = {name.removeprefix("plain_"): t for name, t in inputs.items() if name.startswith("plain_")}
        if not in_plain_wording:
            raise ValueError("plain_share needs both wordings in the batch: GroupCollator(..., plain_wording=True)")
        chosen |= in_plain_wording
    return chosen
