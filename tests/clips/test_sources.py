"""Clip tables: the three sources, every kind of bad input and its message."""

import csv
import hashlib
import io
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict

from support.clips import ESC50_CLASSES, tone
from teminal_hf.audio.waveform import rms
from teminal_hf.clips.audio_column import read_audio_value
from teminal_hf.clips.sources import esc50_folder, from_dataset, load_clips, sound_bank, unlabelled_clips
from teminal_hf.clips.table import ClipTable
from teminal_hf.errors import BadClipError

RATE = 16_000


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def table(clips: dict[str, np.ndarray], **columns: Any) -> ClipTable:
    """A table over arrays; labels alternate between "x" and "y"."""
    arrays = list(clips.values())
    n = len(clips)
    parallel = {"labels": ("x", "y") * (n // 2) + ("x",) * (n % 2), "folds": (1,) * n} | columns
    origins = tuple(hashlib.sha256(array.tobytes()).hexdigest() for array in arrays)
    return ClipTable(tuple(clips), **parallel, rows=tuple(range(n)), origins=origins, reader=lambda r, _: arrays[r])


def rewrite(root: Path, change: Any) -> None:
    """Apply `change` to the rows of esc50.csv."""
    path = root / "meta" / "esc50.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# An ESC-50 folder


def test_esc50_folder(esc50: Path) -> None:
    clips = load_clips(data_dir=str(esc50))
    assert len(clips) == 30 and clips.classes == sorted(ESC50_CLASSES)
    assert Counter(zip(clips.labels, clips.folds, strict=True)) == {
        (c, f): 2 for c in ESC50_CLASSES for f in range(1, 6)
    }
    assert clips.ids[0] == "1-100-A-0" and clips.label("1-100-A-0") == "dog"
    stereo = clips.waveform("1-100-A-0", 48_000)
    assert stereo.ndim == 1 and rms(stereo) == pytest.approx(0.75 * 0.3 / 2**0.5, rel=1e-3)
    assert len(clips.waveform("1-100-B-0", 48_000)) == 48_000  # padding trimmed
    assert len(clips.waveform("1-100-B-0", 48_000, trim=False)) == 96_000
    assert len(clips.waveform("1-101-A-1", 48_000)) == 7 * 48_000
    assert len(clips.usable(RATE)) == 30


def test_missing_or_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no ESC-50 folder: meta/esc50.csv is missing \(found nothing: no such"
    ):
        esc50_folder(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"\(found an empty folder\)\. Give the folder that holds audio/ and meta"
    ):
        esc50_folder(tmp_path)
    (tmp_path / "wavs").mkdir()
    with pytest.raises(FileNotFoundError, match=r"\(found wavs\)"):
        esc50_folder(tmp_path)


def test_csv_naming_a_file_that_is_not_there(esc50: Path) -> None:
    for path in sorted((esc50 / "audio").iterdir())[:7]:
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"names 7 file\(s\) that are not in .*audio: 1-100-A-0\.wav, .* \.\.\."
    ):
        esc50_folder(esc50)


def test_csv_with_wrong_columns(esc50: Path) -> None:
    rewrite(esc50, lambda rows: [{"file": r["filename"], "fold": r["fold"], "label": r["category"]} for r in rows])
    with pytest.raises(ValueError, match=r"esc50.csv has no column category, filename; present: file, fold, label"):
        esc50_folder(esc50)


def test_csv_without_rows_and_with_bad_folds(esc50: Path) -> None:
    rewrite(esc50, lambda rows: [r | {"fold": "one"} for r in rows])
    with pytest.raises(ValueError, match=r"esc50.csv, line 2: a fold must be a whole number, found 'one'"):
        esc50_folder(esc50)
    (esc50 / "meta" / "esc50.csv").write_text("filename,fold,target,category\n")
    with pytest.raises(ValueError, match=r"esc50.csv lists no clip"):
        esc50_folder(esc50)


def test_duplicate_ids(esc50: Path) -> None:
    rewrite(esc50, lambda rows: [*rows, rows[3]])
    with pytest.raises(ValueError, match=r"esc50.csv, lines 5 and 32 both name 1-101-B-1.wav; a clip has one line"):
        esc50_folder(esc50)


def test_both_sources_given(esc50: Path) -> None:
    with pytest.raises(ValueError, match=r"give either data_dir \('.*ESC-50'\) or source \('soundbank'\), not both"):
        load_clips("soundbank", str(esc50))


# Bad clips


BAD = {
    "unreadable": (b"RIFF but not really", "cannot be decoded as audio"),
    "empty": (wav(np.zeros(0, np.float32)), "is empty (0 samples)"),
    "silent": (wav(np.zeros(RATE, np.float32)), "is silent"),
    "short": (wav(np.pad(tone(400, 0.02, RATE), (0, RATE))), "holds only 20 ms of sound (50 ms needed)"),
    "not finite": (wav(np.full(RATE, np.nan, np.float32)), "holds NaN or infinite samples"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_clip_is_named_and_left_out(esc50: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    content, why = BAD[kind]
    (esc50 / "audio" / "2-202-A-2.wav").write_bytes(content)
    clips = esc50_folder(esc50)
    with pytest.raises(BadClipError) as error:
        clips.waveform("2-202-A-2", RATE)
    assert str(error.value).startswith(f"clip '2-202-A-2' {why}")
    with caplog.at_level(logging.WARNING):
        good = clips.usable(RATE)
    assert set(clips.ids) - set(good.ids) == {"2-202-A-2"} and len(good) == 29
    said = [record.getMessage() for record in caplog.records]  # then that these tones stand in several folds
    assert said[:2] == [f"left out: {error.value}", "1 of 30 clips left out"]


def test_too_many_bad_clips(esc50: Path) -> None:
    for name in ("2-202-A-2", "3-300-B-0"):
        (esc50 / "audio" / f"{name}.wav").write_bytes(BAD["silent"][0])
    with pytest.raises(
        ValueError,
        match=r"2 of 30 clips cannot be used \(at most 5% are tolerated\); the first: clip '2-202-A-2' is .*Repair",
    ):
        esc50_folder(esc50).usable(RATE)


def test_copies_in_several_folds_and_classes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, name in enumerate(("dog/a", "dog/b", "rain/c", "rain/d")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", tone(300 + 100 * i, 0.5, 16_000), 16_000)
    load_clips(str(tmp_path)).usable(16_000)
    assert "stand in several" not in caplog.text
    shutil.copy(tmp_path / "dog/a.wav", tmp_path / "rain/e.wav")
    shutil.copy(tmp_path / "dog/a.wav", tmp_path / "dog/z.wav")
    load_clips(str(tmp_path)).usable(16_000)
    assert "1 sounds stand in several folds, such as a and " in caplog.text
    assert (
        "1 sounds stand in several classes, such as a and e: a sound is of one class. Remove the copies" in caplog.text
    )


def test_exactly_five_percent_is_tolerated() -> None:
    clips = {f"c{i}": tone(400, 0.1, RATE) for i in range(20)}
    assert len(table(clips | {"c7": np.zeros(100, np.float32)}).usable(RATE)) == 19
    two = clips | {"c7": np.zeros(100, np.float32), "c8": np.zeros(100, np.float32)}
    with pytest.raises(ValueError, match="2 of 20 clips cannot be used"):
        table(two).usable(RATE)


def test_a_class_with_a_single_clip() -> None:
    clips = {f"c{i}": tone(400, 0.1, RATE) for i in range(5)}
    with pytest.raises(ValueError, match="class 'z' has a single clip; give it at least two or remove the class"):
        table(clips, labels=("x", "x", "y", "y", "z")).usable(RATE)


def test_a_single_class_or_none() -> None:
    clips = {f"c{i}": tone(400, 0.1, RATE) for i in range(4)}
    with pytest.raises(ValueError, match=r"pairs need two classes; the source has \['x'\]"):
        table(clips, labels=("x",) * 4).usable(RATE)
    with pytest.raises(ValueError, match=r"pairs need two classes; the source has \[\]"):
        table({}).usable(RATE)


def test_no_clips_in_fold(esc50: Path) -> None:
    clips = esc50_folder(esc50)
    assert set(clips.in_folds([2, 4]).folds) == {2, 4}
    with pytest.raises(ValueError, match=r"no clip in fold\(s\) \[6, 7\]; the source has folds \[1, 2, 3, 4, 5\]"):
        clips.in_folds([7, 6])


# A `datasets` data set

SOUNDS = [tone(200 * (i + 1), 0.2, RATE) for i in range(12)]
LABELS = ["dog", "cat", "cow"] * 4


def dataset_of(audio: list[dict[str, Any]], **columns: Any) -> Dataset:
    return Dataset.from_dict({"audio": audio, "category": LABELS, "fold": [1, 2] * 6} | columns)


BYTES = [{"bytes": wav(sound), "path": None} for sound in SOUNDS]
ARRAYS = [{"array": sound.tolist(), "sampling_rate": RATE} for sound in SOUNDS]


@pytest.mark.parametrize(
    "data",
    [
        dataset_of(BYTES),
        dataset_of(ARRAYS),
        dataset_of(BYTES).cast_column("audio", Audio(decode=False)),
        dataset_of(BYTES).cast_column("audio", Audio()),
        dataset_of(BYTES).cast_column("category", ClassLabel(names=["cow", "dog", "cat"])),
        DatasetDict(train=dataset_of(BYTES).select(range(5)), test=dataset_of(BYTES).select(range(5, 12))),
    ],
    ids=["bytes", "arrays", "undecoded Audio", "Audio", "ClassLabel", "splits"],
)
def test_data_sets_of_every_kind(data: Dataset | DatasetDict) -> None:
    clips = from_dataset(data)
    assert clips.labels == tuple(LABELS) and clips.folds == (1, 2) * 6
    for clip_id, sound in zip(clips.ids, SOUNDS, strict=True):
        np.testing.assert_allclose(clips.waveform(clip_id, RATE, trim=False), sound, atol=1e-4)
    assert len(clips.usable(48_000)) == 12
    assert len(clips.waveform(clips.ids[0], 48_000, trim=False)) == 3 * len(SOUNDS[0])


def test_paths_stereo_arrays_and_other_column_names(tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(wav(SOUNDS[0]))
    data = Dataset.from_dict({"sound": [{"bytes": None, "path": str(tmp_path / "one.wav")}], "what": ["three"]})
    clips = from_dataset(data, audio_column="sound", label_column="what")
    np.testing.assert_allclose(clips.waveform("000000", RATE, trim=False), SOUNDS[0], atol=1e-4)
    assert clips.labels == ("three",)
    stereo = {"array": np.stack([SOUNDS[0], SOUNDS[1]]), "sampling_rate": RATE}  # (channels, samples), as `datasets`
    np.testing.assert_allclose(read_audio_value(stereo, RATE), (SOUNDS[0] + SOUNDS[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"fold_column": None}])
def test_without_folds_each_class_is_dealt(options: dict[str, None]) -> None:
    data = dataset_of(BYTES)
    clips = from_dataset(data if options else data.remove_columns("fold"), **options)
    for label in set(LABELS):
        folds = [f for f, name in zip(clips.folds, clips.labels, strict=True) if name == label]
        assert folds == [1, 2, 3, 4]


def test_data_set_errors() -> None:
    with pytest.raises(ValueError, match="the data set has no column category; present: audio, label, fold"):
        from_dataset(dataset_of(BYTES).rename_column("category", "label"))
    with pytest.raises(ValueError, match=r"column 'fold', row 0: a fold must be a whole number, found 'train'"):
        from_dataset(dataset_of(BYTES, fold=["train"] * 12))
    with pytest.raises(
        FileNotFoundError, match=r"names 12 of 12 file\(s\) that are not there: 'a file', 'a file', .* \.\.\."
    ):
        from_dataset(dataset_of(["a file"] * 12))
    nothing = from_dataset(dataset_of([{"bytes": None, "path": None}] * 12))
    with pytest.raises(BadClipError, match=r"has no audio: the cell holds \['bytes', 'path'\], all empty"):
        nothing.waveform("000003", RATE)


def test_a_local_data_set_by_name(tmp_path: Path) -> None:
    dataset_of(BYTES).to_parquet(tmp_path / "train.parquet")
    clips = load_clips(str(tmp_path))
    assert clips.labels == tuple(LABELS)
    np.testing.assert_allclose(clips.waveform("000011", RATE, trim=False), SOUNDS[11], atol=1e-4)


def test_sound_bank() -> None:
    clips = load_clips(clips_per_class=2)
    assert clips.ids == sound_bank(2).ids and set(clips.folds) == {1, 2, 3, 4} and len(clips.classes) == 24
    assert set(Counter(zip(clips.labels, clips.folds, strict=True)).values()) == {2}
    assert {clip_id.split("/")[2] for clip_id in clips.ids if clips.label(clip_id) == "rain"} == {"rain"}
    assert len(clips.in_folds([4]).usable(RATE)) == 48


# Fingerprint


def test_fingerprint_follows_ids_labels_and_folds(esc50: Path) -> None:
    before = esc50_folder(esc50).fingerprint
    assert esc50_folder(esc50).fingerprint == before
    for change in ({"category": "wolf"}, {"fold": "4"}):
        rewrite(esc50, lambda rows, change=change: [rows[0] | change, *rows[1:]])
        changed = esc50_folder(esc50).fingerprint
        assert changed != before
        before = changed
    assert esc50_folder(esc50).select(range(29)).fingerprint != before


def test_recordings_without_labels_are_read_from_tables_folders_and_the_sound_bank(tmp_path: Path) -> None:
    rate, rng = 16_000, np.random.default_rng(0)
    sounds = [0.3 * rng.standard_normal(rate).astype(np.float32) for _ in range(3)]
    for i, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{i}.wav", sound, rate, subtype="FLOAT")
    for table in (None, "file_name\n0.wav\n1.wav\n2.wav\n"):
        if table:
            (tmp_path / "metadata.csv").write_text(table, encoding="utf-8")
        clips = unlabelled_clips(str(tmp_path), rate)
        assert len(clips) == 3
        for clip, sound in zip(clips.ids, sounds, strict=True):
            np.testing.assert_allclose(clips.waveform(clip, rate, trim=False), sound, atol=1e-4)
    assert len(unlabelled_clips("soundbank", rate)) > 100
