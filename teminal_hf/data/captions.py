"""Captions: connectives, paraphrases, and the meanings by which two of them are equal.

Equality of captions is decided by meaning, not by words: "X before Y" = "Y after X", "X while Y" = "Y while X".
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from teminal_hf.clips.labels import spoken as spoken
from teminal_hf.errors import ConfigError

Relation = Literal["single", "both", "sequence", "overlap"]


@dataclass(frozen=True, slots=True)
class Connective:
    """A way to say a relation. `template` names the sound heard `{first}` and the one heard `{second}`."""

    template: str
    relation: Relation
    held_out: bool = False  # never used in training: for evaluation alone


CONNECTIVES: dict[str, Connective] = {
    "before": Connective("{first} before {second}", "sequence"),
    "after": Connective("{second} after {first}", "sequence"),
    "while": Connective("{first} while {second}", "overlap"),
    "and later": Connective("{first} and later {second}", "sequence"),
    "afterwards": Connective("{first}, afterwards {second}", "sequence"),
    "leads into": Connective("{first} leads into {second}", "sequence"),
    "starts with": Connective("it starts with {first} and ends with {second}", "sequence"),
    "followed by": Connective("{first} followed by {second}", "sequence", held_out=True),
    "then": Connective("{first} then {second}", "sequence", held_out=True),
    "preceded by": Connective("{second} preceded by {first}", "sequence", held_out=True),
}
SEQUENCE_CONNECTIVES = ("before", "after")
HELD_OUT_CONNECTIVES = tuple(name for name, connective in CONNECTIVES.items() if connective.held_out)

SINGLE = "the sound of {}"
BOTH = "the sound of {} and {}"
FIRST_SOUND = "the first sound is {}"  # ZSTE task 5, never in training
SECOND_SOUND = "the second sound is {}"


def caption(connective: str, first: str, second: str) -> str:
    """Say that class `first` is heard before (or, for "while", together with) class `second`.

    Raises:
        ConfigError: unknown connective.
    """
    if connective not in CONNECTIVES:
        raise ConfigError(f"unknown connective {connective!r}; choose one of {', '.join(sorted(CONNECTIVES))}")
    return CONNECTIVES[connective].template.format(first=spoken(first), second=spoken(second))


def check_training_connective(name: str) -> None:
    """Raise a ValueError unless `name` is a connective of order that training may use."""
    usable = [n for n, c in CONNECTIVES.items() if c.relation == "sequence" and not c.held_out]
    if name not in usable:
        why = "is held out for evaluation" if name in HELD_OUT_CONNECTIVES else "is no connective of order"
        raise ConfigError(f"connective {name!r} {why}; choose of {', '.join(sorted(usable))}")


def meaning(relation: Relation, *labels: str) -> str:
    """A key equal for captions that mean the same: classes ordered for a sequence, unordered otherwise."""
    return "\t".join((relation, *(labels if relation == "sequence" else sorted(labels))))


def caption_key(text: str) -> str:
    """A key equal for captions of somebody's own that say the same, letter case and spacing apart."""
    return "caption\t" + " ".join(text.lower().split())


def meaning_id(key: str) -> int:
    """`key` as a signed 64-bit number, the same in every process and on every machine (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
