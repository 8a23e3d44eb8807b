"""ZSTE items of made-up clips, and what their captions say and their recordings hold, read back."""

import re
from typing import Any

from teminal_hf.clips.table import ClipTable
from teminal_hf.data.zste_items import ZSTE_TASKS, Item, plan_zste


def table(classes: int, per_class: int) -> ClipTable:
    """Clips "c03/1" of class "c03_x": captions say "c03 x"."""
    names = [f"c{c:02d}" for c in range(classes) for _ in range(per_class)]
    ids = tuple(f"{name}/{i}" for i, name in enumerate(names))
    return ClipTable(
        ids, tuple(f"{n}_x" for n in names), (1,) * len(ids), tuple(range(len(ids))), ids, lambda row, rate: None
    )


C = 20
CLIPS = table(C, 10)
ITEMS = plan_zste(CLIPS, seed=5)
BY_TASK = {task: [item for item in ITEMS if item.task == task] for task in ZSTE_TASKS}

SAID = [  # pattern, relation, whether the class named first is heard first
    (r"(\S+) x (?:before|followed by|then) (\S+) x", "sequence", True),
    (r"(\S+) x (?:after|preceded by) (\S+) x", "sequence", False),
    (r"(\S+) x while (\S+) x", "overlap", True),
    (r"(\S+) x and (\S+) x", "overlap or sequence", True),
    (r"(\S+) x without (\S+) x", "without", True),
    (r"a long (\S+) x before a short (\S+) x", "long first", True),
    (r"a short (\S+) x after a long (\S+) x", "long first", False),
    (r"a short (\S+) x before a long (\S+) x", "short first", True),
    (r"a long (\S+) x after a short (\S+) x", "short first", False),
    (r"(\S+) x before (\S+) x before (\S+) x", "sequence", True),
    (r"(\S+) x after (\S+) x after (\S+) x", "sequence", False),
]
NESTED = {  # of three sounds: which is alone, and where
    r"(?P<alone>\S+) x before (\S+) x and (\S+) x": "first",
    r"(\S+) x and (\S+) x after (?P<alone>\S+) x": "first",
    r"(?P<alone>\S+) x after (\S+) x and (\S+) x": "last",
    r"(\S+) x and (\S+) x before (?P<alone>\S+) x": "last",
}


def understood(caption: str) -> tuple[str, Any]:
    """What a caption says, with the classes in the order they are heard (an overlap's as a set)."""
    for pattern, relation, in_order in SAID:
        if match := re.fullmatch(pattern, caption):
            pair = match.groups() if in_order else match.groups()[::-1]
            return relation, (frozenset(pair) if "overlap" in relation else pair)
    for pattern, place in NESTED.items():
        if match := re.fullmatch(pattern, caption):
            return place, (match["alone"], frozenset(match.groups()) - {match["alone"]})
    match = re.fullmatch(r"(this is a sound of|the first sound is|the second sound is) (\S+) x", caption)
    assert match, caption
    return match.group(1), match.group(2)


def classes_of(item: Item) -> tuple[str, str]:
    return item.clip_a.split("/")[0], item.clip_b.split("/")[0]


def truths(item: Item, view: str) -> list[tuple[str, Any]]:
    """What is true of a view of the item, as `understood` puts it."""
    a, b = classes_of(item)
    if item.task.startswith("5"):
        return [("the first sound is", a), ("the second sound is", b)]
    if item.task in ("1", "2A", "2B", "2C", "2D"):
        return [("this is a sound of", c) for c in ((a,) if view == "clip" else (a, b))]
    if item.task == "N":
        return [("without", (a, b)) if view == "single" else ("overlap or sequence", frozenset((a, b)))]
    if item.task == "D":
        return [("long first" if item.group_id % 4 > 1 else "short first", (a, b))]
    c = item.clip_c.split("/")[0]
    heard = {
        "three": ("sequence", (a, b, c)),
        "nested": ("first" if item.group_id % 4 < 2 else "last", (a, frozenset((b, c)))),
        "forward": ("sequence", (a, b)),
        "reversed": ("sequence", (b, a)),
        "overlay": ("overlap", frozenset((a, b))),
    }
    return [heard[view]]


def of_group(group_id: int) -> Item:
    return BY_TASK["3O"][group_id]
