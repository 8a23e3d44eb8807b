"""The items of ZSTE: which recording is played, which captions are offered, which of them is right.

Items are fixed by (clips, seed) and meant for folds that were never trained on. How they are scored is `zste.py`'s.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations

import numpy as np

from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import (
    ALONE_FIRST,
    ALONE_LAST,
    CONNECTIVES,
    FIRST_SOUND,
    HELD_OUT_CONNECTIVES,
    IN_A_ROW,
    LONG_FIRST,
    SECOND_SOUND,
    SHORT_FIRST,
    WITH,
    WITHOUT,
    caption,
    meaning,
    meaning_id,
    of_family,
    spoken,
)
from teminal_hf.data.rendering import alone_first, long_first
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

RETRIEVAL = ("R@1", "R@5")
FIRST_EDITION = ("1", "2A", "2B", "2C", "2D", "3A", "3B", "3O", "4A", "4B", "5A", "5B", "8", "G")
ZSTE_TASKS = (*FIRST_EDITION[:-2], "6", "7", "8", "G", "N", "D", *RETRIEVAL)
EDITIONS = {1: FIRST_EDITION, 2: ZSTE_TASKS}
GALLERY = 67  # groups of three recordings, so 201 of them
PROMPT = "this is a sound of {}"  # of class names, in tasks 1 and 2; LAION-CLAP's own

_AUDIO = {"1": ("clip",), "2C": ("overlay",), "2D": ("overlay",), "3B": ("overlay",), "4B": ("overlay",)} | {
    "G": ("forward", "reversed"),
    "6": ("three",),
    "7": ("nested",),
    "D": ("duration",),
    **dict.fromkeys(RETRIEVAL, STAGE_B_VIEWS),
}
_NEGATED = (("single",), ("forward",), ("single",), ("overlay",))  # in turns: half of the groups hear one sound alone
_OF_THREE = ("6", "7")
# Of each task's own random numbers: in the first edition its place among them all, which none may change.
_STREAMS = {"1": 0, "2A": 1, "2B": 2, "2C": 3, "2D": 4, "3A": 5, "3B": 6, "3O": 7} | {
    "4A": 8, "4B": 9, "5A": 10, "5B": 11, "8": 12, "G": 13
}  # fmt: skip


def _held_out(in_order: bool) -> tuple[str, ...]:
    """The connectives of order kept for evaluation that name the sounds as they are heard, or the other way round."""
    templates = {name: CONNECTIVES[name].template for name in HELD_OUT_CONNECTIVES}
    return tuple(n for n, text in templates.items() if (text.index("{first}") < text.index("{second}")) == in_order)


_HELD_OUT = {"before": _held_out(True), "after": _held_out(False)}


@dataclass(frozen=True)
class Item:
    """One question: `views` of the group (clip_a, clip_b) against `candidates`; `right` are indices as `zste.score`
    wants them. `wording` is how order is put: "before" or "after", "" where the captions name none; `family` that of
    the connective, where an item of task 8 is of a family apart. `clip_c` is the third of tasks 6 and 7. Of the tasks R
    the one caption is asked of the `views` of every group of the `gallery`."""

    task: str
    group_id: int
    clip_a: str
    clip_b: str
    views: tuple[str, ...]
    candidates: tuple[str, ...]
    right: tuple[int, ...]
    wording: str = ""
    family: str = ""
    clip_c: str = ""
    gallery: tuple[int, ...] = ()

    @property
    def clips(self) -> tuple[str, ...]:
        return (self.clip_a, self.clip_b, self.clip_c) if self.clip_c else (self.clip_a, self.clip_b)


def plan_zste(
    clips: ClipTable,
    *,
    n_groups: int | None = None,
    seed: int = 0,
    tasks: Sequence[str] = ZSTE_TASKS,
    prompt: str = PROMPT,
    families: Sequence[str] = (),
) -> list[Item]:
    """Items of `tasks` over up to `n_groups` groups (default and maximum: one per clip).

    Each clip is used at most once as the first and once as the second of a group; in every other group order is asked
    with "before", in the rest with "after" wording.

    Args:
        families: of connectives, each asked about every group too, as task 8 in that family's wordings alone: those
            that a training left out. No other item depends on them.

    Raises:
        ConfigError: unknown task or family, or more groups asked for than there are clips.
    """
    unknown = sorted(set(tasks) - set(ZSTE_TASKS))
    if unknown:
        raise ConfigError(f"unknown task(s) {', '.join(unknown)}; choose of {', '.join(ZSTE_TASKS)}")
    if prompt.count("{}") != 1 or prompt.count("{") != 1:
        raise ConfigError(f"the prompt must hold one {{}} for the class name, got {prompt!r}")
    n_groups = len(clips) if n_groups is None else n_groups
    if not 0 < n_groups <= len(clips):
        raise ConfigError(
            f"n_groups={n_groups}, but these folds hold {len(clips)} clips and each is used once per position"
        )
    if len(clips.classes) < 3 and (left_out := [task for task in tasks if task in _OF_THREE]):
        logger.warning("no task %s: three sounds need three classes, of which these folds hold two", left_out)
        tasks = [task for task in tasks if task not in _OF_THREE]
    pairs = _pairs(clips, seed)[:n_groups]
    galleries: list[list[int]] = []
    if any(task in RETRIEVAL for task in tasks):
        galleries = _galleries([frozenset((clips.labels[a], clips.labels[b])) for a, b in pairs])
        if (smallest := min(map(len, galleries))) < 2:
            logger.warning("no task R: its gallery needs groups of other pairs of classes, found %d", smallest - 1)
            tasks = [task for task in tasks if task not in RETRIEVAL]
    items = []
    for group_id, (a, b) in enumerate(pairs):
        pair = (clips.labels[a], clips.labels[b])
        wording = ("before", "after")[group_id % 2]
        for task in tasks:
            rng = np.random.default_rng([seed, group_id, _stream(task)])
            if task in _OF_THREE:
                items.append(_of_three(task, group_id, clips, (a, b), wording, rng))
                continue
            group = (task, group_id, clips.ids[a], clips.ids[b])
            if task in RETRIEVAL:
                gallery = rng.permutation(galleries[group_id]).tolist()
                place = len(STAGE_B_VIEWS) * gallery.index(group_id)  # of its forward view
                captions = (caption(wording, *pair),)
                items.append(Item(*group, STAGE_B_VIEWS, captions, (place,), wording, gallery=tuple(gallery)))
                continue
            candidates, right, asked = _question(task, pair, clips.classes, wording, prompt, rng, group_id)
            views = _NEGATED[group_id % 4] if task == "N" else _AUDIO.get(task, ("forward",))
            items.append(Item(*group, views, candidates, right, asked))
        for family in families:
            rng = np.random.default_rng([seed, group_id, _stream(f"8 {family}")])
            connective = str(rng.choice(of_family(family)))
            order = _shuffled([caption(connective, *pair), caption(connective, *pair[::-1])], [0], rng)
            items.append(Item("8", group_id, clips.ids[a], clips.ids[b], ("forward",), *order, family=family))
    return items


def plan_wordings(clips: ClipTable, *, n_groups: int | None = None, seed: int = 0) -> list[Item]:
    """The groups of `plan_zste`, each asked in every phrasing: order as 3O, what is heard at once as 3B. The truth is
    the first candidate, and `wording` the connective's name."""
    label = dict(zip(clips.ids, clips.labels, strict=True))
    items = []
    for group in plan_zste(clips, n_groups=n_groups, seed=seed, tasks=["3O"]):
        pair = a, b = label[group.clip_a], label[group.clip_b]
        for name, connective in CONNECTIVES.items():
            if connective.relation == "sequence":
                asked = replace(group, candidates=(caption(name, a, b), caption(name, b, a)))
            else:
                truth = caption(name, *(pair if group.group_id % 2 else (b, a)))
                captions = (truth, caption("before", a, b), caption("before", b, a))
                asked = replace(group, task="3B", views=_AUDIO["3B"], candidates=captions)
            items.append(replace(asked, right=(0,), wording=name))
    return items


def _galleries(classes: Sequence[frozenset[str]]) -> list[list[int]]:
    """Of each group itself and those that follow it, from the first again after the last, of other pairs of classes:
    what says the same would be right as well."""
    n = len(classes)
    galleries = []
    for group in range(n):
        following = ((group + step) % n for step in range(1, n))
        others = (i for i in following if classes[i] != classes[group])
        galleries.append([group, *islice(others, GALLERY - 1)])  # no more are looked for: there may be many groups
    return galleries


def _of_three(
    task: str, group_id: int, clips: ClipTable, pair: tuple[int, int], wording: str, rng: np.random.Generator
) -> Item:
    """A third clip of another class, drawn from all; candidates are all six that order, or place, can make true."""
    labels = [clips.labels[i] for i in pair]
    c = int(rng.choice([i for i, label in enumerate(clips.labels) if label not in labels]))
    said = [spoken(label) for label in (*labels, clips.labels[c])]
    if task == "6":
        captions, right = [IN_A_ROW[wording].format(*order) for order in permutations(said)], 0
    else:
        turns = [[said[i], *_either_way(said[i - 1], said[i - 2], rng)] for i in range(3)]
        captions = [where[wording].format(*turn) for turn in turns for where in (ALONE_FIRST, ALONE_LAST)]
        right = 0 if alone_first(group_id) else 1
    clip_a, clip_b, clip_c = (clips.ids[i] for i in (*pair, c))
    candidates, rights = _shuffled(captions, [right], rng)
    return Item(task, group_id, clip_a, clip_b, _AUDIO[task], candidates, rights, wording, clip_c=clip_c)


def _stream(task: str) -> int:
    """Which random numbers are the task's: a further task gets its own by its name, far from the first edition's, and
    the items of all others stay as they are."""
    return _STREAMS.get(task, 2**64 + meaning_id(task))


def _pairs(clips: ClipTable, seed: int) -> list[tuple[int, int]]:
    """Two orders of the clips, matched place by place, classes different in every place."""
    rng = np.random.default_rng([seed, len(clips)])
    label, most = Counter(clips.labels).most_common(1)[0]
    if 2 * most > len(clips):
        raise DataError(
            f"class {label!r} has {most} of {len(clips)} clips: too many to pair each with another class. These are "
            f"of fold(s) {', '.join(map(str, sorted({*clips.folds})))}: choose others by --test_folds, or give more "
            "clips of other classes"
        )
    first, second = (rng.permutation(len(clips)).tolist() for _ in range(2))
    for i in range(len(clips)):
        while clips.labels[first[i]] == clips.labels[second[i]]:
            j = int(rng.integers(len(clips)))
            fits = clips.labels[second[i]] != clips.labels[first[j]]
            if fits and clips.labels[second[j]] != clips.labels[first[i]]:
                second[i], second[j] = second[j], second[i]
    return list(zip(first, second, strict=True))


def _question(
    task: str,
    pair: tuple[str, str],
    classes: list[str],
    wording: str,
    prompt: str,
    rng: np.random.Generator,
    group_id: int,
) -> tuple[tuple[str, ...], tuple[int, ...], str]:
    """Candidates in shuffled order, right indices, and the wording they ask with."""
    a, b = pair
    if task == "N":
        alone = _NEGATED[group_id % 4] == ("single",)
        names = [spoken(c) for c in ((a, b) if alone else _either_way(a, b, rng))]
        return (*_shuffled([WITHOUT.format(*names), WITH.format(*names)], [0 if alone else 1], rng), "")
    if task == "D":
        captions = [template.format(spoken(a), spoken(b)) for template in (LONG_FIRST[wording], SHORT_FIRST[wording])]
        return (*_shuffled(captions, [0 if long_first(group_id) else 1], rng), wording)
    if task in ("1", "2A", "2B", "2C", "2D"):
        right = (a,) if task == "1" else (a, b)
        return (*_shuffled([prompt.format(spoken(c)) for c in classes], [classes.index(c) for c in right], rng), "")
    if task in ("5A", "5B"):
        order = [str(c) for c in rng.permutation(classes)]
        captions = [template.format(spoken(c)) for template in (FIRST_SOUND, SECOND_SOUND) for c in order]
        return tuple(captions), (order.index(a), len(classes) + order.index(b)), ""
    if task == "G":
        return (caption(wording, a, b), caption(wording, b, a)), (0, 3), wording
    if task == "8":
        connective = str(rng.choice(_HELD_OUT[wording]))
        return (*_shuffled([caption(connective, a, b), caption(connective, b, a)], [0], rng), wording)
    captions = [caption(wording, a, b), caption(wording, b, a)]
    if task != "3O":
        captions.append(caption("while", *_either_way(a, b, rng)))
    if task in ("4A", "4B"):
        captions += _distractors(pair, classes, wording, rng)
    return (*_shuffled(captions, [2 if task in ("3B", "4B") else 0], rng), wording)


def _distractors(pair: tuple[str, str], classes: list[str], wording: str, rng: np.random.Generator) -> list[str]:
    """C - 3 further captions, half naming exactly one class of the pair, half none; no two mean the same."""
    others = [c for c in classes if c not in pair]
    n_rest = len(classes) - 3
    captions: dict[str, str] = {}
    while len(captions) < n_rest:
        if len(captions) < n_rest // 2:
            one, other = str(rng.choice(pair)), str(rng.choice(others))
        else:
            one, other = (str(c) for c in rng.choice(others, 2, replace=False))
        first, second = _either_way(one, other, rng)
        connective = str(rng.choice([wording, wording, "while"]))  # as often as among the first three
        key = meaning("overlap" if connective == "while" else "sequence", first, second)
        captions.setdefault(key, caption(connective, first, second))
    return list(captions.values())


def _either_way(a: str, b: str, rng: np.random.Generator) -> tuple[str, str]:
    return (a, b) if rng.random() < 0.5 else (b, a)


def _shuffled(
    captions: list[str], right: list[int], rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    order = rng.permutation(len(captions)).tolist()
    return tuple(captions[i] for i in order), tuple(order.index(i) for i in right)
