"""The reversal of a caption: the same sounds in the other order, where the table of connectives knows how."""

import re
from collections.abc import Iterator
from string import Formatter

from teminal_hf.data.captions import CONNECTIVES

_SLOT = r"(\w{}|\w)"  # begins and ends with a letter or digit: marks stay where they are
# What a part holds that cannot be moved alone: words that point at the other part, or name a place in the order, or say
# that more is heard at the same time.
_POINTING = re.compile(
    r"\b(he|she|it|they|him|her|them|his|hers|its|their|this|that|these|those|which|who|another|other|again|more|one"
    r"|first|second|third|last|finally|lastly|later|earlier|as|when|meanwhile|simultaneously|whilst)\b",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[,;:.!?]")
# What belongs to the connective behind it and not to the sound: "X is followed by", "X shortly before".
_LEFT_OVER = re.compile(
    r"\b(is|are|was|were|be|been|being|and|but|or|just|right|shortly|immediately|directly|soon|long|moments|seconds"
    r"|minutes|sometime)$",
    re.IGNORECASE,
)


def reversed_caption(caption: str) -> str | None:
    """What a caption of two sounds in sequence becomes when they are told the other way round: "A dog barks before rain
    falls." -> "Rain falls before a dog barks."; None where the table of connectives does not say.

    The two parts around a connective of `CONNECTIVES` change their places; connective, commas, the mark at the end and
    a capital at the beginning stay. Nothing is guessed: a caption is left alone if no sequence of the table has its
    form, or if a part holds a second connective, a comma, or a word that does not move with it ("it", "first", "is" of
    "is followed by"). A verb without its subject ("a man speaks then laughs") is not told from a sound.
    """
    text = " ".join(caption.split())
    spans = _parts(text)
    if spans is None:
        return None
    (start, end), (next_start, next_end) = spans
    one, other = text[start:end], text[next_start:next_end]
    if one.casefold() == other.casefold() or not (_moves(one) and _moves(other)):
        return None
    if start == 0 and _lowered(one) != one:
        one, other = _lowered(one), other[0].upper() + other[1:]
    return text[:start] + other + text[end:next_start] + one + text[next_end:]


def _parts(text: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Where the two parts lie in a caption; None unless there is one way to read it.

    "X comes before Y" has the form of "before" too: what explains most of a caption is its wording.
    """
    readings: dict[int, set[tuple[tuple[int, int], tuple[int, int]]]] = {}
    for explained, pattern in _PATTERNS:
        if match := pattern.fullmatch(text):
            readings.setdefault(explained, set()).add((match.span(1), match.span(2)))
    if not readings:
        return None
    best = readings[max(readings)]
    return best.pop() if len(best) == 1 else None


def _moves(part: str) -> bool:
    return not any(pattern.search(part) for pattern in (_MARKS, _POINTING, _LEFT_OVER, *_CONNECTIVES))


def _lowered(part: str) -> str:
    """Without the capital of a sentence's beginning; "I" and abbreviations keep theirs."""
    word = part.split()[0]
    return part[0].lower() + part[1:] if word == "A" or word[1:].islower() else part


def _literals(template: str) -> list[str]:
    """What stands before, between and behind the two sounds of a template."""
    literals = [literal for literal, *_ in Formatter().parse(template)]
    return [*literals, ""] if template.endswith("}") else literals


def _patterns() -> Iterator[tuple[int, re.Pattern[str]]]:
    """Forms of a sequence, with how many letters are the wording's; each in two readings, with the shortest and the
    longest first part: they differ where a caption can be split in several ways."""
    for connective in CONNECTIVES.values():
        if connective.relation == "sequence":
            begin, between, end = _literals(connective.template)
            # "X, then Y" is as good as "X then Y".
            middle = (",?" if between.startswith(" ") else "") + re.escape(between)
            for rest in (r".*?\w", r".*\w"):
                slot = _SLOT.format(rest)
                form = f"{re.escape(begin)}{slot}{middle}{slot}{re.escape(end)}[.!?]*"
                yield len(begin + between + end), re.compile(form, re.IGNORECASE)


def _connective(template: str) -> re.Pattern[str]:
    """A template's words anywhere, whatever they join."""
    words = [re.escape(literal.strip()) for literal in _literals(template) if literal.strip()]
    return re.compile(".*".join(rf"(?<!\w){each}(?!\w)" for each in words), re.IGNORECASE)


_PATTERNS = tuple(_patterns())
_CONNECTIVES = tuple(_connective(connective.template) for connective in CONNECTIVES.values())
