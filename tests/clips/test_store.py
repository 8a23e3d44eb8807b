"""Decoded clips on disk: the same samples as decoding gives, read again from disk and never after they changed."""

import errno
import json
import logging
import os
import pickle
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset
from torch.utils.data import DataLoader

from support.clips import table, tone
from support.damage import DAMAGES
from teminal_hf.audio.waveform import decode, trim_silence
from teminal_hf.clips import audio_column as audio_cells
from teminal_hf.clips import esc50 as esc50_clips
from teminal_hf.clips import sources
from teminal_hf.clips import store as clip_store
from teminal_hf.clips.sources import esc50_folder, from_dataset, sound_bank
from teminal_hf.clips.table import ClipTable
from teminal_hf.storage.cache import cache_root

RATE = 16_000
PADDED = "1-100-B-0"  # 48 kHz, 0.3 s of silence, 1 s of sound, 0.7 s of silence


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, in order."""
    names: list[str] = []

    def noted(path: str, rate: int) -> np.ndarray:
        names.append(Path(path).stem)
        return decode(path, rate)

    for module in (esc50_clips, audio_cells):
        monkeypatch.setattr(module, "decode", noted)
    return names


def truth(wave: np.ndarray) -> np.ndarray:
    """Sixteen bits of the clip's own peak, in double precision but for the last step."""
    peak = float(np.abs(wave).max())
    return np.rint(wave * np.float32(32767 / peak)).astype(np.float32) * np.float32(peak / 32767)


def folders() -> list[Path]:
    return sorted((cache_root() / "clips").iterdir())


# What is read


@pytest.mark.parametrize("rate", [8_000, RATE, 48_000])
def test_clips_are_those_decoded_to_sixteen_bits(esc50: Path, rate: int) -> None:
    clips = esc50_folder(esc50).usable(rate)
    for clip_id in clips.ids:
        wave = decode(esc50 / "audio" / f"{clip_id}.wav", rate)
        for trim, whole in ((False, wave), (True, trim_silence(wave, rate))):
            found = clips.waveform(clip_id, rate, trim=trim)
            assert found.dtype == np.float32 and found.shape == whole.shape
            np.testing.assert_array_equal(found, truth(whole))
            assert np.abs(found - whole).max() <= 0.51 * np.abs(wave).max() / 32767
    assert rate <= len(clips.waveform(PADDED, rate)) <= 1.02 * rate  # trimming is in frames of 10 ms
    assert len(clips.waveform(PADDED, rate, trim=False)) == 2 * rate


def test_a_quiet_clip_keeps_its_precision() -> None:
    quiet = {"q": tone(400, 0.1, RATE, 1e-3), "loud": tone(300, 0.1, RATE)}
    clips = table(quiet | {f"{name}2": wave for name, wave in quiet.items()}, "xyxy").usable(RATE)
    assert np.abs(clips.waveform("q", RATE) - quiet["q"]).max() < 1e-7


def test_two_rates_side_by_side(esc50: Path, decoded: list[str]) -> None:
    low, high = (esc50_folder(esc50).usable(rate) for rate in (RATE, 48_000))
    assert [len(clips.waveform(PADDED, rate)) for clips, rate in ((low, RATE), (high, 48_000))] == [RATE, 48_000]
    assert len(decoded) == 60 and len(folders()) == 10
    # A rate that a table is not stored at is decoded, as from a table that is not stored at all.
    np.testing.assert_array_equal(low.waveform(PADDED, 8_000), esc50_folder(esc50).waveform(PADDED, 8_000))
    assert len(decoded) == 62


def test_selections_read_from_the_same_store(esc50: Path, decoded: list[str]) -> None:
    clips = esc50_folder(esc50).usable(RATE)
    few = clips.in_folds([3, 1]).select([0, 5, 4, 1])
    assert few.usable(RATE).ids == few.ids
    for clip_id in few.ids:
        np.testing.assert_array_equal(few.waveform(clip_id, RATE), clips.waveform(clip_id, RATE))
    assert len(decoded) == 30


def test_processes_share_the_file_and_pickles_are_small(esc50: Path) -> None:
    clips = esc50_folder(esc50).usable(RATE)
    pickled = pickle.dumps(clips)
    assert len(pickled) < 10_000 and pickle.dumps(pickle.loads(pickled)) == pickled
    (there,) = DataLoader(["1-101-A-1"], batch_size=None, num_workers=1, collate_fn=partial(_waveform, pickled))
    np.testing.assert_array_equal(there, clips.waveform("1-101-A-1", RATE))
    assert not clips.addresses[0][0]._samples.flags.owndata and not clips.addresses[0][0]._samples.flags.writeable


def _waveform(pickled: bytes, clip_id: str) -> np.ndarray:
    return pickle.loads(pickled).waveform(clip_id, RATE)


# When it is decoded


def test_a_second_run_decodes_nothing(esc50: Path, decoded: list[str]) -> None:
    first = esc50_folder(esc50).usable(RATE)
    assert len(decoded) == 30
    again = esc50_folder(esc50).usable(RATE)
    np.testing.assert_array_equal(again.waveform(PADDED, RATE), first.waveform(PADDED, RATE))
    assert esc50_folder(esc50).in_folds([2, 5]).usable(RATE).ids == first.in_folds([2, 5]).ids
    assert len(decoded) == 30 and len(folders()) == 5


def test_a_changed_file_is_decoded_anew_with_its_fold(esc50: Path, decoded: list[str]) -> None:
    before = esc50_folder(esc50).usable(RATE)
    path = esc50 / "audio" / "2-200-A-0.wav"
    state = path.stat()
    soundfile.write(path, tone(333, 1.0, 44_100), 44_100, subtype="PCM_16")  # as long as before
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert path.stat().st_size == state.st_size
    after = esc50_folder(esc50).usable(RATE)
    np.testing.assert_array_equal(after.waveform(path.stem, RATE, trim=False), truth(decode(path, RATE)))
    assert sorted(decoded[30:]) == [clip_id for clip_id in after.ids if clip_id[0] == "2"]
    changed = [clip_id for clip_id in after.ids if after.content(clip_id) != before.content(clip_id)]
    assert changed == [path.stem]
    soundfile.write(path, tone(333, 0.5, 44_100), 44_100, subtype="PCM_16")  # of another size, its old time restored
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert len(esc50_folder(esc50).usable(RATE).waveform(path.stem, RATE, trim=False)) == RATE // 2


def test_content_follows_the_sound_and_not_its_place(esc50: Path, tmp_path: Path, decoded: list[str]) -> None:
    for name in ("1-102-B-2", "2-202-A-2"):
        shutil.copy(esc50 / "audio" / "1-102-A-2.wav", esc50 / "audio" / f"{name}.wav")
    here = esc50_folder(esc50).usable(RATE)
    shutil.copytree(esc50, tmp_path / "copy")
    there = esc50_folder(tmp_path / "copy").usable(RATE)
    assert len(decoded) == 60  # another place is read anew
    contents = [here.content(clip_id) for clip_id in here.ids]
    assert contents == [there.content(clip_id) for clip_id in there.ids]
    assert contents[4] == contents[5] == contents[10] != contents[3]  # one tone, in three files; another
    other = esc50_folder(esc50).usable(48_000)
    assert not {*contents} & {other.content(clip_id) for clip_id in other.ids}
    with pytest.raises(ValueError, match=r"known once it is decoded: ask the table that usable\(\) returns"):
        esc50_folder(esc50).content(PADDED)


def test_the_level_is_part_of_the_content() -> None:
    clips = {f"c{i}": tone(400, 0.1, RATE, level) for i, level in enumerate((0.1, 0.2, 0.1, 0.2))}
    stored = table(clips, "xyxy").usable(RATE)
    contents = [stored.content(clip_id) for clip_id in stored.ids]
    assert contents[0] == contents[2] != contents[1] == contents[3]


def test_a_data_set_is_told_by_its_fingerprint_and_by_the_files_it_names(esc50: Path, decoded: list[str]) -> None:
    paths = sorted((esc50 / "audio").iterdir())
    names = [path.name.split("-")[3] for path in paths]

    def clips(labels: list[str], **kind: bool) -> ClipTable:
        cells = [{"bytes": None, "path": str(path)} for path in paths]
        data = Dataset.from_dict({"audio": cells, "category": labels})
        return from_dataset(data.cast_column("audio", Audio(**kind)), fold_column=None)

    for kind in ({"decode": False}, {}):
        assert len(clips(names, **kind).usable(RATE)) == 30
        n = len(decoded)
        again = clips(names, **kind).usable(RATE)
        assert len(decoded) == n
    paths[7].touch()
    assert clips(names).usable(RATE).content("000007") == again.content("000007") and len(decoded) > n
    n = len(decoded)
    clips(names[::-1]).usable(RATE)
    assert len(decoded) == n + 30


def test_the_sound_bank_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sound_bank(2).in_folds([4]).usable(RATE)
    monkeypatch.setattr(sources.soundbank, "synthesise", lambda clip_id: pytest.fail("made again"))
    np.testing.assert_array_equal(
        sound_bank(2).in_folds([4]).usable(RATE).waveform(first.ids[7], RATE), first.waveform(first.ids[7], RATE)
    )


# Bad clips


def test_bad_clips_are_remembered_and_named_again(
    esc50: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = esc50 / "audio" / "2-202-A-2.wav"
    good = path.read_bytes()
    path.write_bytes(b"RIFF but not really")
    said = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            clips = esc50_folder(esc50).usable(RATE)
        assert len(clips) == 29 and path.stem not in clips.ids
        said.append([record.getMessage() for record in caplog.records])
    assert said[0] == said[1] and len(said[0]) == 2 and len(decoded) == 30
    assert said[0][0].startswith("left out: clip '2-202-A-2' cannot be decoded as audio (")
    path.write_bytes(good)
    assert len(esc50_folder(esc50).usable(RATE)) == 30


def test_a_fold_without_a_good_clip_is_remembered_too(esc50: Path, decoded: list[str]) -> None:
    for path in (esc50 / "audio").glob("2-*"):
        path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(ValueError, match="6 of 30 clips cannot be used"):
            esc50_folder(esc50).usable(RATE)
    assert len(decoded) == 30


def test_a_file_that_the_system_refuses_is_no_bad_clip(esc50: Path) -> None:
    clips = esc50_folder(esc50)
    path = esc50 / "audio" / "2-202-A-2.wav"
    path.rename(path.with_suffix(".away"))
    with pytest.raises(FileNotFoundError, match=r"2-202-A-2\.wav"):
        clips.usable(RATE)
    path.with_suffix(".away").rename(path)
    assert len(clips.usable(RATE)) == 30


# Whoever dies while writing


def test_a_writer_that_stops_leaves_nothing_that_is_read(esc50: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def cut(path: str, rate: int) -> np.ndarray:
        reads.append(path)
        if len(reads) == 16:
            raise KeyboardInterrupt
        return decode(path, rate)

    monkeypatch.setattr(esc50_clips, "decode", cut)
    with pytest.raises(KeyboardInterrupt):
        esc50_folder(esc50).usable(RATE)
    whole = [folder for folder in folders() if (folder / clip_store.INDEX).exists()]
    assert len(folders()) == 3 and len(whole) == 2
    assert not list(cache_root().rglob("*.draft"))
    before = len(reads)
    assert len(esc50_folder(esc50).usable(RATE)) == 30
    assert len(reads) - before == 18  # the folds that were written stay


@pytest.mark.parametrize("lost", ["index", "samples", "half of the samples", "half of the index"])
def test_half_an_entry_is_written_anew(esc50: Path, lost: str, decoded: list[str]) -> None:
    first = esc50_folder(esc50).usable(RATE)
    sound = first.waveform(PADDED, RATE)
    folder = next(folder for folder in folders() if f"{PADDED[:5]}-A" in (folder / "about.json").read_text())
    path = folder / (clip_store.INDEX if "index" in lost else clip_store.SAMPLES)
    content = path.read_bytes()
    path.unlink()
    if "half" in lost:
        path.write_bytes(content[: len(content) // 2])
    path.with_name(f"{path.name}.99999.draft").write_bytes(b"left by one who was killed")
    again = esc50_folder(esc50).usable(RATE)
    np.testing.assert_array_equal(again.waveform(PADDED, RATE), sound)
    assert len(decoded) == 36 and path.read_bytes() == content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, the device that has no room")
def test_a_full_disk_is_told_with_the_ways_out(esc50: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = esc50_folder(esc50)
    clips.in_folds([2]).usable(RATE)
    (folder,) = folders()
    (folder / clip_store.INDEX).unlink()
    message = r"the disk of .*/clips/.* is full \(\d+ MiB free; [12] of 6 decoded clips are written, all need about "
    with monkeypatch.context() as patch, pytest.raises(OSError, match=message) as error:
        patch.setattr(clip_store, "written_whole", lambda path: nullcontext(Path("/dev/full")))
        clips.usable(RATE)
    assert "`teminal cache clear` removes what earlier runs left, TEMINAL_CACHE=FOLDER" in str(error.value)
    assert len(clips.usable(RATE)) == 30


def test_other_errors_of_the_system_are_left_as_they_are(esc50: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, rate: int) -> np.ndarray:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(esc50_clips, "decode", refused)
    with pytest.raises(OSError, match=r"\[Errno 5\] Input/output error: '.*1-100-A-0.wav'"):
        esc50_folder(esc50).usable(RATE)


# What is damaged


@pytest.mark.parametrize("name", ["samples.int16", "index.json"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_store_is_decoded_anew(
    esc50: Path, decoded: list[str], damage: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = esc50_folder(esc50).usable(RATE)
    truths = {clip_id: before.waveform(clip_id, RATE).copy() for clip_id in before.ids}
    contents = [before.content(clip_id) for clip_id in before.ids]
    path = folders()[2] / name
    damage(path)
    lost = name == "index.json" and not path.exists()
    after = esc50_folder(esc50).usable(RATE)
    assert len(decoded) == 36  # the fold alone
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (0 if lost else 1) and all("they are decoded anew" in message for message in messages)
    for clip_id, truth_of_clip in truths.items():
        np.testing.assert_array_equal(after.waveform(clip_id, RATE), truth_of_clip)
    assert [after.content(clip_id) for clip_id in after.ids] == contents
    esc50_folder(esc50).usable(RATE)
    assert len(decoded) == 36


def test_a_changed_number_in_the_index_is_noticed(esc50: Path, decoded: list[str]) -> None:
    esc50_folder(esc50).usable(RATE)
    path = folders()[0] / "index.json"
    index = json.loads(path.read_text())
    for field, value in (("step", 0.5), ("start", 3), ("offset", 2), ("length", 7)):
        n = len(decoded)
        changed = json.loads(json.dumps(index))
        changed["clips"][1][field] = value
        path.write_text(json.dumps(changed))
        esc50_folder(esc50).usable(RATE)
        assert len(decoded) == n + 6, field
