"""Data sets as people keep them: tables of files, folders of sounds, saved data sets."""

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
from datasets import Dataset, DatasetDict

from support.clips import tone
from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.sources import load_clips
from teminal_hf.clips.table import ClipTable
from teminal_hf.errors import ConfigError, DataError, NotFoundError

RATE = 8_000
LABELS = ("dog", "rain", "wind") * 4
PITCH = {"dog": 400, "rain": 800, "wind": 1600}
NAMES = [f"{label}{i}.wav" for i, label in enumerate(LABELS)]


def sound(row: int) -> np.ndarray:
    return tone(PITCH[LABELS[row]] + 10 * row, 0.2, RATE)


def write_sounds(folder: Path, name: Callable[[int], str] = NAMES.__getitem__) -> list[str]:
    names = [name(row) for row in range(len(LABELS))]
    for row, each in enumerate(names):
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / each, sound(row), RATE, subtype="FLOAT")
    return names


def write_csv(path: Path, columns: dict[str, list[str]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([columns, *zip(*columns.values(), strict=True)])


def rows_of(folder: Path, column: str = "file_name", **more: list[str]) -> dict[str, list[str]]:
    return {column: write_sounds(folder), "category": list(LABELS)} | more


def metadata_csv(root: Path) -> str:
    write_csv(root / "metadata.csv", rows_of(root))
    return str(root)


def metadata_with_semicolons(root: Path) -> str:
    write_csv(root / "metadata.csv", rows_of(root), ";")
    return str(root)


def metadata_jsonl(root: Path) -> str:
    columns = rows_of(root)
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return str(root)


def metadata_parquet(root: Path) -> str:
    Dataset.from_dict(rows_of(root)).to_parquet(root / "metadata.parquet")
    return str(root)


def metadata_of_pandas(root: Path) -> str:
    pandas.DataFrame(rows_of(root)).to_parquet(root / "metadata.parquet")  # text is large_string there
    return str(root)


def metadata_of_a_sub_folder(root: Path) -> str:
    names = write_sounds(root, lambda row: f"sounds/{NAMES[row]}")
    write_csv(root / "metadata.csv", {"file_name": names, "category": list(LABELS)})
    return str(root)


def a_csv_beside_the_sounds(root: Path) -> str:
    write_csv(root / "labels.csv", rows_of(root, "path"))
    return str(root)


def a_folder_for_each_class(root: Path) -> str:
    write_sounds(root, lambda row: f"{LABELS[row]}/{NAMES[row]}")
    (root / "dog" / "._x.wav").write_bytes(b"of a Mac")
    (root / "README.md").write_text("dogs and weather")
    return str(root)


def a_csv_alone(root: Path) -> str:
    write_csv(root / "mine.csv", rows_of(root, "audio"))
    return str(root / "mine.csv")


def a_csv_above_its_sounds(root: Path) -> str:
    names = write_sounds(root, lambda row: f"wavs/{NAMES[row]}")
    write_csv(root / "meta" / "mine.tsv", {"audio": [f"../{n}" for n in names], "category": list(LABELS)}, "\t")
    return str(root / "meta" / "mine.tsv")


def a_parquet_file_of_paths(root: Path) -> str:
    Dataset.from_dict(rows_of(root, "audio")).to_parquet(root / "mine.parquet")
    return str(root / "mine.parquet")


def a_jsonl_file_of_absolute_paths(root: Path) -> str:
    columns = rows_of(root, "audio")
    columns["audio"] = [str(root / name) for name in columns["audio"]]
    Dataset.from_dict(columns).to_json(root / "mine.jsonl")
    return str(root / "mine.jsonl")


def a_folder_of_parquet_files_of_paths(root: Path) -> str:
    names = rows_of(root / "sounds", "audio")
    names["audio"] = [f"../sounds/{name}" for name in names["audio"]]
    Dataset.from_dict(names).to_parquet(root / "data" / "train-00000-of-00001.parquet")
    return str(root / "data")


def bare_bytes(root: Path) -> str:
    write_sounds(root)
    cells = [(root / name).read_bytes() for name in NAMES]
    Dataset.from_dict({"audio": cells, "category": list(LABELS)}).to_parquet(root / "mine.parquet")
    return str(root / "mine.parquet")


def saved_to_disk(root: Path) -> str:
    cells = [{"array": sound(row), "sampling_rate": RATE} for row in range(len(LABELS))]
    Dataset.from_dict({"audio": cells, "category": list(LABELS)}).save_to_disk(root / "saved")
    return str(root / "saved")


def saved_with_splits(root: Path) -> str:
    cells = [{"array": sound(row), "sampling_rate": RATE} for row in range(len(LABELS))]
    data = Dataset.from_dict({"audio": cells, "category": list(LABELS)})
    DatasetDict(train=data.select(range(6)), test=data.select(range(6, 12))).save_to_disk(root / "saved")
    return str(root / "saved")


KINDS = [
    *(metadata_csv, metadata_with_semicolons, metadata_jsonl, metadata_parquet, metadata_of_pandas),
    metadata_of_a_sub_folder,
    *(a_csv_beside_the_sounds, a_folder_for_each_class, a_csv_alone, a_csv_above_its_sounds, a_parquet_file_of_paths),
    *(a_jsonl_file_of_absolute_paths, a_folder_of_parquet_files_of_paths, bare_bytes, saved_to_disk),
    saved_with_splits,
]


def check(clips: ClipTable) -> None:
    """Every clip has the sound of its label, whichever row it is in."""
    assert len(clips) == len(LABELS)
    left = set(range(len(LABELS)))
    for clip_id in clips.ids:
        samples = clips.waveform(clip_id, RATE, trim=False)
        row = next(row for row in left if np.allclose(samples, sound(row), atol=1e-4))
        assert clips.label(clip_id) == LABELS[row]
        left.remove(row)
    assert len(clips.usable(RATE)) == len(LABELS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_sources_that_people_have(kind: Callable[[Path], str], tmp_path: Path) -> None:
    source = kind(tmp_path / "own")
    check(load_clips(source))
    if Path(source).is_dir() and kind is not a_folder_of_parquet_files_of_paths:
        check(load_clips(data_dir=source))


def test_an_esc50_folder_as_a_source(esc50: Path) -> None:
    assert load_clips(str(esc50)).ids == load_clips(data_dir=str(esc50)).ids


def test_clips_are_named_by_their_files(tmp_path: Path) -> None:
    for kind in (metadata_csv, metadata_of_pandas, a_folder_for_each_class):
        assert sorted(load_clips(kind(tmp_path / kind.__name__)).ids) == sorted(Path(n).stem for n in NAMES)


@pytest.mark.parametrize("form", ["folders", "metadata in each", "metadata above", "a table for each"])
def test_splits_of_folders_are_folds(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def split(row: int) -> str:
        return ("train", "test")[row >= 6]

    below = {"folders": lambda row: f"{LABELS[row]}/", "a table for each": lambda row: ""}.get(form, lambda row: "x/")
    top = "" if form == "a table for each" else None
    names = write_sounds(tmp_path, lambda row: f"{split(row) + '/' if top is None else ''}{below(row)}{NAMES[row]}")
    halves = {"train": range(6), "test": range(6, 12)}
    if form == "metadata above":
        write_csv(tmp_path / "metadata.csv", {"file_name": names, "category": list(LABELS)})
    for name, rows in halves.items():
        columns = {"file_name": [names[row] for row in rows], "category": [LABELS[row] for row in rows]}
        if form == "metadata in each":
            columns["file_name"] = [each.partition("/")[2] for each in columns["file_name"]]
            write_csv(tmp_path / name / "metadata.csv", columns)
        elif form == "a table for each":
            write_csv(tmp_path / f"{name}.csv", columns)
    with caplog.at_level(logging.INFO):
        clips = load_clips(str(tmp_path))
    check(clips)
    tests = clips.in_folds(split_folds(clips)["test"])
    assert sorted(tests.ids) == sorted(Path(NAMES[row]).stem for row in halves["test"])
    assert "own splits are its folds: " in caplog.text


def test_classes_in_folders_of_folds_and_links_to_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sounds(tmp_path / "own", lambda row: f"fold{row % 3}/{LABELS[row]}/{NAMES[row]}")
    (tmp_path / "own" / "wolf").symlink_to(tmp_path / "own" / "fold1", target_is_directory=True)
    with caplog.at_level(logging.INFO):
        clips = load_clips(tmp_path / "own")
    assert set(clips.classes) == set(LABELS)
    assert "12 sounds of " in caplog.text and "wolf is a link to a folder, which is not followed" in caplog.text


def write_broken(root: Path, what: str) -> str:
    root.mkdir()
    if what == "nothing that is read":
        (root / "notes.txt").write_text("to do")
    elif what == "files of another kind":
        (root / "x.py").write_text("1")
    elif what == "a parquet file cut short in a folder":
        path = Path(bare_bytes(root)).rename(root / "data.parquet")
        for sound_file in root.glob("*.wav"):
            sound_file.unlink()
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "sounds alone":
        write_sounds(root)
    elif what == "folders of folds":
        write_sounds(root, lambda row: f"fold{row % 3}/{NAMES[row]}")
    elif what == "folders of sessions":
        write_sounds(root, lambda row: f"{LABELS[row]}/{'ab'[row % 2]}/{NAMES[row]}")
    elif what == "links that lead nowhere":
        write_sounds(root, lambda row: f"{LABELS[row]}/{NAMES[row]}")
        (root / LABELS[0] / "more.wav").symlink_to(root / "nowhere.wav")
    elif what == "a file that is not there":
        write_csv(root / "metadata.csv", rows_of(root))
        (root / NAMES[3]).unlink()
    elif what == "out of the folder":
        write_csv(root / "metadata.csv", rows_of(root) | {"file_name": ["../x.wav", *NAMES[1:]]})
    elif what == "an absolute path":
        write_csv(root / "metadata.csv", rows_of(root) | {"file_name": ["/x.wav", *NAMES[1:]]})
    elif what == "two tables":
        for name in "ab":
            write_csv(root / f"{name}.csv", rows_of(root))
    elif what == "an empty table":
        write_csv(root / "metadata.csv", {"file_name": [], "category": []})
        write_sounds(root)
    elif what == "another column":
        write_csv(root / "metadata.csv", {"file_name": write_sounds(root), "kind": list(LABELS)})
    elif what == "a saved data set cut short":
        saved_to_disk(root)
        next((root / "saved").glob("*.arrow")).unlink()
        return str(root / "saved")
    elif what in ("no parquet", "no json", "no csv", "a text"):
        path = root / f"x.{what.split()[1].replace('json', 'jsonl').replace('text', 'txt')}"
        path.write_bytes(b"\x00\x01 {" * 20)
        return str(path)
    return str(root)


BROKEN = {
    "nothing that is read": "holds nothing that is read: neither sounds .* nor tables",
    "files of another kind": "own holds nothing that is read",
    "a parquet file cut short in a folder": "own cannot be read as a data set: .*[Pp]arquet",
    "sounds alone": "holds 12 sounds, and nothing tells what they are: put a metadata.csv beside them",
    "folders of folds": "holds 12 sounds, and nothing tells what they are",
    "folders of sessions": r"folders [ab] stand in \w+ and in \w+, so that the folder of a sound does not tell",
    "links that lead nowhere": r"holds 1 links to sounds that are not there, such as \w+/more.wav; fetch the files",
    "a file that is not there": r"names 1 of 12 file\(s\) that are not there: 'dog3.wav'",
    "out of the folder": r"metadata.csv, line 2: '\.\./x.wav' leads out of",
    "an absolute path": r"metadata.csv, line 2: '/x.wav' leads out of",
    "two tables": "holds several tables, a.csv, b.csv; name one of them",
    "an empty table": "metadata.csv holds no row",
    "another column": r"no column category; present: file_name, kind, audio\. Name yours by --label_column",
    "a saved data set cut short": "is not, or not wholly, a data set that save_to_disk wrote",
    "no parquet": "x.parquet cannot be read as parquet: ",
    "no json": "x.jsonl cannot be read as jsonl: ",
    "no csv": "x.csv, line 1 is no text",
    "a text": "x.txt is none of the tables that are read: .csv",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_read_is_one_message(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_broken(tmp_path / "own", what)
    with pytest.raises((DataError, NotFoundError), match=BROKEN[what]):
        load_clips(source)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 1


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_name_is_not_the_sound_bank(empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    metadata_csv(tmp_path)
    for named in ({"data_dir": empty}, {"source": empty}):
        with pytest.raises(ConfigError, match="is empty"):
            load_clips(**named)


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "nowhere.csv", "a/b/c"])
def test_paths_that_are_not_there(source: str) -> None:
    with pytest.raises(NotFoundError, match=f"there is no file or folder {source}"):
        load_clips(source)


def test_files_that_cannot_be_decoded_are_one_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Path(a_folder_for_each_class(tmp_path))
    for path in source.rglob("*.wav"):
        path.rename(path.with_suffix(".m4a")).write_bytes(b"ftypM4A" * 20)
    with pytest.raises(DataError, match="12 of 12 clips cannot be used"):
        load_clips(str(source)).usable(RATE)
    assert "left out" not in caplog.text


def test_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for names in ((), ("note.md",), ("program.py",)):
        for name in names:
            Path(name).write_text("x = 1")
        with pytest.raises(DataError, match=rf"^\. \({tmp_path}\) holds nothing that is read: .*name the folder"):
            load_clips(".")
    with pytest.raises(ConfigError, match=r"the name of a data set is empty; give .* \(\. is here\)"):
        load_clips("")
    Path("program.py").unlink()
    audio = [{"array": sound(row), "sampling_rate": RATE} for row in range(len(LABELS))]
    Path("data").mkdir()
    Dataset.from_dict({"audio": audio, "category": list(LABELS)}).to_parquet("data/all.parquet")
    assert load_clips(".").labels == load_clips(str(tmp_path)).labels == LABELS


def urban_sound(root: Path, name: str = "{}.wav") -> Path:
    names = [name.format(row) for row in range(len(LABELS))]
    folds = [str(1 + row % 3) for row in range(len(LABELS))]
    for row, fold in enumerate(folds):
        (root / f"audio/fold{fold}").mkdir(parents=True, exist_ok=True)
        soundfile.write(root / f"audio/fold{fold}" / f"{row}.wav", sound(row), RATE, subtype="FLOAT")
    table = {"slice_file_name": names, "fsID": [str(row // 2) for row in range(len(LABELS))], "fold": folds}
    write_csv(root / "metadata" / "UrbanSound8K.csv", table | {"class": list(LABELS)})
    return root


def test_the_form_of_urbansound8k(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = str(urban_sound(tmp_path))
    for options in ({"source": root}, {"data_dir": root}, {"data_dir": root, "label_column": "class"}):
        clips = load_clips(**options)
        assert clips.labels == LABELS and clips.folds == (1, 2, 3) * 4 and clips.ids[:2] == ("0", "1")
        np.testing.assert_allclose(clips.waveform("4", RATE, trim=False), sound(4), atol=1e-4)
    assert "clips of one fsID are in several folds" in caplog.text
    (tmp_path / "audio" / "fold2" / "1.wav").unlink()
    with pytest.raises(NotFoundError, match=r"1 of 12 file\(s\) that are not there: 'audio/fold2/1\.wav'"):
        load_clips(root)
    urban_sound(tmp_path, "../{}.wav")
    with pytest.raises(DataError, match=r"UrbanSound8K\.csv, line 2: '\.\./0\.wav' leads out of"):
        load_clips(root)
    table = tmp_path / "metadata" / "UrbanSound8K.csv"
    table.write_bytes("slice_file_name,fold,class\n0.wav,1,grêle\n".encode("cp1252"))
    with pytest.raises(DataError, match=r'UrbanSound8K\.csv, line 2 is not UTF-8 .*; save it as "CSV UTF-8"'):
        load_clips(root)
