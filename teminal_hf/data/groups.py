"""Manifests of groups (which clips, which words), what their captions mean, and groups with their sound.

A *group* is two clips `a`, `b` of different classes. `(seed, index)` fixes it, so a longer manifest begins with the
shorter one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import (
    BOTH,
    OVERLAP_CONNECTIVES,
    POSITIONS,
    SEQUENCE_CONNECTIVES,
    SINGLE,
    caption,
    caption_key,
    meaning,
    phrasings,
    spoken,
)
from teminal_hf.data.rendering import Renderer, render_row
from teminal_hf.data.views import PAIR, RENDERED_VIEWS, STAGE_A_VIEWS, STAGE_B_VIEWS
from teminal_hf.errors import ConfigError, DataError

_PLAN = 0  # the random stream of the words; the sound has another (see rendering.py)


def plan(
    stage: str,
    clips: ClipTable,
    n_groups: int,
    seed: int,
    connectives: Sequence[str] = SEQUENCE_CONNECTIVES,
    *,
    overlap_connectives: Sequence[str] = OVERLAP_CONNECTIVES,
    leave_out: Sequence[str] = (),
    positions: float = 0.0,
    start: int = 0,
) -> Iterator[dict[str, Any]]:
    """The manifest of `stage` ("stage_a" or "stage_b"): `n_groups` rows of ids, labels and captions, from `start` on.

    Captions are stored, so that the manifest is of use without this package. Stage B says order with one of
    `connectives`, and what is heard at once with one of `overlap_connectives` (see `captions.phrasings`, which also
    leaves out families), drawn anew for each view; a share `positions` of its sequences says what is heard first, or
    second, alone.

    Raises:
        ConfigError: as of `captions.phrasings`; a number that makes no sense.
        DataError: a single class.
    """
    if n_groups < 1:
        raise ConfigError(f"n_groups must be at least 1, got {n_groups}")
    if not 0 <= positions <= 1:
        raise ConfigError(f"positions must be between 0 and 1, got {positions}")
    order = phrasings(connectives, "sequence", leave_out)
    at_once = phrasings(overlap_connectives, "overlap", leave_out)
    by_class: dict[str, list[str]] = {}
    for clip_id, label in zip(clips.ids, clips.labels, strict=True):
        by_class.setdefault(label, []).append(clip_id)
    labels = sorted(by_class)
    if len(labels) < 2:
        raise DataError(f"pairs need two classes; these folds hold {labels}")
    words = {"stage_a": _stage_a_words, "stage_b": _stage_b_words}[stage]
    for index in range(start, n_groups):
        rng = np.random.default_rng([seed, index, _PLAN])
        # Two classes without replacement, then a clip of each: every ordered pair of classes is reachable.
        a, b = (labels[i] for i in rng.choice(len(labels), 2, replace=False))
        clip_a, clip_b = (by_class[label][rng.integers(len(by_class[label]))] for label in (a, b))
        group = {"group_id": index, "seed": seed, "clip_a": clip_a, "clip_b": clip_b, "label_a": a, "label_b": b}
        group |= words(a, b, order, at_once, rng)
        yield group | (_position_words(a, b, positions, rng) if positions and stage == "stage_b" else {})


_Choices = Sequence[Sequence[str]]


def _drawn(choices: _Choices, rng: np.random.Generator) -> str:
    """A connective of `captions.phrasings`."""
    choice = choices[int(rng.integers(len(choices)))]
    return choice[int(rng.integers(len(choice)))]


def _stage_a_words(a: str, b: str, order: _Choices, at_once: _Choices, rng: np.random.Generator) -> dict[str, str]:
    """One sound ("the sound of X") or two, in sequence or overlaid ("the sound of X and Y")."""
    return {
        "double_view": str(rng.choice(STAGE_B_VIEWS)),
        "single_caption": SINGLE.format(spoken(a)),
        "double_caption": BOTH.format(*(spoken(str(label)) for label in rng.permutation([a, b]))),
    }


def _stage_b_words(a: str, b: str, order: _Choices, at_once: _Choices, rng: np.random.Generator) -> dict[str, str]:
    """Forward, reversed and overlay, each with its caption; connectives at random."""
    forward, reverse = (_drawn(order, rng) for _ in range(2))
    overlaid = [str(label) for label in rng.permutation([a, b])]
    stage_a = _stage_a_words(a, b, order, at_once, rng)  # so that both stages can be trained jointly
    while_ = _drawn(at_once, rng)  # last: manifests stay as they were
    return {
        "forward_caption": caption(forward, a, b),
        "reversed_caption": caption(reverse, b, a),
        "overlay_caption": caption(while_, *overlaid),
        **stage_a,
    }


def _position_words(a: str, b: str, share: float, rng: np.random.Generator) -> dict[str, str]:
    """Of forward and reversed what their captions say, and for a share of them captions of one sound alone."""
    words: dict[str, str] = {}
    for view, pair in (("forward", (a, b)), ("reversed", (b, a))):
        place = int(rng.integers(2))
        says, templates = list(POSITIONS.items())[place]
        template, drawn = str(rng.choice(templates)), rng.random() < share
        words[f"{view}_says"] = says if drawn else "sequence"
        if drawn:
            words[f"{view}_caption"] = template.format(spoken(pair[place]))
    return words


def view_meanings(row: Mapping[str, Any], view: str) -> list[str]:
    """Keys of what the view says. The first is its own meaning; the others are captions that hold of its audio as
    well and so are no negatives for it (a double holding X against "the sound of X").

    A user's own audio-caption pair (the view `pair`, or a row without labels) means what its caption says; the captions
    under `<view>_also` are others of the same recording. Where captions of a manifest may say a position alone, a
    sequence holds both of its own and an overlay, in which both sounds begin and end, all four.
    """
    if view == PAIR or "label_a" not in row:
        return [caption_key(text) for text in (row[f"{view}_caption"], *row.get(f"{view}_also", ()))]
    a, b = row["label_a"], row["label_b"]
    match view:
        case "single":
            return [meaning("single", a)]
        case "double":
            return [meaning("both", a, b), meaning("single", a), meaning("single", b)]
        case "overlay":
            places = [meaning(place, label) for place in POSITIONS for label in (a, b)]
            return [meaning("overlap", a, b), *(places if "forward_says" in row else ())]
        case "forward" | "reversed":
            pair = (a, b) if view == "forward" else (b, a)
            if f"{view}_says" not in row:
                return [meaning("sequence", *pair)]
            keys = {place: meaning(place, label) for place, label in zip(POSITIONS, pair, strict=True)}
            keys["sequence"] = meaning("sequence", *pair)
            return [keys.pop(row[f"{view}_says"]), *keys.values()]
    raise ValueError(f"unknown view {view!r}; choose of {', '.join(sorted({*RENDERED_VIEWS, *STAGE_A_VIEWS}))}")


def in_order(row: Mapping[str, Any]) -> tuple[str, str]:
    """The two sounds of a row's `forward`, as they are named, the first one first."""
    first, second = row["sounds"] if "sounds" in row else (row["label_a"], row["label_b"])
    return first, second


def plain_caption(row: Mapping[str, Any], view: str) -> str:
    """The view's caption with the words in the order of the sounds: "X before Y", whatever wording was drawn. One that
    says a position alone stays."""
    if row.get(f"{view}_says", "sequence") != "sequence":
        return row[f"{view}_caption"]
    if view == "forward":
        return caption("before", *in_order(row))
    if view == "reversed":
        return caption("before", *in_order(row)[::-1])
    return row[f"{view}_caption"]


class GroupDataset(Sequence[dict[str, Any]]):
    """Rows of a manifest with the audio of their views, rendered when indexed."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], renderer: Renderer, views: Sequence[str]) -> None:
        self.manifest, self.renderer, self.views = rows, renderer, tuple(views)

    @property
    def recordings_id(self) -> str:
        """Hash of all that the audio depends on."""
        groups = [((row["clip_a"], row["clip_b"]), row["seed"], row["group_id"]) for row in self.manifest]
        doubles = [row["double_view"] for row in self.manifest] if "double" in self.views else []
        return self.renderer.recordings_id(groups, *self.views, *doubles)

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: Any) -> Any:
        row = self.manifest[index]
        return dict(row) | render_row(self.renderer, row, self.views)
