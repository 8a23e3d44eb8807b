"""The manifest of groups, and what its captions mean."""

from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from support.clips import table
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import CONNECTIVES, FIRST_SOUND, ORDER_FAMILIES, POSITIONS, SECOND_SOUND
from teminal_hf.data.groups import plain_caption, plan, view_meanings
from teminal_hf.data.views import RENDERED_VIEWS as VIEWS
from teminal_hf.data.views import STAGE_B_VIEWS

# The manifest


def test_plan_is_deterministic_and_a_longer_one_begins_with_the_shorter(clips: ClipTable) -> None:
    for stage in ("stage_a", "stage_b"):
        rows = list(plan(stage, clips, 50, 3))
        assert rows == list(plan(stage, clips, 50, 3))
        assert list(plan(stage, clips, 80, 3))[:50] == rows
        assert list(plan(stage, clips, 50, 3, start=20)) == rows[20:]
        assert [row["group_id"] for row in rows] == list(range(50))
        assert rows != list(plan(stage, clips, 50, 4))


def test_classes_differ_and_every_ordered_pair_is_reached() -> None:
    labels = ["w", "w", "x", "x", "y", "y", "z", "z"]
    clips = table({f"{label}{i}": np.zeros(1) for i, label in enumerate(labels)}, labels)
    rows = list(plan("stage_b", clips, 600, 0))
    pairs = Counter((row["label_a"], row["label_b"]) for row in rows)
    assert set(pairs) == set(permutations("wxyz", 2))
    assert all(binomtest(n, 600, 1 / 12).pvalue > 1e-4 for n in pairs.values())
    for row in rows:
        assert row["clip_a"][0] == row["label_a"] and row["clip_b"][0] == row["label_b"]
    assert {row["clip_a"] for row in rows} == {row["clip_b"] for row in rows} == set(clips.ids)


def test_stage_b_captions_say_what_is_heard_in_both_wordings_equally(clips: ClipTable) -> None:
    wordings: Counter[tuple[str, ...]] = Counter()
    overlays: Counter[bool] = Counter()
    for row in plan("stage_b", clips, 400, 0):
        a, b = (row[name].replace("_", " ") for name in ("label_a", "label_b"))
        assert row["single_caption"] == f"the sound of {a}"
        said = []
        for first, second, text in ((a, b, row["forward_caption"]), (b, a, row["reversed_caption"])):
            assert text in (f"{first} before {second}", f"{second} after {first}")
            said.append("before" if " before " in text else "after")
        wordings[tuple(said)] += 1
        assert row["overlay_caption"] in (f"{a} while {b}", f"{b} while {a}")
        overlays[row["overlay_caption"] == f"{a} while {b}"] += 1
    assert len(wordings) == 4 and all(binomtest(n, 400, 1 / 4).pvalue > 1e-3 for n in wordings.values())
    assert binomtest(overlays[True], 400, 1 / 2).pvalue > 1e-3


def test_stage_a_captions(clips: ClipTable) -> None:
    views: Counter[str] = Counter()
    first: Counter[bool] = Counter()
    for row in plan("stage_a", clips, 400, 0):
        a, b = (row[name].replace("_", " ") for name in ("label_a", "label_b"))
        assert row["single_caption"] == f"the sound of {a}"
        assert row["double_caption"] in (f"the sound of {a} and {b}", f"the sound of {b} and {a}")
        first[row["double_caption"] == f"the sound of {a} and {b}"] += 1
        views[row["double_view"]] += 1
    assert set(views) == {"forward", "reversed", "overlay"}
    assert all(binomtest(n, 400, 1 / 3).pvalue > 1e-3 for n in views.values())
    assert binomtest(first[True], 400, 1 / 2).pvalue > 1e-3


def test_connectives_are_those_asked_for(clips: ClipTable) -> None:
    for row in plan("stage_b", clips, 20, 0, ["after"]):
        assert " after " in row["forward_caption"] and " after " in row["reversed_caption"]
    with pytest.raises(ValueError, match="connective 'then' is held out for evaluation"):
        next(plan("stage_b", clips, 20, 0, ["before", "then"]))


def test_every_phrasing_is_drawn_and_families_are_left_out(clips: ClipTable) -> None:
    def said(*leave_out: str) -> dict[str, set[str]]:
        """What captions are once the classes are taken out of them."""
        words: dict[str, set[str]] = {"forward": set(), "overlay": set()}
        rows = plan("stage_b", clips, 600, 0, ["all"], overlap_connectives=["all"], leave_out=leave_out)
        for row in rows:
            for view, found in words.items():
                text = row[f"{view}_caption"]
                for name, label in (("X", row["label_a"]), ("Y", row["label_b"])):
                    text = text.replace(label.replace("_", " "), name)
                found.add(text)
        return words

    every, some = said(), said("before", "background")
    assert len(every["forward"]) == 32 and len(every["overlay"]) == 2 * 9  # X while Y, and Y while X
    assert every["forward"] - some["forward"] == {
        "X before Y",
        "X comes before Y",
        "X prior to Y",
        "X ahead of Y",
        "X precedes Y",
    }
    assert len(every["overlay"] - some["overlay"]) == 2 * 2


def test_a_family_of_few_wordings_is_said_as_often_as_one_of_many(clips: ClipTable) -> None:
    sayings = {name: connective.template for name, connective in CONNECTIVES.items()}
    said: Counter[str] = Counter()
    for row in plan("stage_b", clips, 600, 0, ["families"]):
        first, second = (row[f"label_{which}"].replace("_", " ") for which in "ab")
        said[next(n for n, t in sayings.items() if t.format(first=first, second=second) == row["forward_caption"])] += 1
    families: Counter[str] = Counter()
    for name, times in said.items():
        families[CONNECTIVES[name].family] += times
    assert set(families) == set(ORDER_FAMILIES)
    assert chisquare(list(families.values())).pvalue > 1e-3
    of_then = [times for name, times in said.items() if CONNECTIVES[name].family == "then"]
    assert len(of_then) == 6 and chisquare(of_then).pvalue > 1e-3


def test_a_share_of_the_sequences_says_one_place_alone(clips: ClipTable) -> None:
    plain, rows = (list(plan("stage_b", clips, 600, 0, positions=share)) for share in (0.0, 0.25))
    said: Counter[str] = Counter()
    for before, row in zip(plain, rows, strict=True):
        for view, (first, second) in (("forward", "ab"), ("reversed", "ba")):
            text, says = row.pop(f"{view}_caption"), row.pop(f"{view}_says")
            said[says] += 1
            named = row[f"label_{second if says == 'second' else first}"].replace("_", " ")
            whole = before.pop(f"{view}_caption")
            assert text in ([whole] if says == "sequence" else [t.format(named) for t in POSITIONS[says]])
        assert row == before  # nothing else has moved
    assert binomtest(said["first"] + said["second"], 1200, 0.25).pvalue > 1e-3
    assert binomtest(said["first"], said["first"] + said["second"], 0.5).pvalue > 1e-3
    assert not {FIRST_SOUND, SECOND_SOUND} & {text for texts in POSITIONS.values() for text in texts}
    assert "forward_says" not in next(plan("stage_a", clips, 1, 0, positions=0.5))


def test_plan_needs_two_classes() -> None:
    with pytest.raises(ValueError, match=r"pairs need two classes; these folds hold \['x'\]"):
        next(plan("stage_b", table({"c": np.zeros(1), "d": np.zeros(1)}, "xx"), 1, 0))


# Meanings

ROW = {"label_a": "x", "label_b": "y"}
SWAPPED = {"label_a": "y", "label_b": "x"}


def test_meanings_across_groups() -> None:
    """(X, Y) forward is (Y, X) reversed; overlays and doubles have no order; nothing else is the same."""
    keys = {
        (view, i): view_meanings(row, view)[0] for i, row in enumerate((ROW, SWAPPED)) for view in (*VIEWS, "double")
    }
    assert keys["forward", 0] == keys["reversed", 1] and keys["reversed", 0] == keys["forward", 1]
    assert keys["overlay", 0] == keys["overlay", 1] and keys["double", 0] == keys["double", 1]
    assert len(set(keys.values())) == 6


def test_what_says_a_place_alone_holds_of_every_recording_with_that_sound_there() -> None:
    """Against what is heard, event by event."""
    rows = [
        {"label_a": a, "label_b": b, "forward_says": forward, "reversed_says": reverse}
        for a, b in permutations("xyz", 2)
        for forward, reverse in product(("sequence", "first", "second"), repeat=2)
    ]

    def heard(row: dict[str, str], view: str) -> tuple[set[str], set[str]]:
        """Which sounds it begins with, and which it ends with."""
        a, b = {row["label_a"]}, {row["label_b"]}
        return {"forward": (a, b), "reversed": (b, a), "overlay": (a | b, a | b)}[view]

    for (row, view), (other, of) in product(product(rows, STAGE_B_VIEWS), repeat=2):
        begins, ends = heard(row, view)
        says = other.get(f"{of}_says", "overlap")
        first, second = heard(other, of)
        truth = {
            "first": first <= begins,
            "second": second <= ends,
            "sequence": view != "overlay" and (first, second) == (begins, ends),
            "overlap": view == "overlay" and first == begins,
        }[says]
        assert (view_meanings(other, of)[0] in view_meanings(row, view)) == truth


def test_in_plain_wording_a_place_stays_a_place() -> None:
    row = {**ROW, "forward_caption": "it begins with x", "reversed_caption": "y, afterwards x"}
    row |= {"forward_says": "first", "reversed_says": "sequence"}
    assert plain_caption(row, "forward") == "it begins with x"
    assert plain_caption(row, "reversed") == "y before x"


def test_a_double_also_holds_its_singles() -> None:
    own, *doubtful = view_meanings(ROW, "double")
    assert sorted(doubtful) == sorted(view_meanings(ROW, "single") + view_meanings(SWAPPED, "single"))
    assert own not in doubtful
    assert all(len(view_meanings(ROW, view)) == 1 for view in VIEWS)


def test_plain_captions_mean_what_they_say() -> None:
    said = [
        view_meanings({"forward_caption": text}, "forward")
        for text in ("A dog barks", " a dog  BARKS ", "a dog barks twice")
    ]
    assert said[0] == said[1] != said[2]


def test_unknown_view() -> None:
    with pytest.raises(
        ValueError, match="unknown view 'flipped'; choose of double, forward, overlay, reversed, single"
    ):
        view_meanings(ROW, "flipped")


def test_plain_caption_puts_first_heard_first() -> None:
    row = ROW | {"forward_caption": "y after x", "reversed_caption": "x after y", "overlay_caption": "y while x"}
    assert [plain_caption(row, view) for view in ("forward", "reversed", "overlay")] == [
        "x before y",
        "y before x",
        "y while x",
    ]
