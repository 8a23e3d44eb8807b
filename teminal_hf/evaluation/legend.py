"""What the rows and figures of a ZSTE table mean, in words: one text for terminals, LaTeX and cards."""

from collections.abc import Iterable

from teminal_hf.evaluation.retrieval import AUDIO_TO_TEXT, TEXT_TO_AUDIO

KNOWN = "R0"  # what was known: of the run's own test clips; others follow it with their name
FAMILY = "8 "  # a family of wordings' name follows
LEFT_OUT, LEFT_OUT_OF_ALL = f"{KNOWN} left out", f"{KNOWN} left out of all"

ROWS: dict[str, str] = {
    KNOWN: "what was known: a single clip among all classes' names, mean over five prompts, clips padded with "
    "silence and clips repeated",
    LEFT_OUT: "R0 of the classes left out of training, among their own names",
    LEFT_OUT_OF_ALL: "R0 of the classes left out of training, among all names",
    "1": "a single clip, among C class prompts",
    "2A": "two sounds in sequence, among C class prompts: both classes are the top two",
    "2B": "two sounds in sequence, among C class prompts: the top one is one of the two classes",
    "2C": "two sounds overlaid, among C class prompts: both classes are the top two",
    "2D": "two sounds overlaid, among C class prompts: the top one is one of the two classes",
    "3A": "two sounds in sequence: X before Y, Y before X, or X while Y",
    "3B": "two sounds overlaid: X before Y, Y before X, or X while Y",
    "3O": "two sounds in sequence, order alone: X before Y, or Y before X",
    "4A": 'two sounds in sequence, among C captions, with the reversal and the "while" twin',
    "4B": 'two sounds overlaid: the "while" caption, among C captions, with X before Y and Y before X',
    "5A": 'two sounds in sequence, "the first sound is X" and "the second sound is Y", each of C classes: both right',
    "5B": 'two sounds in sequence, "the first sound is X" and "the second sound is Y": mean of the two',
    "6": "three sounds in sequence: which of their six orders",
    "7": "one sound before or after two overlaid ones: which is alone, and is it first or last",
    "8": "as 3O, with three connectives that training uses only where it is told to use all of them",
    "G": "a pair of recordings, X then Y and Y then X, and their two captions: all right (CompA's group score)",
    "N": 'one sound, or two in sequence or overlaid: "X without Y", or "X and Y"',
    "D": 'two sounds in sequence, one three times as long: "a long X before a short Y", or the other way round',
    "R@1": "a caption of two sounds in sequence, among up to 201 recordings, reversals and overlays: its own fits best",
    "R@5": "as R@1: its own is among the five that fit best",
    "1_tiled": "task 1 with clips repeated to fill the window",
    "temporal_average": "mean of 2A, 2B, 2C, 2D, 3A, 3B, 4A, 4B, 5A and 5B",
    "order_average": "mean of (accuracy - chance) / (1 - chance) over 3O, 5A, 8 and G: 0 is guessing, 100 % all right",
}


def single_sounds(rows: Iterable[str]) -> list[str]:
    """Those of these rows that are about single sounds, in the order in which tables have them."""
    rows = list(rows)
    known = [row for row in rows if row == KNOWN or row.startswith(f"{KNOWN} ")]
    return [*known, *(row for row in ("1", "1_tiled") if row in rows)]


def meaning_of(row: str) -> str:
    """What it asks; also of rows whose name says more: another collection, a family of wordings, retrieval."""
    for side, (query, candidate) in {
        AUDIO_TO_TEXT: ("recording", "caption"),
        TEXT_TO_AUDIO: ("caption", "recording"),
    }.items():
        if row.startswith(side):
            figure = row.removeprefix(f"{side} ")
            what = f"one that fits is among the {figure[2:]} highest" if figure[0] == "R" else "average precision"
            return f"a {query} of two sounds, among all {candidate}s (X then Y, Y then X, both at once): {what}"
    if row.startswith(FAMILY):
        return f'as 3O, in the wordings of the family "{row.removeprefix(FAMILY)}"'
    return ROWS[row] if row in ROWS else f"R0 of the recordings of {row.removeprefix(f'{KNOWN} ')}"


def legend(rows: Iterable[str], *, differences: bool = False, seeds: bool = False) -> list[str]:
    """Lines for below a table of these rows, as Markdown.

    Args:
        rows: names of those that are shown; the others are not explained.
        differences: whether the table holds differences of two models.
        seeds: whether it holds means over training seeds.
    """
    sentences = ["Percent; higher is better. Chance is what guessing reaches, n the number of questions, C of classes"]
    how = "Brackets are 95 % intervals, Wilson's for an accuracy"
    sentences.append(how + (", a paired bootstrap over clips for a difference" if differences else ""))
    if seeds:
        sentences.append("In parentheses each seed of a mean; intervals cover the choice of clips, not that of seeds")
    return [f"{'. '.join(sentences)}.", "", *(f"- {row}: {meaning_of(row)}" for row in rows)]
