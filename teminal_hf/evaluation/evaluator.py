"""The evaluator that runs a `ClapModel` through ZSTE, and its report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import ClapModel, ClapProcessor

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.zste_items import PROMPT, ZSTE_TASKS, Item, plan_zste
from teminal_hf.evaluation.zste import item_correct, score
from teminal_hf.models.embed import CAPTIONS, embed_features, embed_text, warn_if_collapsed
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import SplitPoint, audio_suffix, text_suffix, unwrap_clap
from teminal_hf.storage.tensor_store import TensorStore

BATCH = 32  # recordings at a time


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
        settings: how pairs are composed (default: `RenderSettings.of_extractor` of the processor's).
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
        settings: RenderSettings | None = None,
    ) -> None:
        self.clips, self.processor, self.seed = clips, processor, seed
        self.items: list[Item] = plan_zste(clips, n_groups=n_groups, seed=seed, tasks=tasks, prompt=prompt)
        self.log_mel = LogMel.from_extractor(processor.feature_extractor)
        self._renderer = Renderer(clips, settings or RenderSettings.of_extractor(processor.feature_extractor))
        self._groups = list(dict.fromkeys((i.clip_a, i.clip_b, seed, i.group_id) for i in self.items))
        views = (view for item in self.items for view in (*item.views, *(["tiled"] if item.task == "1" else [])))
        self._views = list(dict.fromkeys(views))  # of every group: each has an item of every task
        keys = [(group_id, view) for *_, group_id in self._groups for view in self._views]
        self._sounds = {key: row for row, key in enumerate(keys)}
        captions = {caption: None for item in self.items for caption in item.candidates}
        self._captions = {caption: i for i, caption in enumerate(captions)}

    def __call__(self, model: nn.Module, split_point: SplitPoint | None = None) -> ZsteReport:
        """Evaluate `model` (a `ClapModel`, plain or wrapped).

        Args:
            split_point: read the frozen prefixes' output, in float32, from the cache, where all models with these
                frozen layers share it (needs clips that are `usable`). None: the whole model, nothing on disk.
        """
        clap = unwrap_clap(model).eval()
        if split_point is None:
            audio, text = self._audio_embeds(clap), embed_text(clap, self.processor, list(self._captions))
        else:
            audio, text = self._cached_embeds(clap, split_point)
        warn_if_collapsed(text[:: max(1, len(text) // 64)])
        return self._report(audio.double().numpy(), text.double().numpy())

    def stores(self, model: nn.Module, split_point: SplitPoint) -> tuple[TensorStore, TensorStore]:
        """What an evaluation of `model` at this split point needs on disk: recordings, captions."""
        prefix = self._prefix(unwrap_clap(model), split_point)
        return self._recordings(prefix), prefix.captions(list(self._captions))[0]

    def _report(self, audio: NDArray[np.float64], text: NDArray[np.float64]) -> ZsteReport:
        questions = [(item.task, item, item.views) for item in self.items]
        questions += [("1_tiled", item, ("tiled",)) for item in self.items if item.task == "1"]
        scores = [self._scores(item, views, audio, text) for _, item, views in questions]
        right, tasks = [item.right for _, item, _ in questions], [item.task for _, item, _ in questions]
        n = len(self.items)
        results = score(scores[:n], right[:n], tasks[:n])
        if len(questions) > n:
            results["1_tiled"] = score(scores[n:], right[n:], tasks[n:])["1"]
        correct = [item_correct(*row) for row in zip(scores, right, tasks, strict=True)]
        wording: dict[str, dict[str, list[float]]] = {}
        for (name, item, _), value in zip(questions, correct, strict=True):
            if item.wording:
                wording.setdefault(name, {}).setdefault(item.wording, []).append(value)
        wording_means = {task: {w: float(np.mean(v)) for w, v in by.items()} for task, by in wording.items()}
        items = [(name, item.clip_a, value) for (name, item, _), value in zip(questions, correct, strict=True)]
        return ZsteReport(results, wording_means, items)

    def _scores(
        self, item: Item, views: Sequence[str], audio: NDArray[np.float64], text: NDArray[np.float64]
    ) -> list[float]:
        rows = audio[[self._sounds[item.group_id, view] for view in views]]
        return (rows @ text[[self._captions[c] for c in item.candidates]].T).ravel().tolist()

    def _audio_embeds(self, clap: ClapModel) -> Tensor:
        """Embeddings of the recordings, in the order of `_sounds`."""
        features = _Features(self)
        return torch.cat([embed_features(clap, torch.cat([features[row] for row in rows])) for rows in self._batches()])

    @torch.inference_mode()
    def _cached_embeds(self, clap: ClapModel, split_point: SplitPoint) -> tuple[Tensor, Tensor]:
        """Embeddings of the recordings and of the captions, in the order of `_captions`."""
        prefix = self._prefix(clap, split_point)
        recordings, (captions, ids_and_mask) = self._recordings(prefix), prefix.captions(list(self._captions))
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
        return FrozenPrefix(clap, split_point, self.processor, "float32")

    def _recordings(self, prefix: FrozenPrefix) -> TensorStore:
        recordings_id = self._renderer.recordings_id(self._groups, *self._views)
        return prefix.recordings(len(self._groups), len(self._views), recordings_id)

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
