"""The evaluator that runs an audio-text model through ZSTE, and its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import caption, meaning
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.zste_items import PROMPT, ZSTE_TASKS, Item, plan_zste
from teminal_hf.evaluation.embedder import Embedder
from teminal_hf.evaluation.retrieval import Retrieved, both_ways
from teminal_hf.evaluation.zste import TASKS, item_correct, score, wilson_interval
from teminal_hf.models.embed import TrainableEncoder
from teminal_hf.models.encoder import Encoder
from teminal_hf.models.towers import SplitPoint
from teminal_hf.storage.tensor_store import TensorStore


@dataclass(frozen=True)
class ZsteReport:
    """`results` as `zste.score` returns them (and "1_tiled", task 1 on clips repeated to fill the window; "8 FAMILY",
    task 8 in the wordings of one family; "audio to text R@1" and others as `retrieval.both_ways` names them);
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


def row_of(values: Sequence[float], chance: float) -> dict[str, Any]:
    """A row of results, as `zste.score` has them, of each question's score in [0, 1]."""
    n = len(values)
    ci95 = list(wilson_interval(float(np.sum(values)), n))
    return {"accuracy": float(np.mean(values)), "chance": chance, "n": n, "ci95": ci95}


class _Described(NamedTuple):
    """A recording of the gallery: `view` of a group, what says it, and what that means."""

    group_id: int
    clip: str
    view: str
    caption: str
    meaning: str


class ZsteEvaluator:
    """ZSTE on one table of test clips: `evaluator(encoder)` -> `ZsteReport`. Items, rendering and scores are fixed by
    `seed`, so two models (or one, twice) answer the same questions.

    Args:
        clips: test clips, of folds never trained on.
        settings: how pairs are composed, for models of this rate and window: `RenderSettings.of(encoder)`.
        n_groups: at most this many groups (default: one per clip).
        tasks: of `tasks.ZSTE_TASKS`.
        seed: of the items and their rendering.
        prompt: of class names in tasks 1 and 2; holds one {}.
        families: of connectives, asked apart as task 8: those that a training left out.
        retrieval: ask too for the captions of each recording among all recordings' captions, and the other way round:
            of every group X then Y, Y then X, and both at once. What says the same is right alike.
        items: asked instead, such as those of `plan_wordings` with the same seed; what says which to plan is not read.
    """

    def __init__(
        self,
        clips: ClipTable,
        settings: RenderSettings,
        *,
        n_groups: int | None = None,
        seed: int = 0,
        tasks: Sequence[str] = ZSTE_TASKS,
        prompt: str = PROMPT,
        families: Sequence[str] = (),
        retrieval: bool = False,
        items: Sequence[Item] | None = None,
    ) -> None:
        self.clips, self.settings, self.seed = clips, settings, seed
        if items is None:
            items = plan_zste(clips, n_groups=n_groups, seed=seed, tasks=tasks, prompt=prompt, families=families)
        self.items: list[Item] = list(items)
        clips_of = {item.group_id: item.clips for item in sorted(self.items, key=lambda item: len(item.clips))}
        groups = [(clips_of[number], seed, number) for number in dict.fromkeys(item.group_id for item in self.items)]
        of_items = (view for item in self.items for view in (*item.views, *(["tiled"] if item.task == "1" else [])))
        self._gallery = _gallery(clips, groups) if retrieval else []
        of_gallery = (described.view for described in self._gallery)
        views = list(dict.fromkeys((*of_items, *of_gallery)))  # of every group: each has an item of every task
        self._sounds = {key: row for row, key in enumerate((group[-1], view) for group in groups for view in views)}
        captions = dict.fromkeys(caption for item in self.items for caption in item.candidates)
        captions |= dict.fromkeys(described.caption for described in self._gallery)
        self._captions = {caption: i for i, caption in enumerate(captions)}
        self.embedder = Embedder(Renderer(clips, settings), groups, views, list(captions))

    def __call__(self, encoder: Encoder, split_point: SplitPoint | None = None) -> ZsteReport:
        """Evaluate `encoder`; `split_point` as of `Embedder`."""
        return self._report(*self.embedder(encoder, split_point))

    def stores(self, encoder: TrainableEncoder, split_point: SplitPoint) -> tuple[TensorStore, TensorStore]:
        """What an evaluation of this model at this split point needs on disk: recordings, captions."""
        return self.embedder.stores(encoder, split_point)

    def _report(self, audio: NDArray[np.float64], text: NDArray[np.float64]) -> ZsteReport:
        questions = [(f"{item.task} {item.family}".strip(), item, item.views) for item in self.items]
        questions += [("1_tiled", item, ("tiled",)) for item in self.items if item.task == "1"]
        scores = [self._scores(item, views, audio, text) for _, item, views in questions]
        right, tasks = [item.right for _, item, _ in questions], [item.task for _, item, _ in questions]
        apart = [name if name not in TASKS else "" for name, *_ in questions]  # of rows beside the tasks'
        results: dict[str, Any] = {}
        for row in dict.fromkeys(apart):
            rows = [i for i, name in enumerate(apart) if name == row]
            scored = score([scores[i] for i in rows], [right[i] for i in rows], [tasks[i] for i in rows])
            results |= {row: scored[tasks[rows[0]]]} if row else scored
        correct = [item_correct(*row) for row in zip(scores, right, tasks, strict=True)]
        wording: dict[str, dict[str, list[float]]] = {}
        for (name, item, _), value in zip(questions, correct, strict=True):
            if item.wording:
                wording.setdefault(name, {}).setdefault(item.wording, []).append(value)
        wording_means = {task: {w: float(np.mean(v)) for w, v in by.items()} for task, by in wording.items()}
        items = [(name, item.clip_a, value) for (name, item, _), value in zip(questions, correct, strict=True)]
        if self._gallery:
            for name, found in self._retrieved(audio, text).items():
                results[name] = row_of(found.values, found.chance)
                items += [(name, d.clip, value) for d, value in zip(self._gallery, found.values, strict=True)]
        return ZsteReport(results, wording_means, items)

    def _retrieved(self, audio: NDArray[np.float64], text: NDArray[np.float64]) -> dict[str, Retrieved]:
        recordings = audio[[self._sounds[described.group_id, described.view] for described in self._gallery]]
        captions = text[[self._captions[described.caption] for described in self._gallery]]
        return both_ways(recordings, captions, [described.meaning for described in self._gallery])

    def _scores(
        self, item: Item, views: Sequence[str], audio: NDArray[np.float64], text: NDArray[np.float64]
    ) -> list[float]:
        groups = item.gallery or (item.group_id,)
        rows = audio[[self._sounds[group, view] for group in groups for view in views]]
        return (rows @ text[[self._captions[c] for c in item.candidates]].T).ravel().tolist()


def _gallery(clips: ClipTable, groups: Sequence[tuple[Sequence[str], int, int]]) -> list[_Described]:
    """Three recordings of each group, order said by "before" and "after" in turns."""
    label = dict(zip(clips.ids, clips.labels, strict=True))
    gallery = []
    for (clip_a, clip_b, *_), _, group_id in groups:
        a, b = label[clip_a], label[clip_b]
        order = ("before", "after")[group_id % 2]
        for view, connective, labels in (
            ("forward", order, (a, b)),
            ("reversed", order, (b, a)),
            ("overlay", "while", (a, b)),
        ):
            key = meaning("overlap" if view == "overlay" else "sequence", *labels)
            gallery.append(_Described(group_id, clip_a, view, caption(connective, *labels), key))
    return gallery
