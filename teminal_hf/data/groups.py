"""Groups of two clips: the manifest (which clips, which words) and its rendering (the sound).

A *group* is two clips `a`, `b` of different classes. `(seed, index)` fixes it, so a longer manifest begins with the
shorter one. Rendering composes the views of a group on the fly; nothing rendered is ever stored.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from teminal_hf.audio import waveform as audio
from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.sources import ClipTable
from teminal_hf.data.captions import (
    BOTH,
    SEQUENCE_CONNECTIVES,
    SINGLE,
    caption,
    check_training_connective,
    meaning,
    spoken,
)
from teminal_hf.storage.cache import code_id, digest

VIEWS = ("single", "forward", "reversed", "overlay")
STAGE_A_VIEWS = ("single", "double")
STAGE_B_VIEWS = ("forward", "reversed", "overlay")

_PLAN, _RENDER = 0, 1  # separate random streams: drawing one more number for a caption must not move the audio


@dataclass(frozen=True)
class RenderSettings:
    """How the views of a group are composed. Times in seconds, levels in dB.

    Args:
        sampling_rate: Hz of the rendered audio; the model's.
        window: length of the rendered audio; the model's window.
        gap: silence between the two sounds of a sequence.
        crossfade: overlap of the two sounds of a sequence, at most half of the shorter; excludes `gap`.
        level_range: each clip's RMS is drawn within +- this many dB of the other's nominal level.
        level: RMS of every view, in dBFS over its sounding part; lowered for the whole group where a peak would clip.
    """

    sampling_rate: int = 48_000
    window: float = 10.0
    gap: float = 0.0
    crossfade: float = 0.0
    level_range: float = 3.0
    level: float = -20.0

    def __post_init__(self) -> None:
        if self.sampling_rate <= 0:
            raise ValueError(f"sampling_rate must be positive, got {self.sampling_rate}")
        for name in ("gap", "crossfade", "level_range"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.gap and self.crossfade:
            raise ValueError(f"gap ({self.gap} s) and crossfade ({self.crossfade} s) exclude each other")
        if self.slot < 2 * audio.MIN_SECONDS:
            raise ValueError(
                f"a window of {self.window} s with a gap of {self.gap} s leaves {self.slot:.2f} s for each sound "
                f"({2 * audio.MIN_SECONDS} s needed): the model's window is shorter than the pair; shorten the gap"
            )

    @property
    def slot(self) -> float:
        """Longest part of one clip, in seconds: two slots and the gap fill the window."""
        return (self.window - self.gap) / 2

    @property
    def samples(self) -> int:
        return round(self.window * self.sampling_rate)


class Renderer:
    """Turns rows of a manifest into audio: `renderer.views(clip_a, clip_b, seed, index)` -> {view: (samples,)}."""

    def __init__(self, clips: ClipTable, settings: RenderSettings) -> None:
        self.clips = clips
        self.settings = settings

    def views(
        self, clip_a: str, clip_b: str, seed: int, index: int, names: Sequence[str] = VIEWS
    ) -> dict[str, Waveform]:
        """Every view has the same total duration, place in the window and RMS; "reversed" swaps the clips.

        "single" (clip `a` alone) and "overlay" loop their clips to the length of the sequence: otherwise half the
        duration, or 3 dB more level, would tell the relation without listening.
        """
        s = self.settings
        rng = np.random.default_rng([seed, index, _RENDER])
        levels = s.level + rng.uniform(-s.level_range, s.level_range, 2)
        positions, place = rng.uniform(size=2), rng.uniform()
        a, b = (
            self._event(clip, level, position)
            for clip, level, position in zip((clip_a, clip_b), levels, positions, strict=True)
        )
        gap, crossfade = (round(t * s.sampling_rate) for t in (s.gap, s.crossfade))
        forward = audio.join(a, b, gap, crossfade)
        length = len(forward)
        single = audio.loop_to(a, length, s.sampling_rate)
        composed = {
            "single": single,
            "forward": forward,
            "reversed": audio.join(b, a, gap, crossfade),
            # As the forward view, it begins with the beginning of `a` and ends with the end of `b` (looped from there
            # backwards): a pause or a cut-off sound at its end would betray it.
            "overlay": single + audio.loop_to(b[::-1], length, s.sampling_rate)[::-1],
        }
        gains = {name: np.float32(audio.level_gain(view, s.level)) for name, view in composed.items()}
        # One limit for all views, whichever are asked for: a limiter on one view alone would betray it by its level.
        peaks = [gains[name] * max(view.max(), -view.min()) for name, view in composed.items()]
        limit = np.float32(min(1.0, 0.99 / max(map(float, peaks))))
        sounds = {name: audio.place(composed[name], s.samples, place) for name in names}
        for name, sound in sounds.items():
            sound *= gains[name]
            if limit < 1:
                sound *= limit
        return sounds

    def sounds(self, clip_a: str, clip_b: str, seed: int, index: int, names: Sequence[str]) -> dict[str, Waveform]:
        """As `views`, and besides "clip" and "tiled": clip `a` as it is, padded or repeated (see `clip`)."""
        composed = [name for name in names if name not in ("clip", "tiled")]
        sounds = self.views(clip_a, clip_b, seed, index, composed) if composed else {}
        return sounds | {name: self.clip(clip_a, tiled=name == "tiled") for name in names if name not in composed}

    def clip(self, clip_id: str, *, tiled: bool = False) -> Waveform:
        """One clip as it is, neither trimmed nor levelled, from the window's start; padded with silence, or repeated
        whole as often as it fits (`padding="repeatpad"`). What is longer than the window is cut off."""
        samples = self.settings.samples
        waveform = self.clips.waveform(clip_id, self.settings.sampling_rate, trim=False)[:samples]
        if tiled:
            waveform = np.tile(waveform, samples // len(waveform))
        return np.pad(waveform, (0, samples - len(waveform)))

    def recordings_id(self, groups: Iterable[tuple[str, str, int, int]], *names: str) -> str:
        """Hash of all that the views `names` of these groups (clip_a, clip_b, seed, index) depend on, the clips' own
        samples included."""
        groups = list(groups)
        content = {clip: self.clips.content(clip) for group in groups for clip in group[:2]}
        return digest(groups, content, asdict(self.settings), names, code_id(audio, sys.modules[__name__]))

    def _event(self, clip_id: str, level: float, position: float) -> Waveform:
        s = self.settings
        waveform = self.clips.waveform(clip_id, s.sampling_rate)
        part = audio.sounding(audio.cut(waveform, int(s.slot * s.sampling_rate), position), s.sampling_rate)
        return audio.level_to(audio.fade_ends(part, s.sampling_rate), level)


def plan(
    stage: str,
    clips: ClipTable,
    n_groups: int,
    seed: int,
    connectives: Sequence[str] = SEQUENCE_CONNECTIVES,
    *,
    start: int = 0,
) -> Iterator[dict[str, Any]]:
    """The manifest of `stage` ("stage_a" or "stage_b"): `n_groups` rows of ids, labels and captions, from `start` on.

    Captions are stored, so that the manifest is of use without this package. Stage B says order with one of
    `connectives`, drawn anew for each view.

    Raises:
        ValueError: a connective that is unknown, says no order, or is held out for evaluation, or none; a single class.
    """
    if n_groups < 1:
        raise ValueError(f"n_groups must be at least 1, got {n_groups}")
    if not connectives:
        raise ValueError("connectives is empty; name at least one, such as before")
    for name in connectives:
        check_training_connective(name)
    by_class: dict[str, list[str]] = {}
    for clip_id, label in zip(clips.ids, clips.labels, strict=True):
        by_class.setdefault(label, []).append(clip_id)
    labels = sorted(by_class)
    if len(labels) < 2:
        raise ValueError(f"pairs need two classes; these folds hold {labels}")
    words = {"stage_a": _stage_a_words, "stage_b": _stage_b_words}[stage]
    for index in range(start, n_groups):
        rng = np.random.default_rng([seed, index, _PLAN])
        # Two classes without replacement, then a clip of each: every ordered pair of classes is reachable.
        a, b = (labels[i] for i in rng.choice(len(labels), 2, replace=False))
        clip_a, clip_b = (by_class[label][rng.integers(len(by_class[label]))] for label in (a, b))
        group = {"group_id": index, "seed": seed, "clip_a": clip_a, "clip_b": clip_b, "label_a": a, "label_b": b}
        yield group | words(a, b, connectives, rng)


def _stage_a_words(a: str, b: str, connectives: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """One sound ("the sound of X") or two, in sequence or overlaid ("the sound of X and Y")."""
    return {
        "double_view": str(rng.choice(STAGE_B_VIEWS)),
        "single_caption": SINGLE.format(spoken(a)),
        "double_caption": BOTH.format(*(spoken(str(label)) for label in rng.permutation([a, b]))),
    }


def _stage_b_words(a: str, b: str, connectives: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """Forward, reversed and overlay, each with its caption; connectives at random."""
    forward, reverse = (str(rng.choice(list(connectives))) for _ in range(2))
    return {
        "forward_caption": caption(forward, a, b),
        "reversed_caption": caption(reverse, b, a),
        "overlay_caption": caption("while", *(str(label) for label in rng.permutation([a, b]))),
        **_stage_a_words(a, b, connectives, rng),  # so that both stages can be trained jointly
    }


def view_meanings(row: Mapping[str, Any], view: str) -> list[str]:
    """Keys of what the view says. The first is its own meaning; the others are captions that hold of its audio as
    well and so are no negatives for it (a double holding X against "the sound of X").

    A user's own audio-caption pair (the view `pair`, or a row without labels) means what its caption says, letter case
    and spacing apart.
    """
    if view == "pair" or "label_a" not in row:
        return ["caption\t" + " ".join(row[f"{view}_caption"].lower().split())]
    a, b = row["label_a"], row["label_b"]
    match view:
        case "single":
            return [meaning("single", a)]
        case "double":
            return [meaning("both", a, b), meaning("single", a), meaning("single", b)]
        case "overlay":
            return [meaning("overlap", a, b)]
        case "reversed":
            return [meaning("sequence", b, a)]
        case "forward":
            return [meaning("sequence", a, b)]
    raise ValueError(f"unknown view {view!r}; choose of {', '.join(sorted({*VIEWS, *STAGE_A_VIEWS}))}")


def plain_caption(row: Mapping[str, Any], view: str) -> str:
    """The view's caption with the words in the order of the sounds: "X before Y", whatever wording was drawn."""
    if view == "forward":
        return caption("before", row["label_a"], row["label_b"])
    if view == "reversed":
        return caption("before", row["label_b"], row["label_a"])
    return row[f"{view}_caption"]


class GroupDataset(Sequence[dict[str, Any]]):
    """Rows of a manifest with the audio of their views, rendered when indexed."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], renderer: Renderer, views: Sequence[str]) -> None:
        self.manifest, self.renderer, self.views = rows, renderer, tuple(views)

    @property
    def recordings_id(self) -> str:
        """Hash of all that the audio depends on."""
        groups = [(row["clip_a"], row["clip_b"], row["seed"], row["group_id"]) for row in self.manifest]
        doubles = [row["double_view"] for row in self.manifest] if "double" in self.views else []
        return self.renderer.recordings_id(groups, *self.views, *doubles)

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: Any) -> Any:
        row = self.manifest[index]
        return dict(row) | render_row(self.renderer, row, self.views)


def render_row(renderer: Renderer, row: Mapping[str, Any], views: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The views of a manifest row as `{"array": (samples,) float32, "sampling_rate": Hz}`."""
    sources = {view: row["double_view"] if view == "double" else view for view in views}
    rendered = renderer.views(row["clip_a"], row["clip_b"], row["seed"], row["group_id"], sorted(set(sources.values())))
    rate = renderer.settings.sampling_rate
    return {view: {"array": rendered[name], "sampling_rate": rate} for view, name in sources.items()}
