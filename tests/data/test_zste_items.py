"""The items of ZSTE, read back from their captions: what is asked, what is right, and that guessing stays at chance."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import astuple, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from support.zste_said import BY_TASK, CLIPS, ITEMS, C, classes_of, of_group, table, truths, understood
from teminal_hf.clips.sources import sound_bank
from teminal_hf.data import zste_items
from teminal_hf.data.captions import HELD_OUT_CONNECTIVES
from teminal_hf.data.groups import plan
from teminal_hf.data.zste_items import EDITIONS, GALLERY, RETRIEVAL, ZSTE_TASKS, plan_zste
from teminal_hf.errors import ConfigError


def test_every_clip_at_most_once_per_position_and_classes_differ() -> None:
    for task, items in BY_TASK.items():
        assert len(items) == len(CLIPS), task
        assert Counter(item.clip_a for item in items) == Counter(item.clip_b for item in items) == Counter(CLIPS.ids)
        assert all(classes_of(item)[0] != classes_of(item)[1] for item in items)
    assert len({(item.clip_a, item.clip_b) for item in ITEMS}) == len(CLIPS)


@pytest.mark.parametrize("sizes", [(2, 7), (3, 1), (24, 1), (50, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_pairing_works_for_any_number_of_classes(sizes: tuple[int, int], seed: int) -> None:
    clips = table(*sizes)
    items = plan_zste(clips, seed=seed, tasks=["3O"])
    assert {item.clip_a for item in items} == {item.clip_b for item in items} == set(clips.ids)
    assert all(classes_of(item)[0] != classes_of(item)[1] for item in items)


def test_pairing_with_one_class_of_half_the_clips_and_none_of_more() -> None:
    clips = table(1, 6)
    half = replace(clips, labels=("x",) * 3 + ("y", "y", "z"))
    for item in plan_zste(half, tasks=["3O"]):
        assert (half.label(item.clip_a) == "x") != (half.label(item.clip_b) == "x")
    with pytest.raises(ValueError, match="class 'x' has 4 of 6 clips: too many to pair each with another class"):
        plan_zste(replace(clips, labels=("x",) * 4 + ("y", "z")))


COUNTS = dict.fromkeys(("1", "2A", "2B", "2C", "2D", "4A", "4B"), C) | {"5A": 2 * C, "5B": 2 * C}
COUNTS |= {"3A": 3, "3B": 3, "3O": 2, "6": 6, "7": 6, "8": 2, "G": 2, "N": 2, "D": 2, "R@1": 1, "R@5": 1}
VIEWS = dict.fromkeys(ZSTE_TASKS, ("forward",)) | dict.fromkeys(("2C", "2D", "3B", "4B"), ("overlay",))
VIEWS |= {"1": ("clip",), "G": ("forward", "reversed"), "6": ("three",), "7": ("nested",), "D": ("duration",)}
VIEWS |= dict.fromkeys(RETRIEVAL, ("forward", "reversed", "overlay"))


@pytest.mark.parametrize("task", ZSTE_TASKS)
def test_what_is_right_is_true_and_nothing_else_is(task: str) -> None:
    for item in BY_TASK[task]:
        if task != "N":
            assert item.views == VIEWS[task]
        assert len(item.candidates) == COUNTS[task]
        said = [understood(candidate) for candidate in item.candidates]
        assert len(set(said)) == len(said)  # no two mean the same
        if task == "G":
            assert item.right == (0, 3)
            assert said == [truth for view in item.views for truth in truths(item, view)]
        elif task in RETRIEVAL:
            (caption,) = said
            heard = [truth for group in item.gallery for view in item.views for truth in truths(of_group(group), view)]
            assert {i for i, truth in enumerate(heard) if truth == caption} == set(item.right)
        else:
            true = truths(item, item.views[0])
            assert [said[i] for i in item.right] == true
            assert {i for i, s in enumerate(said) if s in true} == set(item.right)


@pytest.mark.parametrize("task", ["4A", "4B"])
def test_task_4_offers_the_three_relations_and_half_and_half(task: str) -> None:
    for item in BY_TASK[task]:
        a, b = classes_of(item)
        said = {understood(candidate) for candidate in item.candidates}
        three = {("sequence", (a, b)), ("sequence", (b, a)), ("overlap", frozenset((a, b)))}
        assert three <= said
        shared = Counter(len({a, b} & set(pair)) for _, pair in said - three)
        assert shared == {1: (C - 3) // 2, 0: C - 3 - (C - 3) // 2}


@pytest.mark.parametrize("task", ["4A", "4B"])
def test_task_4_relations_do_not_betray_the_distractors(task: str) -> None:
    """A third of the further captions is "while", as of the first three; classes a and b are named equally often."""
    relations: Counter[str] = Counter()
    kept: Counter[bool] = Counter()
    for item in BY_TASK[task]:
        a, b = classes_of(item)
        for relation, pair in map(understood, item.candidates):
            if {a, b} - set(pair):
                relations[relation] += 1
                if {a, b} & set(pair):
                    kept[a in pair] += 1
    # Drawn again where a meaning is there already, so "while", with half as many meanings, falls a little short.
    assert relations["overlap"] / relations.total() == pytest.approx(1 / 3, abs=0.03)
    assert binomtest(kept[True], kept.total(), 0.5).pvalue > 1e-3


@pytest.mark.parametrize("classes", [3, 4, 5])
def test_task_4_with_few_classes(classes: int) -> None:
    for item in plan_zste(table(classes, 3), tasks=["4A", "4B"]):
        assert len({understood(candidate) for candidate in item.candidates}) == len(item.candidates) == classes


def test_wordings_are_balanced_and_kept_apart() -> None:
    words = {"before": {"before"}, "after": {"after"}}
    held_out = {"before": {"followed by", "then"}, "after": {"preceded by"}}
    used: Counter[str] = Counter()
    for item in ITEMS:
        if item.task in ("1", "2A", "2B", "2C", "2D", "5A", "5B", "N"):
            assert item.wording == ""
            continue
        assert item.wording == ("before", "after")[item.group_id % 2]
        found = {word for candidate in item.candidates for word in re.split(r" ?\S+ x ?", candidate)}
        found -= {"", "while"} | ({"and"} if item.task == "7" else set())
        if item.task == "D":
            found = {word for candidate in item.candidates for word in candidate.split() if word in ("before", "after")}
        if item.task == "8":
            assert len(found) == 1 and found <= held_out[item.wording]
            used.update(found)
        else:
            assert found == words[item.wording]
    assert set(used) == set(HELD_OUT_CONNECTIVES)
    assert binomtest(used["then"], used["then"] + used["followed by"], 0.5).pvalue > 1e-3


def test_a_family_of_wordings_is_asked_apart_and_changes_no_other_item() -> None:
    asked = plan_zste(CLIPS, seed=5, families=["clause first", "followed by"])
    assert [item for item in asked if not item.family] == ITEMS
    items = [item for item in asked if item.family == "clause first"]
    assert [item.group_id for item in items] == list(range(len(CLIPS)))
    firsts = Counter()
    for item in items:
        a, b = (f"{name} x" for name in classes_of(item))
        truths = {f"before {b}, {a}", f"after {a}, {b}"}
        assert item.candidates[item.right[0]] in truths and (item.task, item.views) == ("8", ("forward",))
        assert item.candidates[1 - item.right[0]] in {f"before {a}, {b}", f"after {b}, {a}"}
        firsts[item.right[0], item.candidates[0].split()[0]] += 1
    assert all(binomtest(n, len(items), 0.25).pvalue > 1e-3 for n in firsts.values()) and len(firsts) == 4
    assert {item.family for item in asked} == {"", "clause first", "followed by"}
    with pytest.raises(ConfigError, match=r"no connective of family 'during' says a sequence; choose of before, after"):
        plan_zste(CLIPS, families=["during"])


def test_held_out_words_are_never_trained_on() -> None:
    trained = {row[name] for row in plan("stage_b", CLIPS, 2000, 0) for name in row if name.endswith("_caption")}
    trained |= {row[name] for row in plan("stage_a", CLIPS, 500, 0) for name in row if name.endswith("_caption")}
    evaluated = {c for task in ("8", "5A", "5B") for item in BY_TASK[task] for c in item.candidates}
    assert not trained & evaluated
    leak = re.compile("|".join([*map(re.escape, HELD_OUT_CONNECTIVES), "first", "second"]))
    assert not [caption for caption in trained if leak.search(caption)]


@pytest.mark.parametrize("task", [task for task in ZSTE_TASKS if task not in ("G", *RETRIEVAL)])
def test_the_place_of_the_truth_is_shuffled(task: str) -> None:
    places = Counter(item.right[0] for item in BY_TASK[task])
    n = COUNTS[task] // (2 if task.startswith("5") else 1)
    assert set(places) <= set(range(n))
    assert all(binomtest(places[place], len(CLIPS), 1 / n).pvalue > 1e-4 for place in range(n))


def test_items_are_fixed_by_clips_and_seed() -> None:
    assert plan_zste(CLIPS, seed=5) == ITEMS
    assert plan_zste(CLIPS, seed=6) != ITEMS
    fewer = plan_zste(CLIPS, seed=5, n_groups=7)
    assert [item for item in fewer if not item.gallery] == [i for i in ITEMS if i.group_id < 7 and not i.gallery]
    assert plan_zste(CLIPS, seed=5, tasks=["4A", "G"]) == [item for item in ITEMS if item.task in ("4A", "G")]


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, "ce75cae8a91191beaf47e1beb3d6339461249c6cc855546fee7de35da51b081e"),
        (1, "9abbe39d45964fa89361dc6a4fc63b3a98404601f8f93928e573f27514c34a46"),
    ],
)
def test_items_are_those_of_the_first_edition(seed: int, expected: str) -> None:
    """Figures are compared over years: taken when there were 14 tasks, numbered by their place among them."""
    items = plan_zste(sound_bank(2), n_groups=20, seed=seed, tasks=EDITIONS[1])
    assert hashlib.sha256(json.dumps([astuple(item)[:-3] for item in items]).encode()).hexdigest() == expected


def test_a_further_task_changes_the_items_of_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zste_items, "ZSTE_TASKS", ("3X", *ZSTE_TASKS[:5], "9", *ZSTE_TASKS[5:]))
    items = plan_zste(CLIPS, seed=5, tasks=zste_items.ZSTE_TASKS)
    assert [item for item in items if item.task in ZSTE_TASKS] == ITEMS
    shuffled = {task: [item.right for item in items if item.task == task] for task in ("3X", "9", "3A")}
    assert len({tuple(rights) for rights in shuffled.values()}) == 3  # three tasks of one kind, none as another
    assert zste_items._stream("3X") >= 2**32  # numpy takes it for more than one word: the others' are one


def test_prompt_of_class_names() -> None:
    item = plan_zste(CLIPS, n_groups=1, tasks=["1"], prompt="{} can be heard")[0]
    assert set(item.candidates) == {f"c{c:02d} x can be heard" for c in range(C)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["3A", "9", "0"]}, r"unknown task\(s\) 0, 9; choose of 1, 2A, .*, D, R@1, R@5"),
        ({"n_groups": 201}, "n_groups=201, but these folds hold 200 clips and each is used once per position"),
        ({"n_groups": 0}, "n_groups=0, but"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_zste(CLIPS, **options)


def test_three_sounds_are_of_three_classes_and_two_classes_have_no_such_task(caplog: pytest.LogCaptureFixture) -> None:
    for item in (*BY_TASK["6"], *BY_TASK["7"]):
        assert len({clip.split("/")[0] for clip in item.clips}) == 3
    nested = Counter((item.wording, item.group_id % 4 < 2) for item in BY_TASK["7"])
    assert set(nested.values()) == {len(CLIPS) // 4}
    assert {item.task for item in plan_zste(table(2, 3))} == set(ZSTE_TASKS) - {"6", "7", *RETRIEVAL}
    assert "no task R: its gallery needs groups of other pairs of classes, found 0" in caplog.text
    assert "no task ['6', '7']: three sounds need three classes, of which these folds hold two" in caplog.text


def test_galleries_are_of_other_pairs_and_kinds_are_balanced() -> None:
    for item in BY_TASK["R@1"]:
        assert len(item.gallery) == len(set(item.gallery)) == GALLERY
        others = [frozenset(classes_of(of_group(group))) for group in item.gallery if group != item.group_id]
        assert len(others) == GALLERY - 1 and frozenset(classes_of(item)) not in others
    places = np.array([item.right[0] for item in BY_TASK["R@1"]]) // 3
    assert abs(places.mean() - (GALLERY - 1) / 2) < 4 * GALLERY / (12 * len(places)) ** 0.5
    assert Counter(item.views for item in BY_TASK["N"]) == {
        ("single",): len(CLIPS) // 2,
        ("forward",): len(CLIPS) // 4,
        ("overlay",): len(CLIPS) // 4,
    }
    kinds = Counter((item.wording, item.group_id % 4 > 1) for item in BY_TASK["D"])
    assert set(kinds.values()) == {len(CLIPS) // 4}


def test_the_sound_bank_has_items() -> None:
    clips = sound_bank(1).in_folds([4])
    items = plan_zste(clips)
    assert len(items) == 24 * len(ZSTE_TASKS)
    assert [first.group_id <= second.group_id for first, second in pairwise(items)] == [True] * (len(items) - 1)
