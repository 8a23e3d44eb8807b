"""Data sets of recordings by name: of the Hub, saved to disk, or files and folders as people keep them."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import soundfile
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError, DatasetNotFoundError, DatasetsError

from teminal_hf.clips.audio_column import is_text, need_columns
from teminal_hf.clips.folds import is_split
from teminal_hf.clips.spreadsheets import check_filled, check_inside, leads_out, read_sheet
from teminal_hf.errors import ConfigError, DataError, NotFoundError, TeminalError
from teminal_hf.hub.offline import fetching_data, saying_what_to_fetch

logger = logging.getLogger(__name__)

FILE_COLUMNS = ("file_name", "filename", "audio_path", "filepath", "path", "file")  # of tables without an audio column
SHEETS, TABLES = (".csv", ".tsv"), (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow")
_BESIDE = (".csv", ".tsv", ".jsonl", ".parquet")
# Files that hold sound, readable or not: one that cannot be read is named, not passed over.
SOUNDS = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw", ".mat4", ".mat5"}
SOUNDS |= {".mp3", ".aif", ".m4a", ".aac", ".webm", ".opus", ".wma", ".mp4"}
_NO_DATA = ("", ".txt", ".md")
_SAVED = ("dataset_dict.json", "state.json")  # by save_to_disk
URBAN_SOUND = Path("metadata") / "UrbanSound8K.csv"
_NO_CLASS = re.compile(r"(fold|part|split|set|cv|audio|sounds?|clips?|wavs?|data)?[ _-]?\d*", re.IGNORECASE)


@dataclass(frozen=True)
class Rows:
    """Rows of recordings by split. Paths in them start from the folder `base`."""

    splits: DatasetDict
    base: Path | None = None


def holds_recordings(folder: str) -> bool:
    """Whether it is a folder of recordings that `load_rows` reads, other than one in the form of ESC-50."""
    root = Path(folder)
    if not root.is_dir() or (root / "meta").is_dir():
        return False
    saved = any((root / name).is_file() for name in _SAVED)
    return (
        saved
        or (root / URBAN_SOUND).is_file()
        or bool(_tables(root))
        or any(root.rglob("*.parquet"))
        or any(map(_class_of, _sounds(root)))
    )


def load_rows(source: str, audio_column: str = "audio", label_column: str | None = "category") -> Rows:
    """The rows of `source`: a data set of the Hub or on disk (`load_dataset`, `save_to_disk`), a table (csv, jsonl,
    parquet) of files, a folder of sounds with such a table (`metadata.csv`), a folder of sounds for each class, or one
    in the form of UrbanSound8K (`metadata/UrbanSound8K.csv` and `audio/fold1/` to `audio/fold10/`).

    What has no column of its own for the recording or its class gets one, under the names that are asked for. Without a
    `label_column` any folder of sounds will do.

    Raises:
        ConfigError: an empty name.
        NotFoundError: a path that is not there.
        DataError: it is there and cannot be read; the message says why.
        OfflineError: not on this machine, and the Hub may not be asked.
    """
    if not source.strip():
        raise ConfigError("the name of a data set is empty; give a folder, a file or a data set of the Hub (. is here)")
    path = Path(source)
    if path.is_file():
        return Rows(DatasetDict(train=_table(path, audio_column)), path.parent)
    if not path.is_dir():
        return Rows(_loaded(source))
    if any((path / name).is_file() for name in _SAVED):
        return Rows(_saved(source), path)
    if (path / URBAN_SOUND).is_file():
        return Rows(DatasetDict(train=_urban_sound(path, audio_column, label_column or "category")), path)
    tables, sounds = _tables(path), _sounds(path)
    if tables and (sounds or all(table.suffix in (*SHEETS, ".jsonl") for table in tables)):
        return Rows(_folder_with_tables(path, tables, audio_column), path)
    if sounds:
        return Rows(_folder_of_classes(path, sounds, audio_column, label_column), path)
    if all(file.suffix in _NO_DATA or file.is_dir() for file in path.rglob("*")):
        raise _nothing_in(path)
    return Rows(_loaded(source), data_folder(path))


def _nothing_in(folder: Path) -> DataError:
    name = f"{folder} ({folder.resolve()})" if folder.name in ("", "..") else str(folder)
    return DataError(
        f"{name} holds nothing that is read: neither sounds (wav, flac, ogg, mp3) nor tables of them (csv, jsonl, "
        "parquet) nor a saved data set; name the folder that does"
    )


def _loaded(source: str) -> DatasetDict:
    path = Path(source)
    is_name = not path.is_absolute() and not source.startswith((".", "~")) and path.suffix not in TABLES
    if not path.exists() and not (is_name and len(path.parts) <= 2):
        raise NotFoundError(f"there is no file or folder {source}")
    try:
        with saying_what_to_fetch(source, fetching_data(source)):
            return load_dataset(str(path.resolve()) if path.exists() else source)  # it takes no "."
    except DatasetNotFoundError as error:
        raise NotFoundError(f"there is no folder, file or data set of the Hub {source!r} ({error})") from error
    except TeminalError:
        raise
    except DataFilesNotFoundError as error:
        raise (_nothing_in(path) if path.is_dir() else DataError(f"{source}: {error}")) from error
    except (DatasetsError, FileNotFoundError, ValueError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None  # what it says nowhere else
        raise DataError(f"{source} cannot be read as a data set: {' '.join(str(cause or error).split())}") from error


def _saved(source: str) -> DatasetDict:
    try:
        saved = load_from_disk(source)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{source} is not, or not wholly, a data set that save_to_disk wrote: {error}") from error
    return saved if isinstance(saved, DatasetDict) else DatasetDict(train=saved)


def data_folder(root: Path) -> Path:
    """The folder of the data files, if they lie in one."""
    folders = {table.parent for suffix in TABLES for table in root.rglob(f"*{suffix}")}
    return folders.pop() if len(folders) == 1 else root


def _sounds(root: Path) -> list[Path]:
    """Relative paths of all files of sound, but for hidden ones.

    Raises:
        DataError: links that lead nowhere, as where files are not fetched yet.
    """
    found: list[Path] = []
    broken: list[Path] = []
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if path.is_symlink() and path.is_dir():
            logger.warning("%s is a link to a folder, which is not followed; give the folder itself", path)
        elif path.suffix.lower() in SOUNDS and (path.is_file() or path.is_symlink()):
            (found if path.is_file() else broken).append(relative)
    if broken:
        raise DataError(
            f"{root} holds {len(broken)} links to sounds that are not there, such as {min(broken)}; fetch the files, "
            "or remove the links"
        )
    return sorted(found)


def _tables(root: Path) -> list[Path]:
    """`metadata.*` in the folder or in those of its splits; else the tables beside the sounds."""
    splits = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and is_split(folder.name)]
    named = [folder / f"metadata{suffix}" for folder in (root, *splits) for suffix in TABLES]
    found = [path for path in named if path.is_file()]
    return found or sorted(path for path in root.iterdir() if path.suffix in _BESIDE and path.is_file())


def _folder_with_tables(root: Path, tables: list[Path], audio_column: str) -> DatasetDict:
    if len(tables) == 1 and tables[0].parent == root:
        return _by_split(_table(tables[0], audio_column, root), audio_column)
    parts: dict[str, Dataset] = {}
    for path in tables:
        name = path.stem if path.parent == root else path.parent.name
        if not is_split(name) or name in parts:
            found = ", ".join(path.relative_to(root).as_posix() for path in tables)
            raise DataError(f"{root} holds several tables, {found}; name one of them: {(root / path).as_posix()}")
        parts[name] = _table(path, audio_column, root)
    return DatasetDict(parts)


def _by_split(table: Dataset, audio_column: str) -> DatasetDict:
    """By the first folder of the files' paths, where these are the names of splits."""
    if audio_column not in table.column_names or not is_text(table.features[audio_column]):
        return DatasetDict(train=table)
    firsts = [Path(cell or "").parts[:1] for cell in table[audio_column][:]]
    names = list(dict.fromkeys(firsts))
    if len(names) < 2 or not all(name and is_split(name[0]) for name in names):
        return DatasetDict(train=table)
    return DatasetDict({n[0]: table.select([row for row, first in enumerate(firsts) if first == n]) for n in names})


def _urban_sound(root: Path, audio_column: str, label_column: str) -> Dataset:
    sheet = read_sheet(root / URBAN_SOUND)
    named = ("slice_file_name", "fold", "class")
    need_columns(named, sheet.columns, str(sheet.path))
    if not sheet.rows:
        raise DataError(f"{sheet.path} holds no row")
    check_filled(sheet, named)
    for name in named[:2]:
        check_inside(sheet, name, root / "audio")
    files = [f"audio/fold{row['fold']}/{row['slice_file_name']}" for row in sheet.rows]
    columns = {name: sheet.column(name) for name in sheet.columns} | {"filename": sheet.column("slice_file_name")}
    return Dataset.from_dict(columns | {audio_column: files, label_column: sheet.column("class")})


def _folder_of_classes(root: Path, sounds: list[Path], audio_column: str, label_column: str | None) -> DatasetDict:
    names = [path.as_posix() for path in sounds]
    if label_column is None:
        return DatasetDict(train=Dataset.from_dict({audio_column: names, "filename": names}))
    labels = [_class_of(path) for path in sounds]
    if not any(labels):
        raise DataError(
            f"{root} holds {len(sounds)} sounds, and nothing tells what they are: put a metadata.csv beside them "
            f"(columns file_name and {label_column}), or those of each class in a folder of its name"
        )
    _check_one_level(root, sounds)
    classes = sorted({*labels})
    logger.info("%d sounds of %d classes, by their folders: %s", len(sounds), len(classes), ", ".join(classes))
    return _by_split(Dataset.from_dict({audio_column: names, label_column: labels, "filename": names}), audio_column)


def _check_one_level(root: Path, sounds: list[Path]) -> None:
    """Raise a DataError where folders of one name stand in several that may be the classes themselves."""
    above: dict[str, str] = {}
    for path in sounds:
        over = path.parent.parent.name
        if _NO_CLASS.fullmatch(over) or is_split(over):
            continue
        if above.setdefault(path.parent.name, over) != over:
            raise DataError(
                f"{root}: folders {path.parent.name} stand in {above[path.parent.name]} and in {over}, so that the "
                "folder of a sound does not tell its class; put the sounds of each class in one folder, or name their "
                "classes in a metadata.csv (columns file_name and category)"
            )


def _class_of(path: Path) -> str:
    """The folder of a sound, unless it is named as no class is."""
    name = path.parent.name
    return "" if _NO_CLASS.fullmatch(name) else name


def _table(path: Path, audio_column: str, root: Path | None = None) -> Dataset:
    """The rows of a file; its column of file names, if there is no other, as audio. What lies in a folder `root` names
    files inside of it, which are told from there."""
    if path.suffix in SHEETS:
        sheet = read_sheet(path)
        table, at = Dataset.from_dict({name: sheet.column(name) for name in sheet.columns}), sheet.at
    else:
        table, at = _typed_table(path), "row {}".format
    if not len(table):
        raise DataError(f"{path} holds no row")
    columns = table.column_names
    named = audio_column if audio_column in columns else next((name for name in FILE_COLUMNS if name in columns), None)
    if named is None or not is_text(table.features[named]):
        return table
    cells = [cell or "" for cell in table[named][:]]
    if root is not None:
        for row, cell in enumerate(cells):
            if leads_out(cell):
                raise DataError(
                    f"{path}, {at(row)}: {cell!r} leads out of {path.parent}; name files inside of it, relative to it"
                )
        folder = path.parent.relative_to(root)
        cells = [cell and (folder / cell).as_posix() for cell in cells]
    return (table.remove_columns(named) if named == audio_column else table).add_column(audio_column, cells)


def _typed_table(path: Path) -> Dataset:
    readers = {".parquet": Dataset.from_parquet, ".arrow": Dataset.from_file}
    readers |= dict.fromkeys((".json", ".jsonl"), Dataset.from_json)
    if path.suffix not in readers:
        raise DataError(f"{path} is none of the tables that are read: {', '.join(TABLES)}")
    try:
        return readers[path.suffix](str(path))
    except (DatasetGenerationError, OSError, ValueError) as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise DataError(f"{path} cannot be read as {path.suffix[1:]}: {cause}") from error
