"""Captions: the words of every connective, and equality by meaning."""

from itertools import permutations

import pytest

from teminal_hf.data.captions import (
    BOTH,
    CONNECTIVES,
    FIRST_SOUND,
    HELD_OUT_CONNECTIVES,
    SECOND_SOUND,
    SEQUENCE_CONNECTIVES,
    SINGLE,
    caption,
    check_training_connective,
    meaning,
    meaning_id,
    spoken,
)

# "door_wood_knock" is heard before (or with) "rain".
RENDERED = {
    "before": "door wood knock before rain",
    "after": "rain after door wood knock",
    "while": "door wood knock while rain",
    "and later": "door wood knock and later rain",
    "afterwards": "door wood knock, afterwards rain",
    "leads into": "door wood knock leads into rain",
    "starts with": "it starts with door wood knock and ends with rain",
    "followed by": "door wood knock followed by rain",
    "then": "door wood knock then rain",
    "preceded by": "rain preceded by door wood knock",
}


@pytest.mark.parametrize("connective", sorted(CONNECTIVES))
def test_every_connective_says_who_is_first(connective: str) -> None:
    assert caption(connective, "door_wood_knock", "rain") == RENDERED[connective]


def test_what_training_and_evaluation_may_say() -> None:
    assert set(HELD_OUT_CONNECTIVES) == {"followed by", "then", "preceded by"}
    assert not set(HELD_OUT_CONNECTIVES) & {*SEQUENCE_CONNECTIVES, "while"}


def test_other_captions() -> None:
    assert SINGLE.format("rain") == "the sound of rain"
    assert BOTH.format("rain", "dog") == "the sound of rain and dog"
    assert (FIRST_SOUND.format("rain"), SECOND_SOUND.format("dog")) == (
        "the first sound is rain",
        "the second sound is dog",
    )


def test_unknown_connective_lists_those_present() -> None:
    with pytest.raises(ValueError) as error:
        caption("during", "dog", "rain")
    assert str(error.value) == f"unknown connective 'during'; choose one of {', '.join(sorted(CONNECTIVES))}"


@pytest.mark.parametrize("name", SEQUENCE_CONNECTIVES)
def test_training_connectives_pass(name: str) -> None:
    check_training_connective(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("then", "is held out for evaluation"),
        ("while", "is no connective of order"),
        ("x", "is no connective of order"),
    ],
)
def test_others_may_not_be_trained_on(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^connective '{name}' {why}; choose of after, .*before"):
        check_training_connective(name)


@pytest.mark.parametrize(
    ("label", "words"), [("dog", "dog"), ("door_wood_knock", "door wood knock"), (" a_ b__c ", "a b c")]
)
def test_spoken(label: str, words: str) -> None:
    assert spoken(label) == words


def meaning_of(words: str) -> str:
    """The meaning of "X <connective> Y", read from the words alone."""
    first, connective, second = words.split(" ")
    if connective == "while":
        return meaning("overlap", first, second)
    return meaning("sequence", *((first, second) if connective == "before" else (second, first)))


@pytest.mark.parametrize(("one", "other"), [("x before y", "y after x"), ("x while y", "y while x")])
def test_paraphrases_mean_the_same(one: str, other: str) -> None:
    assert meaning_of(one) == meaning_of(other)


def test_other_captions_mean_something_else() -> None:
    groups = [
        {"x before y", "y after x"},
        {"y before x", "x after y"},
        {"x while y", "y while x"},
        {"x before z", "z after x"},
        {"x while z"},
    ]
    keys = [{meaning_of(words) for words in group} for group in groups]
    assert all(len(key) == 1 for key in keys)
    assert len(set.union(*keys)) == len(groups)


def test_relations_differ() -> None:
    assert len({meaning(relation, "x", "y") for relation in ("both", "sequence", "overlap")}) == 3
    assert meaning("both", "x", "y") == meaning("both", "y", "x")
    assert meaning("single", "x") != meaning("single", "y")


def test_meaning_id_is_the_same_in_every_process() -> None:
    """Computed once with `b2sum -l 64`, as a signed big-endian number."""
    assert meaning_id("sequence\tdog\train") == -3411239059168800911


def test_meaning_ids_are_distinct_over_all_pairs_of_50_classes() -> None:
    classes = [f"class_{i}" for i in range(50)]
    keys = {meaning("single", c) for c in classes}
    for pair in permutations(classes, 2):
        keys |= {meaning(relation, *pair) for relation in ("both", "sequence", "overlap")}
    assert len(keys) == 50 + 50 * 49 * 2
    ids = {meaning_id(key) for key in keys}
    assert len(ids) == len(keys)
    assert all(-(2**63) <= i < 2**63 for i in ids)
