"""The evaluator that runs a `ClapModel` through ZSTE, and its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from transformers import ClapProcessor

from teminal_hf.clips.table import ClipTable
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.zste_items import PROMPT, ZSTE_TASKS, Item, plan_zste
from teminal_hf.evaluation.embedder import Embedder
from teminal_hf.evaluation.zste import item_correct, score
from teminal_hf.models.split import SplitPoint
from teminal_hf.storage.tensor_store import TensorStore


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
        return accuracies(self.results)


def accuracies(results: dict[str, Any]) -> dict[str, float]:
    """Of a report's results the figures alone: {task: accuracy}, with the averages."""
    return {task: row["accuracy"] if isinstance(row, dict) else row for task, row in results.items()}


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
        items: asked instead, such as those of `plan_wordings` with the same seed; what says which to plan is not read.
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
        items: Sequence[Item] | None = None,
    ) -> None:
        self.clips, self.processor, self.seed = clips, processor, seed
        planned = plan_zste(clips, n_groups=n_groups, seed=seed, tasks=tasks, prompt=prompt) if items is None else items
        self.items: list[Item] = list(planned)
        renderer = Renderer(clips, settings or RenderSettings.of_extractor(processor.feature_extractor))
        groups = list(dict.fromkeys((i.clip_a, i.clip_b, seed, i.group_id) for i in self.items))
        of_items = (view for item in self.items for view in (*item.views, *(["tiled"] if item.task == "1" else [])))
        views = list(dict.fromkeys(of_items))  # of every group: each has an item of every task
        self._sounds = {key: row for row, key in enumerate((group[-1], view) for group in groups for view in views)}
        captions = {caption: None for item in self.items for caption in item.candidates}
        self._captions = {caption: i for i, caption in enumerate(captions)}
        self.embedder = Embedder(processor, renderer, groups, views, list(captions))

    def __call__(self, model: nn.Module, split_point: SplitPoint | None = None) -> ZsteReport:
        """Evaluate `model` (a `ClapModel`, plain or wrapped); `split_point` as of `Embedder`."""
        return self._report(*self.embedder(model, split_point))

    def stores(self, model: nn.Module, split_point: SplitPoint) -> tuple[TensorStore, TensorStore]:
        """What an evaluation of `model` at this split point needs on disk: recordings, captions."""
        return self.embedder.stores(model, split_point)

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
