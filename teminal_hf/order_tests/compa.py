"""CompA: pairs and triplets of recordings with the same sounds or words, and their captions.

Ghosh et al., ICLR 2024, arXiv 2310.08753; columns and the pair scores as in `evaluation/benchmark_eval.py` of
https://github.com/Sreyan88/CompA, which reads pairs alone. The two csv files are in archives that could not be opened
here: their names, those of the folders and "-" for no triplet are as other public loaders have them, and a csv file of
any name is taken where it is the only one.
"""

from collections.abc import Sequence
from pathlib import Path

from teminal_hf.clips.spreadsheets import Sheet
from teminal_hf.order_tests.draft import NO_FILE, Draft, sound, table, the_file
from teminal_hf.order_tests.questions import Asks, OrderTest, Recording

CAPTIONS = ("pair_caption", "reversed_pair_caption")
FILES = ("pair_file", "reversed_pair_file")
TRIPLET = ("triplet_caption", "triplet_file")
NONE = ("", "-")
_SCORES: tuple[tuple[str, Asks], ...] = (("text", "captions"), ("audio", "recordings"), ("group", "both"))
_ROWS = {
    "text": "two recordings and their captions: each recording is nearer to its own caption",
    "audio": "the same: each caption is nearer to its own recording",
    "group": "the same: both are right",
}
_ROWS |= {
    f"{row} of three": text.replace("two", "three", 1).replace("nearer", "nearest").replace("both", "all")
    for row, text in _ROWS.items()
}


def read_order(folder: Path) -> OrderTest:
    """CompA-order: the same sounds in another order.

    Args:
        folder: holds the csv file with the columns pair_caption, reversed_pair_caption, pair_file, reversed_pair_file,
            triplet_caption and triplet_file ("-": no triplet), and the sounds in `CompA_order_files`.

    Raises:
        NotFoundError: no folder or no csv file.
        DataError: a column is missing, or no row can be asked.
    """
    path = the_file(folder, "*.csv", "CompA-order's table")
    sheet = table(path, (*CAPTIONS, *FILES, *TRIPLET))
    return _read("compa", sheet, FILES, (folder / "CompA_order_files", folder))


def read_attribute(folder: Path) -> OrderTest:
    """CompA-attribute: the same words bound to other sounds. Not a test of order, but of what is beside it.

    Args:
        folder: holds the csv file with the columns of CompA-order twice, the files in `pair_file.1` and
            `reversed_pair_file.1` (written so, or as a second column of the name), and the sounds in
            `CompA_attribute_files`. Triplet columns are read where there are some.

    Raises:
        NotFoundError, DataError: as of `read_order`.
    """
    path = the_file(folder, "*.csv", "CompA-attribute's table")
    files = tuple(f"{name}.1" for name in FILES)
    sheet = table(path, (*CAPTIONS, *files), numbered=True)
    return _read("compa_attribute", sheet, files, (folder / "CompA_attribute_files", folder))


def _read(name: str, sheet: Sheet, files: Sequence[str], folders: Sequence[Path]) -> OrderTest:
    draft = Draft()
    for row in sheet.rows:
        captions = [row[column] for column in CAPTIONS]
        recordings = [sound(row[column], *folders) for column in files]
        found = [recording for recording in recordings if recording]
        if not _usable(draft, captions, recordings, "rows"):
            continue
        _ask(draft, found, captions, "")
        caption, file = (row.get(column, "") for column in TRIPLET)
        if caption in NONE and file in NONE:
            continue
        third = None if file in NONE else sound(file, *folders)
        if _usable(draft, [*captions, caption], [*recordings, third], "triplets"):
            _ask(draft, [*found, *filter(None, [third])], [*captions, caption], " of three")
    return draft.test(name, sheet.path, _ROWS)


def _usable(draft: Draft, captions: Sequence[str], recordings: Sequence[Recording | None], what: str) -> bool:
    why = ""
    if any(caption in NONE for caption in captions):
        why = "without a caption"
    elif not all(recordings):
        why = NO_FILE
    elif len(set(captions)) < len(captions) or len(set(recordings)) < len(recordings):
        why = "with one caption or file twice"
    if why:
        draft.leave_out(f"{what} {why}")
    return not why


def _ask(draft: Draft, recordings: Sequence[Recording], captions: Sequence[str], suffix: str) -> None:
    for row, asks in _SCORES:
        draft.ask(f"{row}{suffix}", recordings, captions, recordings[0][0].name, asks)
