"""ESC-50 as distributed, and folders in its form: `meta/esc50.csv` and `audio/`."""

from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath

from teminal_hf.audio.waveform import Waveform, decode
from teminal_hf.clips.audio_column import file_state, need_columns
from teminal_hf.clips.folds import fold_numbers
from teminal_hf.clips.labels import class_labels
from teminal_hf.clips.spreadsheets import Sheet, check_filled, check_inside, read_sheet
from teminal_hf.clips.table import ClipTable
from teminal_hf.errors import DataError, NotFoundError

TABLE = Path("meta") / "esc50.csv"
_COLUMNS = ("filename", "fold", "category")


def esc50_folder(data_dir: str | Path) -> ClipTable:
    """The clips of `meta/esc50.csv` (columns filename, fold, category), whose files are in `audio/`.

    A clip's id is its file's stem, or the whole name where two files have one stem.

    Raises:
        NotFoundError: folder, table or a listed file missing.
        DataError: columns missing, a blank or senseless cell (the message names its line), names that lead out of
            `audio/`, or labels that are no names.
    """
    root = Path(data_dir)
    sheet, audio = esc50_sheet(root), root / "audio"
    names = sheet.column("filename")
    paths = [audio / name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise NotFoundError(
            f"{sheet.path} names {len(missing)} file(s) that are not in {audio}: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Complete the folder or remove these lines"
        )
    folds = fold_numbers(sheet.column("fold"), str(sheet.path), sheet.at)
    labels = class_labels(sheet.column("category"), f"{sheet.path}, column category", at=sheet.at)
    ids = _ids(sheet)
    keep = [row for row, label in enumerate(labels) if label is not None]
    return ClipTable(
        tuple(ids[row] for row in keep),
        tuple(label for label in labels if label is not None),
        tuple(folds[row] for row in keep),
        tuple(keep),
        tuple(file_state(paths[row]) for row in keep),
        partial(_read_path, [str(path) for path in paths]),
    )


def esc50_sheet(root: Path) -> Sheet:
    """The lines of `meta/esc50.csv`, each with a fold and the name of a file inside `audio/`."""
    table, audio = root / TABLE, root / "audio"
    if not table.is_file():
        found = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "nothing: no such folder"
        raise NotFoundError(
            f"{root} is no ESC-50 folder: meta/esc50.csv is missing (found {found or 'an empty folder'}). Give the "
            "folder that holds audio/ and meta/, as unpacked from https://github.com/karolpiczak/ESC-50"
        )
    sheet = read_sheet(table)
    need_columns(set(_COLUMNS), sheet.columns, str(table))
    if not sheet.rows:
        raise DataError(f"{table} lists no clip")
    check_filled(sheet, ("filename", "fold"))
    check_inside(sheet, "filename", audio)
    return sheet


def _ids(sheet: Sheet) -> list[str]:
    names = sheet.column("filename")
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if first.setdefault(name, row) != row:
            raise DataError(
                f"{sheet.path}, lines {sheet.lines[first[name]]} and {sheet.lines[row]} both name {name}; a clip has "
                "one line: remove the other"
            )
    stems = [PurePosixPath(name).stem for name in names]
    count = Counter(stems)
    return [stem if count[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]


def _read_path(paths: list[str], row: int, sampling_rate: int) -> Waveform:
    return decode(paths[row], sampling_rate)
