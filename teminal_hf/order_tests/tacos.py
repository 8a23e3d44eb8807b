"""TACOS: real recordings with sentences about stretches of them, from which before, after and while are derived.

Primus et al. 2025, arXiv 2505.07609, https://zenodo.org/records/15379789 (DOI 10.5281/zenodo.15379789). Columns as in
its files: `annotations_strong.csv` has filename, text, onset, offset (seconds), `test_split.csv` filename. The folder
of the unpacked `audio.zip` is `audio` in public loaders.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, cycle
from pathlib import Path
from typing import NamedTuple

from teminal_hf.data.captions import caption
from teminal_hf.errors import ConfigError
from teminal_hf.order_tests.draft import NO_FILE, Draft, sound, table, the_file
from teminal_hf.order_tests.questions import OrderTest, Recording

TACOS = "tacos"  # as `--source` and `--test` take it
MARGIN = 0.5  # seconds: how finely people mark where a sound begins and ends
NO_SENTENCES = "recordings of which annotations_strong.csv says nothing"
_ROWS = {
    "order": "one sound ends before another begins: X before Y, or Y before X (or both with after)",
    "sequence": "the same recordings: X before Y, Y before X, or X while Y",
    "overlap": "one sound lies within another: X while Y, X before Y, or Y before X",
}


class Stretch(NamedTuple):
    """What is heard from `onset` to `offset`, in seconds."""

    text: str
    onset: float
    offset: float


def read(folder: Path, margin: float = MARGIN) -> OrderTest:
    """TACOS's test split, each pair of stretches of a recording a question.

    A stretch is before another if it ends `margin` seconds or more before the other begins. They are at the same time
    if one begins and ends within the other, to within the margin, and they sound together for longer than it. All other
    pairs are left out and counted: those that overlap in part, those that are nearer than the margin. Half of the
    questions say "before", half "after", so that taking the order of words for that of sounds gives chance.

    Args:
        folder: holds `annotations_strong.csv`, `test_split.csv` and `audio`.
        margin: in seconds, 0 or more.

    Raises:
        ConfigError: a margin below 0, or none.
        NotFoundError: no folder or table.
        DataError: a column is missing, or no pair can be asked.
    """
    check_margin(margin)
    split = table(the_file(folder, "test_split.csv", "TACOS's test split"), ("filename",))
    draft = Draft()
    path, stretches = stretches_of(draft, folder)
    words = {related: cycle(("before", "after")) for related in ("before", "while")}
    for name in dict.fromkeys(split.column("filename")):
        recording = sound(name, folder / "audio", folder)
        if recording is None:
            draft.leave_out(f"recordings {NO_FILE}")
            continue
        if name not in stretches:
            draft.leave_out(NO_SENTENCES)
        for related, first, second in related_pairs(draft, stretches.get(name, []), margin):
            _ask(draft, related, next(words[related]), recording, first.text, second.text)
    return draft.test(TACOS, path, _ROWS)


def relation(first: Stretch, second: Stretch, margin: float) -> str:
    """Of `first` to `second`, which does not begin earlier: "before" or "while", or why it is neither."""
    if first.offset + margin <= second.onset:
        return "before"
    together = min(first.offset, second.offset) - second.onset
    if together <= 0:
        return "pairs nearer than the margin"
    within = any(
        outer.onset - margin <= inner.onset and inner.offset <= outer.offset + margin
        for outer, inner in ((first, second), (second, first))
    )
    return "while" if within and together > margin else "pairs that overlap in part"


def check_margin(margin: float) -> None:
    """Raise a ConfigError unless it is a number of seconds."""
    if not (math.isfinite(margin) and margin >= 0):
        raise ConfigError(f"margin must be 0 seconds or more, found {margin}")


def stretches_of(draft: Draft, folder: Path) -> tuple[Path, dict[str, list[Stretch]]]:
    """The table of strong captions, and what it says of each file by its name; odd rows are counted in `draft`."""
    path = the_file(folder, "annotations_strong.csv", "TACOS's strong captions")
    stretches: dict[str, list[Stretch]] = {}
    for row in table(path, ("filename", "text", "onset", "offset")).rows:
        text = row["text"].rstrip(". ")
        try:
            onset, offset = float(row["onset"]), float(row["offset"])
        except ValueError:
            onset = offset = math.nan
        if _words(text) and 0 <= onset < offset < math.inf:
            stretches.setdefault(row["filename"], []).append(Stretch(_within_a_sentence(text), onset, offset))
        else:
            draft.leave_out("captions without words, or without an onset before an offset")
    return path, stretches


def _within_a_sentence(text: str) -> str:
    """Small at its beginning, but for what is in capitals throughout."""
    return text if text[1:2].isupper() else text[0].lower() + text[1:]


def _words(text: str) -> str:
    """What is said, without letter case, marks and spaces: of one sound people write "Dog barks." and "dog  barks"."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def related_pairs(draft: Draft, stretches: list[Stretch], margin: float) -> Iterator[tuple[str, Stretch, Stretch]]:
    """Those of a recording that are in a relation, "before" or "while", the earlier first; the others are counted."""
    times = Counter(_words(stretch.text) for stretch in stretches)
    twice = {stretch for stretch in stretches if times[_words(stretch.text)] > 1}
    for first, second in combinations(sorted(stretches, key=lambda stretch: stretch.onset), 2):
        if first in twice or second in twice:
            draft.leave_out("pairs with a caption that the recording has twice")
            continue
        found = relation(first, second, margin)
        if found in ("before", "while"):
            yield found, first, second
        else:
            draft.leave_out(found)


def _ask(draft: Draft, related: str, word: str, recording: Recording, x: str, y: str) -> None:
    group = recording[0].name
    right, wrong, together = caption(word, x, y), caption(word, y, x), caption("while", x, y)
    if related == "while":
        draft.ask("overlap", [recording], [together, right, wrong], group)
        return
    draft.ask("order", [recording], [right, wrong], group)
    draft.ask("sequence", [recording], [right, wrong, together], group)
