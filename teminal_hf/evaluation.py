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

from teminal_hf.audio import Waveform, decode
from teminal_hf.features import LogMel
from teminal_hf.pairs import Renderer, RenderSettings
from teminal_hf.sources import ClipTable
from teminal_hf.tasks import PROMPT, ZSTE_TASKS, Item, plan_zste
from teminal_hf.tokens import tokenize
from teminal_hf.towers import (
    Cut,
    audio_prefix,
    audio_suffix,
    collapse_similarity,
    plain_clap,
    text_prefix,
    text_suffix,
)
from teminal_hf.zste import item_correct, score

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
        self._clips_of = {item.group_id: (item.clip_a, item.clip_b) for item in self.items}
        self._views: dict[int, list[str]] = {group_id: [] for group_id in self._clips_of}
        for item in self.items:
            asked = (*item.views, "tiled") if item.task == "1" else item.views
            self._views[item.group_id] += [view for view in asked if view not in self._views[item.group_id]]
        keys = [(group_id, view) for group_id, views in self._views.items() for view in views]
        self._sounds = {key: row for row, key in enumerate(keys)}
        captions = {caption: None for item in self.items for caption in item.candidates}
        self._captions = {caption: i for i, caption in enumerate(captions)}
        self._tokens: tuple[Cut, list[Tensor]] | None = None

    def __call__(self, model: nn.Module, cut: Cut | None = None) -> ZsteReport:
        """Evaluate `model` (a `ClapModel`, plain or wrapped).

        Args:
            cut: the frozen prefix is the same at every call: compute it once and keep its output.
        """
        clap = plain_clap(model).eval()
        audio = torch.cat(list(self._audio_embeds(clap, cut))).double().numpy()
        text = embed_text(clap, self.processor, list(self._captions)).double().numpy()
        warn_if_collapsed(torch.from_numpy(text[:: max(1, len(text) // 64)]))
        return self._report(audio, text)

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
    def _audio_embeds(self, clap: ClapModel, cut: Cut | None) -> Iterator[Tensor]:
        if cut is None:
            for features in self._feature_batches():
                yield audio_suffix(clap, WHOLE, audio_prefix(clap, WHOLE, features.to(clap.device))).cpu()
            return
        if self._tokens is None or self._tokens[0] != cut:
            batches = [audio_prefix(clap, cut, f.to(clap.device)).cpu() for f in self._feature_batches()]
            self._tokens = (cut, batches)
        for tokens in self._tokens[1]:
            yield audio_suffix(clap, cut, tokens.to(clap.device)).cpu()

    def _feature_batches(self) -> Iterator[Tensor]:
        batch: list[Waveform] = []
        for group_id, views in self._views.items():
            clip_a, clip_b = self._clips_of[group_id]
            sounds = self._renderer.sounds(clip_a, clip_b, self.seed, group_id, views)
            batch += [sounds[view] for view in views]
            while len(batch) >= BATCH:
                yield self.log_mel(torch.from_numpy(np.stack(batch[:BATCH])))
                batch = batch[BATCH:]
        if batch:
            yield self.log_mel(torch.from_numpy(np.stack(batch)))


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
