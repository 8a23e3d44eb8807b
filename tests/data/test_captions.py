"""Captions: the words of every connective, and equality by meaning."""

from itertools import chain, permutations

import pytest

from teminal_hf.data.captions import (
    BOTH,
    CONNECTIVES,
    FIRST_SOUND,
    HELD_OUT_CONNECTIVES,
    SECOND_SOUND,
    SEQUENCE_CONNECTIVES,
    SINGLE,
    Relation,
    caption,
    check_training_connective,
    meaning,
    meaning_id,
    phrasings,
    spoken,
)
from teminal_hf.errors import ConfigError

# "door_wood_knock" is heard before (or with) "rain".
RENDERED = {
    "before": "door wood knock before rain",
    "comes before": "door wood knock comes before rain",
    "prior to": "door wood knock prior to rain",
    "ahead of": "door wood knock ahead of rain",
    "precedes": "door wood knock precedes rain",
    "after": "rain after door wood knock",
    "comes after": "rain comes after door wood knock",
    "following": "rain following door wood knock",
    "later than": "rain later than door wood knock",
    "then": "door wood knock then rain",
    "and then": "door wood knock and then rain",
    "and later": "door wood knock and later rain",
    "afterwards": "door wood knock, afterwards rain",
    "subsequently": "door wood knock, subsequently rain",
    "next": "door wood knock, next rain",
    "followed by": "door wood knock followed by rain",
    "is succeeded by": "door wood knock is succeeded by rain",
    "preceded by": "rain preceded by door wood knock",
    "is preceded by": "rain is preceded by door wood knock",
    "with before it": "rain with door wood knock before it",
    "and before that": "rain, and before that door wood knock",
    "is introduced by": "rain is introduced by door wood knock",
    "leads into": "door wood knock leads into rain",
    "giving way to": "door wood knock giving way to rain",
    "until": "door wood knock until rain",
    "once stops": "rain once door wood knock stops",
    "once has ended": "rain once door wood knock has ended",
    "before-clause": "before rain, door wood knock",
    "after-clause": "after door wood knock, rain",
    "starts with": "it starts with door wood knock and ends with rain",
    "to begin with": "to begin with door wood knock, to end with rain",
    "ends with": "it ends with rain and starts with door wood knock",
    "while": "door wood knock while rain",
    "as": "door wood knock as rain is heard",
    "during": "door wood knock during rain",
    "together with": "door wood knock together with rain",
    "along with": "door wood knock along with rain",
    "at once": "door wood knock and rain at once",
    "at the same time as": "door wood knock at the same time as rain",
    "is heard over": "door wood knock is heard over rain",
    "in the background": "door wood knock with rain in the background",
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
        caption("whereupon", "dog", "rain")
    assert str(error.value) == f"unknown connective 'whereupon'; choose one of {', '.join(sorted(CONNECTIVES))}"


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


@pytest.mark.parametrize("relation", ["sequence", "overlap"])
def test_all_is_every_phrasing_and_families_one_choice_of_each_but_those_left_out(relation: Relation) -> None:
    every = [name for name, c in CONNECTIVES.items() if c.relation == relation]
    assert phrasings(["all"], relation) == tuple((name,) for name in every)
    assert len(every) >= {"sequence": 24, "overlap": 8}[relation]
    choices = phrasings(["families"], relation)
    assert [*chain(*choices)] == every
    families = [{CONNECTIVES[name].family for name in choice} for choice in choices]
    assert all(len(family) == 1 for family in families) and len(set().union(*families)) == len(families)
    for family in set().union(*families):
        for word in ("all", "families"):
            kept = {*chain(*phrasings([word], relation, [family]))}
            assert kept == {name for name in every if CONNECTIVES[name].family != family}


def test_phrasings_are_drawn_as_often_as_they_are_named() -> None:
    assert phrasings(["after", "before", "after"]) == (("after",), ("before",), ("after",))
    both = phrasings(["before", "families"])
    assert both[0] == ("before",) and both[1:] == phrasings(["families"])


@pytest.mark.parametrize(
    ("names", "leave_out", "message"),
    [
        ([], (), "no connective for a sequence is left"),
        (["before"], ("before",), "no connective for a sequence is left"),
        (["before"], ("befor",), "unknown families of connectives befor; choose of before, after, then"),
        (["and then"], (), "'and then' is held out for evaluation"),
    ],
)
def test_bad_phrasings_are_named(names: list[str], leave_out: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        phrasings(names, "sequence", leave_out)
