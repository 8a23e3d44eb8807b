"""Run a `ClapModel` through ZSTE, and ask it which caption fits a sound."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import ClapModel, ClapProcessor

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.audio.waveform import Waveform, decode
from teminal_hf.clips.sources import ClipTable
from teminal_hf.data.groups import Renderer, RenderSettings
from teminal_hf.data.zste_items import PROMPT, ZSTE_TASKS, Item, plan_zste
from teminal_hf.evaluation.zste import item_correct, score
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import (
    Cut,
    audio_prefix,
    audio_suffix,
    collapse_similarity,
    plain_clap,
    text_prefix,
    text_suffix,
)
from teminal_hf.models.tokenizer import tokenize
from teminal_hf.storage.tensor_store import TokenStore

logger = logging.getLogger(__name__)

WHOLE = Cut(0, 0)
COLLAPSED = 0.98  # mean cosine between captions of different classes; laion/larger_clap_music's is 1.00
BATCH = 32


@dataclass(frozen=True)
class ZsteReport:
    """`results` as `zste.score` returns them (and "1_tiled", task 1 on clips repeated to fill the window);
    `wording`: accuracy of each order task by wording; `items`: (task, clip_a, right) of every item, in order, for
    paired comparisons of models on the same items."""

    results: dict[str, Any]
    wording: dict[str, dict[str, float]]
    items: list[tuple[str, str, float]]

    def figures(self) -> dict[str, float]:
        """Flat {task: accuracy}, with the averages."""
        return {k: v["accuracy"] if isinstance(v, dict) else v for k, v in self.results.items()}


class ZsteEvaluator:
    """ZSTE on one table of test clips: `evaluator(model)` -> `ZsteReport`. Items, rendering and scores are fixed by
    `seed`, so two models (or one, twice) answer the same questions.

    Args:
        clips: test clips, of folds never trained on.
        processor: the model's; sampling rate, window and mel settings are its.
        n_groups: at most this many groups (default: one per clip).
        tasks: of `tasks.ZSTE_TASKS`.
        seed: of the items and their rendering.
        prompt: of class names in tasks 1 and 2; holds one {}.
        gap, crossfade: of the pairs, in seconds.
    """

    def __init__(
        self,
        clips: ClipTable,
        processor: ClapProcessor,
        *,
        n_groups: int | None = None,
        seed: int = 0,
        tasks: Sequence[str] = ZSTE_TASKS,
        prompt: str = PROMPT,
        gap: float = 0.0,
        crossfade: float = 0.0,
    ) -> None:
        self.clips, self.processor, self.seed = clips, processor, seed
        self.items: list[Item] = plan_zste(clips, n_groups=n_groups, seed=seed, tasks=tasks, prompt=prompt)
        self.log_mel = LogMel.from_extractor(processor.feature_extractor)
        window = self.log_mel.n_samples / self.log_mel.sampling_rate
        settings = RenderSettings(self.log_mel.sampling_rate, window, gap, crossfade)
        self._renderer = Renderer(clips, settings)
        self._groups = list(dict.fromkeys((i.clip_a, i.clip_b, seed, i.group_id) for i in self.items))
        asked = (view for item in self.items for view in (*item.views, *(["tiled"] if item.task == "1" else [])))
        self._views = list(dict.fromkeys(asked))  # of every group: each has an item of every task
        keys = [(group_id, view) for *_, group_id in self._groups for view in self._views]
        self._sounds = {key: row for row, key in enumerate(keys)}
        captions = {caption: None for item in self.items for caption in item.candidates}
        self._captions = {caption: i for i, caption in enumerate(captions)}

    def __call__(self, model: nn.Module, cut: Cut | None = None) -> ZsteReport:
        """Evaluate `model` (a `ClapModel`, plain or wrapped).

        Args:
            cut: read the frozen prefixes' output, in float32, from the cache, where all models with these frozen layers
                share it (needs clips that are `usable`). None: the whole model, nothing on disk.
        """
        clap = plain_clap(model).eval()
        if cut is None:
            audio, text = self._audio_embeds(clap), embed_text(clap, self.processor, list(self._captions))
        else:
            audio, text = self._cached_embeds(clap, cut)
        warn_if_collapsed(text[:: max(1, len(text) // 64)])
        return self._report(audio.double().numpy(), text.double().numpy())

    def stores(self, model: nn.Module, cut: Cut) -> tuple[TokenStore, TokenStore]:
        """What an evaluation of `model` at this cut needs on disk: recordings, captions."""
        prefix = self._prefix(plain_clap(model), cut)
        return self._recordings(prefix), prefix.captions(list(self._captions))[0]

    def _report(self, audio: NDArray[np.float64], text: NDArray[np.float64]) -> ZsteReport:
        asked = [(item.task, item, item.views) for item in self.items]
        asked += [("1_tiled", item, ("tiled",)) for item in self.items if item.task == "1"]
        scores = [self._scores(item, views, audio, text) for _, item, views in asked]
        right, tasks = [item.right for _, item, _ in asked], [item.task for _, item, _ in asked]
        n = len(self.items)
        results = score(scores[:n], right[:n], tasks[:n])
        if len(asked) > n:
            results["1_tiled"] = score(scores[n:], right[n:], tasks[n:])["1"]
        correct = [item_correct(*row) for row in zip(scores, right, tasks, strict=True)]
        wording: dict[str, dict[str, list[float]]] = {}
        for (name, item, _), value in zip(asked, correct, strict=True):
            if item.wording:
                wording.setdefault(name, {}).setdefault(item.wording, []).append(value)
        means = {task: {w: float(np.mean(v)) for w, v in by.items()} for task, by in wording.items()}
        items = [(name, item.clip_a, value) for (name, item, _), value in zip(asked, correct, strict=True)]
        return ZsteReport(results, means, items)

    def _scores(
        self, item: Item, views: Sequence[str], audio: NDArray[np.float64], text: NDArray[np.float64]
    ) -> list[float]:
        rows = audio[[self._sounds[item.group_id, view] for view in views]]
        return (rows @ text[[self._captions[c] for c in item.candidates]].T).ravel().tolist()

    @torch.inference_mode()
    def _audio_embeds(self, clap: ClapModel) -> Tensor:
        """Embeddings of the recordings, in the order of `_sounds`."""
        prefix, features = self._prefix(clap, WHOLE), _Features(self)
        batches = (torch.stack([features[row] for row in rows]) for rows in self._batches())
        return torch.cat([audio_suffix(clap, WHOLE, prefix.audio(batch).flatten(0, 1)).cpu() for batch in batches])

    @torch.inference_mode()
    def _cached_embeds(self, clap: ClapModel, cut: Cut) -> tuple[Tensor, Tensor]:
        """Embeddings of the recordings and of the captions, in the order of `_captions`."""
        prefix = self._prefix(clap, cut)
        recordings, (captions, ids_and_mask) = self._recordings(prefix), prefix.captions(list(self._captions))
        prefix.fill_recordings(recordings, _Features(self), together=False)  # the main process may be alone here
        prefix.fill_captions(captions, ids_and_mask, together=False)
        audio, text = [], []
        for rows in self._batches():
            tokens = torch.cat([recordings[row] for row in rows])
            audio.append(audio_suffix(clap, cut, tokens.to(clap.device)).cpu())
        for start in range(0, len(captions), 4 * BATCH):
            rows = range(start, min(start + 4 * BATCH, len(captions)))
            hidden, mask = torch.stack([captions[row] for row in rows]), ids_and_mask[rows.start : rows.stop, 1]
            text.append(text_suffix(clap, cut, hidden.to(clap.device), mask.to(clap.device)).cpu())
        return torch.cat(audio), torch.cat(text)

    def _prefix(self, clap: ClapModel, cut: Cut) -> FrozenPrefix:
        return FrozenPrefix(clap, cut, self.processor, "float32")

    def _recordings(self, prefix: FrozenPrefix) -> TokenStore:
        heard = self._renderer.recordings_id(self._groups, *self._views)
        return prefix.recordings(len(self._groups), len(self._views), heard)

    def _batches(self) -> Iterator[range]:
        """Rows of `_groups` that make about `BATCH` recordings."""
        size = max(1, BATCH // len(self._views))
        return (range(i, min(i + size, len(self._groups))) for i in range(0, len(self._groups), size))

    def sounds(self, row: int) -> list[Waveform]:
        """The recordings of the row-th group, one for each view that is asked about."""
        clip_a, clip_b, seed, group_id = self._groups[row]
        sounds = self._renderer.sounds(clip_a, clip_b, seed, group_id, self._views)
        return [sounds[view] for view in self._views]


class _Features:
    """Log-mels of each group's recordings, (K, 1, frames, mels)."""

    def __init__(self, evaluator: ZsteEvaluator) -> None:
        self.evaluator = evaluator

    def __getitem__(self, row: int) -> Tensor:
        return self.evaluator.log_mel(torch.from_numpy(np.stack(self.evaluator.sounds(row))))


@torch.inference_mode()
def embed_text(model: nn.Module, processor: ClapProcessor, captions: Sequence[str]) -> Tensor:
    """Captions -> L2-normalised `text_embeds` (n, D) on the CPU."""
    clap = plain_clap(model)
    chunks = []
    # Captions of like length share a batch: less padding. The order is restored below.
    order = sorted(range(len(captions)), key=lambda i: len(captions[i]))
    for start in range(0, len(order), 4 * BATCH):
        batch = [captions[i] for i in order[start : start + 4 * BATCH]]
        tokens = tokenize(processor, batch).to(clap.device)
        hidden = text_prefix(clap, WHOLE, tokens["input_ids"], tokens["attention_mask"])
        chunks.append(text_suffix(clap, WHOLE, hidden, tokens["attention_mask"]).cpu())
    embeds = torch.cat(chunks)
    restored = torch.empty_like(embeds)
    restored[order] = embeds
    return restored


def warn_if_collapsed(text_embeds: Tensor) -> None:
    """Warn where different captions get nearly one embedding (n, D): such a checkpoint cannot be asked anything."""
    if len(text_embeds) > 1 and (mean := collapse_similarity(text_embeds)) > COLLAPSED:
        logger.warning(
            "the text tower gives different captions nearly the same embedding (mean cosine %.3f): it has collapsed, "
            "as laion/larger_clap_music's has (embeddings-benchmark/mteb#5069); use another checkpoint",
            mean,
        )


@dataclass(frozen=True)
class Ranking:
    """Captions with their cosine similarity to a sound, best first; `windows`: how many were averaged."""

    captions: tuple[tuple[str, float], ...]
    windows: int


@torch.inference_mode()
def rank(model: nn.Module, processor: ClapProcessor, sound: str | Path | Waveform, captions: Sequence[str]) -> Ranking:
    """Which caption fits a sound? `sound` is a file, or a mono array at the processor's sampling rate.

    A sound longer than the model's window is heard through evenly spaced windows (the same every time) whose
    similarities are averaged; a shorter one is padded with silence, never tiled: tiling destroys order.

    Raises:
        ValueError: no captions; a sound that cannot be decoded.
    """
    if not captions:
        raise ValueError("no caption to rank; give at least one, two to compare")
    if not isinstance(sound, str | Path) and (sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all()):
        raise ValueError(f"the sound must be a mono array of finite samples, found shape {sound.shape}")
    clap = plain_clap(model).eval()
    log_mel = LogMel.from_extractor(processor.feature_extractor)
    waveform = decode(sound, log_mel.sampling_rate) if isinstance(sound, str | Path) else sound
    n_windows = -(-len(waveform) // log_mel.n_samples)
    starts = np.linspace(0, max(0, len(waveform) - log_mel.n_samples), n_windows).astype(int)
    windows = [waveform[start : start + log_mel.n_samples] for start in starts]
    padded = np.stack([np.pad(w, (0, log_mel.n_samples - len(w))) for w in windows])
    features = log_mel(torch.from_numpy(padded)).to(clap.device)
    audio = audio_suffix(clap, WHOLE, audio_prefix(clap, WHOLE, features)).cpu()
    similarity = (audio @ embed_text(clap, processor, captions).T).mean(dim=0).tolist()
    ranked = sorted(zip(captions, similarity, strict=True), key=lambda pair: -pair[1])
    return Ranking(tuple(ranked), n_windows)
