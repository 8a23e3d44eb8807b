"""Captions told the other way round: against the table that they were made by, and by hand."""

from itertools import permutations

import pytest

from teminal_hf.data.captions import CONNECTIVES
from teminal_hf.integrations.reversal import reversed_caption

SOUNDS = ("a dog barks", "rain", "a cat with a bell", "church bells and wind", "the clock's tick", "TV")


@pytest.mark.parametrize("name", CONNECTIVES)
def test_whatever_the_table_says_is_reversed_as_the_table_would(name: str) -> None:
    template = CONNECTIVES[name].template
    for first, second in permutations(SOUNDS, 2):
        if "with" in template and "with" in first + second:  # two "with": two ways to read it
            continue
        there = template.format(first=first, second=second)
        back = template.format(first=second, second=first)
        is_order = CONNECTIVES[name].relation == "sequence"
        assert reversed_caption(there) == (back if is_order else None)


@pytest.mark.parametrize(
    ("caption", "reversal"),
    [
        ("A dog barks before rain falls.", "Rain falls before a dog barks."),
        ("A man speaking followed by a dog barking", "A dog barking followed by a man speaking"),
        ("Birds chirp, and then thunder rumbles", "Thunder rumbles, and then birds chirp"),
        ("Before rain falls, a dog barks!", "Before a dog barks, rain falls!"),
        ("TV noise then a cat", "a cat then TV noise"),
        ("TV noise, then A cat", "A cat, then TV noise"),
        ("I sing after a door  slams", "a door slams after I sing"),
        ("a dog comes before rain", "rain comes before a dog"),
        ("a dog barks and a cat meows before rain", "rain before a dog barks and a cat meows"),
    ],
)
def test_marks_and_capitals_stay(caption: str, reversal: str) -> None:
    assert reversed_caption(caption) == reversal


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "rain",
        "before",
        "before rain",
        "a dog and rain",
        "a dog barks beforehand in rain",
        "a dog before a cat before rain",
        "a dog then a cat, followed by rain",
        "a dog barks while a cat meows before rain",
        "rain before a dog barks with wind in the background",
        "before rain, a dog, a cat",
        "a dog, a cat, then rain",
        "a dog barks. Then rain falls before a cat meows.",
        "first a dog, then rain",
        "a man speaks before he laughs",
        "a man is followed by a dog",
        "a dog barks shortly before rain",
        "a dog barks, but then rain",
        "a cat with a bell with a dog before it",
        "a dog before A Dog",
    ],
)
def test_nothing_is_guessed(caption: str) -> None:
    assert reversed_caption(caption) is None
