"""Captions: connectives, paraphrases, and the meanings by which two of them are equal.

Equality of captions is decided by meaning, not by words: "X before Y" = "Y after X", "X while Y" = "Y while X".
"""

import hashlib
import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from teminal_hf.clips.labels import spoken as spoken
from teminal_hf.errors import ConfigError

logger = logging.getLogger(__name__)

Relation = Literal["single", "both", "sequence", "overlap", "first", "second"]


@dataclass(frozen=True, slots=True)
class Connective:
    """A way to say a relation. `template` names the sound heard `{first}` and the one heard `{second}`; those of one
    `family` share words or build, and what is learned of one may be known of the others."""

    template: str
    relation: Relation
    family: str


HELD_OUT_CONNECTIVES = ("followed by", "then", "preceded by")  # ZSTE's task 8 asks with these
_PHRASINGS: dict[tuple[Relation, str], dict[str, str]] = {
    ("sequence", "before"): {
        "before": "{first} before {second}",
        "comes before": "{first} comes before {second}",
        "prior to": "{first} prior to {second}",
        "ahead of": "{first} ahead of {second}",
        "precedes": "{first} precedes {second}",
    },
    ("sequence", "after"): {
        "after": "{second} after {first}",
        "comes after": "{second} comes after {first}",
        "following": "{second} following {first}",
        "later than": "{second} later than {first}",
    },
    ("sequence", "then"): {
        "then": "{first} then {second}",
        "and then": "{first} and then {second}",
        "and later": "{first} and later {second}",
        "afterwards": "{first}, afterwards {second}",
        "subsequently": "{first}, subsequently {second}",
        "next": "{first}, next {second}",
    },
    ("sequence", "followed by"): {
        "followed by": "{first} followed by {second}",
        "is succeeded by": "{first} is succeeded by {second}",
    },
    ("sequence", "preceded by"): {
        "preceded by": "{second} preceded by {first}",
        "is preceded by": "{second} is preceded by {first}",
        "with before it": "{second} with {first} before it",
        "and before that": "{second}, and before that {first}",
        "is introduced by": "{second} is introduced by {first}",
    },
    ("sequence", "until"): {
        "leads into": "{first} leads into {second}",
        "giving way to": "{first} giving way to {second}",
        "until": "{first} until {second}",
        "once stops": "{second} once {first} stops",
        "once has ended": "{second} once {first} has ended",
    },
    ("sequence", "clause first"): {
        "before-clause": "before {second}, {first}",
        "after-clause": "after {first}, {second}",
    },
    ("sequence", "start and end"): {
        "starts with": "it starts with {first} and ends with {second}",
        "to begin with": "to begin with {first}, to end with {second}",
        "ends with": "it ends with {second} and starts with {first}",
    },
    ("overlap", "while"): {"while": "{first} while {second}", "as": "{first} as {second} is heard"},
    ("overlap", "during"): {"during": "{first} during {second}"},
    ("overlap", "together"): {
        "together with": "{first} together with {second}",
        "along with": "{first} along with {second}",
        "at once": "{first} and {second} at once",
        "at the same time as": "{first} at the same time as {second}",
    },
    ("overlap", "background"): {
        "is heard over": "{first} is heard over {second}",
        "in the background": "{first} with {second} in the background",
    },
}
CONNECTIVES = {
    name: Connective(template, relation, family)
    for (relation, family), templates in _PHRASINGS.items()
    for name, template in templates.items()
}
SEQUENCE_CONNECTIVES, OVERLAP_CONNECTIVES = ("before", "after"), ("while",)
FAMILIES = tuple(dict.fromkeys(connective.family for connective in CONNECTIVES.values()))
ORDER_FAMILIES = tuple(dict.fromkeys(c.family for c in CONNECTIVES.values() if c.relation == "sequence"))

SINGLE = "the sound of {}"
BOTH = "the sound of {} and {}"
_HELD_OUT = re.compile(rf"\b({'|'.join(HELD_OUT_CONNECTIVES)})\b", re.IGNORECASE)
FIRST_SOUND = "the first sound is {}"  # ZSTE task 5, never in training
SECOND_SOUND = "the second sound is {}"
# Of three sounds, in the words of order of each wording: ZSTE's tasks 6 and 7, never in training.
IN_A_ROW = {"before": "{} before {} before {}", "after": "{2} after {1} after {0}"}
ALONE_FIRST = {"before": "{} before {} and {}", "after": "{1} and {2} after {0}"}
ALONE_LAST = {"before": "{1} and {2} before {0}", "after": "{} after {} and {}"}
# Of one sound or two, and of a long and a short one: ZSTE's tasks N and D, never in training.
WITHOUT, WITH = "{} without {}", "{} and {}"
LONG_FIRST = {"before": "a long {} before a short {}", "after": "a short {1} after a long {0}"}
SHORT_FIRST = {"before": "a short {} before a long {}", "after": "a long {1} after a short {0}"}
# What training may say of one sound of a sequence alone. Those that end with the sound carry over to task 5, those that
# begin with it do not (67 % for "X is the first sound" beside 53 % for "the first sound is X"). None shares a word with
# a phrasing of order: beside "it ends with X" the family "start and end" fell from 83 to 70 %.
POSITIONS: dict[Relation, tuple[str, ...]] = {
    "first": (
        "it opens with {}",
        "the opening sound is {}",
        "what is heard first is {}",
        "{} comes first",
        "{} is heard first",
    ),
    "second": (
        "it closes with {}",
        "the closing sound is {}",
        "what is heard second is {}",
        "{} comes second",
        "{} is heard second",
    ),
}


def caption(connective: str, first: str, second: str) -> str:
    """Say that class `first` is heard before (or, for "while", together with) class `second`.

    Raises:
        ConfigError: unknown connective.
    """
    if connective not in CONNECTIVES:
        raise ConfigError(f"unknown connective {connective!r}; choose one of {', '.join(sorted(CONNECTIVES))}")
    return CONNECTIVES[connective].template.format(first=spoken(first), second=spoken(second))


def phrasings(
    names: Sequence[str], relation: Relation = "sequence", leave_out: Sequence[str] = ()
) -> tuple[tuple[str, ...], ...]:
    """The connectives that training draws from, without the families in `leave_out`: choices that are equally likely,
    each of equally likely connectives. Each of `names` is one; "all" stands for every one of the relation, "families"
    for a choice of each family, so that one of two wordings is said as often as one of six. Task 8's are among both: it
    measures unseen words no longer.

    Raises:
        ConfigError: an unknown connective or family, one of another relation, one that task 8 asks with (unless by
            "all" or "families"), or none left.
    """
    if unknown := sorted(set(leave_out) - set(FAMILIES)):
        raise ConfigError(f"unknown families of connectives {', '.join(unknown)}; choose of {', '.join(FAMILIES)}")
    families = [tuple(templates) for (said, _), templates in _PHRASINGS.items() if said == relation]
    drawn: list[tuple[str, ...]] = []
    for name in names:
        match name:
            case "all":
                drawn += [(each,) for each in chain(*families)]
            case "families":
                drawn += families
            case _:
                check_training_connective(name, relation)
                drawn.append((name,))
    kept = tuple(choice for choice in drawn if CONNECTIVES[choice[0]].family not in leave_out)
    if not kept:
        raise ConfigError(f"no connective for a {relation} is left; name at least one, such as {families[0][0]}")
    return kept


def of_family(family: str) -> tuple[str, ...]:
    """The connectives of a family of order.

    Raises:
        ConfigError: it is none.
    """
    if family not in ORDER_FAMILIES:
        raise ConfigError(f"no connective of family {family!r} says a sequence; choose of {', '.join(ORDER_FAMILIES)}")
    return tuple(name for name, c in CONNECTIVES.items() if (c.family, c.relation) == (family, "sequence"))


def check_training_connective(name: str, relation: Relation = "sequence") -> None:
    """Raise a ConfigError unless `name` is a connective of the relation that training may use by its name: neither one
    of task 8's nor one that holds its words."""
    near = [n for n, c in CONNECTIVES.items() if any(held in c.template for held in HELD_OUT_CONNECTIVES)]
    usable = [n for n, c in CONNECTIVES.items() if c.relation == relation and n not in near]
    if name not in usable:
        kind = "order" if relation == "sequence" else "what is heard at once"
        why = "is held out for evaluation" if name in near else f"is no connective of {kind}"
        choice = f"{', '.join(sorted(usable))}, or all for every one, or families for one of each family"
        raise ConfigError(f"connective {name!r} {why}; choose of {choice}")


def warn_of_held_out(captions: Collection[str]) -> None:
    """Say how many captions of a training speak as ZSTE's task 8 does."""
    if held_out := sum(bool(_HELD_OUT.search(text)) for text in captions):
        logger.warning(
            "%d captions use %s: ZSTE's task 8, which asks with these, does not measure unseen wordings of this model",
            held_out,
            ", ".join(HELD_OUT_CONNECTIVES),
        )


def meaning(relation: Relation, *labels: str) -> str:
    """A key equal for captions that mean the same: classes ordered for a sequence, unordered otherwise."""
    return "\t".join((relation, *(labels if relation == "sequence" else sorted(labels))))


def caption_key(text: str) -> str:
    """A key equal for captions of somebody's own that say the same, letter case and spacing apart."""
    return "caption\t" + " ".join(text.lower().split())


def meaning_id(key: str) -> int:
    """`key` as a signed 64-bit number, the same in every process and on every machine (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
