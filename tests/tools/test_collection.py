"""Folders of recordings: what is found is what asking one by one finds, and nothing is computed twice."""

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import soundfile
from pyarrow import parquet

from support.clips import tone
from support.tiny import RATE, tiny_encoder
from teminal_hf import FunctionEncoder, rank
from teminal_hf.commands.cli import main
from teminal_hf.errors import ConfigError, DataError, NotFoundError, TakenError
from teminal_hf.tools import collection
from teminal_hf.tools.collection import embedded

CAPTIONS = ["dog before rain", "rain before dog", "wind"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(collection, "AT_ONCE", 3)  # batches that hold parts of several files
    monkeypatch.setattr(collection, "WRITTEN_AFTER", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of 0.4 to 3.7 s, at two rates, one of them in a folder of its own, and what is none."""
    for i, (name, seconds) in enumerate({"a.wav": 0.4, "b.flac": 3.7, "sub/c.wav": 1.0, "d.ogg": 2.2}.items()):
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(300 * (i + 1), seconds, 16_000), 16_000)
    (tmp_path / "sounds" / "notes.txt").write_text("no sound")
    return tmp_path / "sounds"


class Counting:
    """An encoder that counts what it hears."""

    def __init__(self, seed: int = 0) -> None:
        encoder = tiny_encoder(seed=seed)
        self.model, self.sampling_rate, self.max_seconds = encoder.model, RATE, 1.0
        self.logit_scale, self.embed_text, self._encoder, self.heard = 1.0, encoder.embed_text, encoder, 0

    def embed_audio(self, waveforms: Any) -> np.ndarray:
        self.heard += len(waveforms)
        assert len(waveforms) <= 3
        return self._encoder.embed_audio(waveforms)


def test_each_file_is_ranked_as_it_is_alone(folder: Path) -> None:
    encoder = Counting()
    found = embedded(encoder, folder).rank(encoder, CAPTIONS)
    assert [path.relative_to(folder).as_posix() for path in found] == ["a.wav", "b.flac", "d.ogg", "sub/c.wav"]
    for path, ranking in found.items():
        alone = rank(tiny_encoder(), path, CAPTIONS)
        assert ranking.windows == alone.windows and dict(ranking.captions) == pytest.approx(
            dict(alone.captions), abs=1e-5
        )


def test_search_finds_the_best_window_of_each_file(folder: Path) -> None:
    encoder = Counting()
    kept = embedded(encoder, folder)
    text = tiny_encoder().embed_text(["wind"])[0]
    best: dict[str, float] = {}
    for file, embed in zip(kept.files, kept.embeds, strict=True):
        best[file] = max(best.get(file, -1), float(embed @ text / np.linalg.norm(text)))
    found = kept.search(encoder, "wind")
    assert [each.file.relative_to(folder).as_posix() for each in found] == sorted(best, key=lambda file: -best[file])
    assert [each.similarity for each in found] == pytest.approx(sorted(best.values(), reverse=True), abs=1e-6)
    assert len(kept.search(encoder, "wind", top=2)) == 2
    long = next(each for each in found if each.file.name == "b.flac")
    assert 0 <= long.start < long.end <= 3.7 and long.end - long.start == pytest.approx(1)


def test_only_what_has_changed_is_heard_again(folder: Path) -> None:
    encoder = Counting()
    first = embedded(encoder, folder)
    assert encoder.heard == len(first.files) == 1 + 4 + 3 + 1
    again = Counting()
    assert np.array_equal(embedded(again, folder).embeds, first.embeds) and again.heard == 0
    soundfile.write(folder / "a.wav", tone(555, 0.5, 16_000), 16_000)
    os.utime(folder / "a.wav", ns=(1, 1))
    (folder / "d.ogg").unlink()
    shutil.copy(folder / "a.wav", folder / "e.wav")
    changed = embedded(again, folder)
    assert again.heard == 2 and sorted(set(changed.files)) == ["a.wav", "b.flac", "e.wav", "sub/c.wav"]
    other = Counting(seed=1)  # another model keeps its own
    embedded(other, folder)
    assert other.heard == len(changed.files)
    embedded(again, folder)
    assert again.heard == 2


def test_what_was_embedded_before_an_interruption_is_kept(folder: Path) -> None:
    class Interrupted(Counting):
        def embed_audio(self, waveforms: Any) -> np.ndarray:
            if self.heard > 4:
                raise KeyboardInterrupt
            return super().embed_audio(waveforms)

    encoder = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        embedded(encoder, folder)
    rest = Counting()
    found = embedded(rest, folder)
    assert rest.heard == 3 + 1 and len(found.files) == 9  # of d.ogg and c.wav alone


def test_what_the_cache_keeps_is_made_anew_where_it_is_damaged(folder: Path, tmp_path: Path, caplog: Any) -> None:
    truth = embedded(Counting(), folder)
    (index,) = (tmp_path / "cache").rglob("embeddings.parquet")
    index.write_bytes(b"no parquet")
    assert np.array_equal(embedded(Counting(), folder).embeds, truth.embeds)
    assert "is no index of this command, or damaged" in caplog.text and "it is made anew" in caplog.text


def test_an_index_is_not_written_over_what_is_something_else(folder: Path, tmp_path: Path) -> None:
    index, heard = tmp_path / "mine.parquet", Counting()
    embedded(Counting(), folder, index)
    embedded(heard, folder, index)
    assert heard.heard == 0
    other = shutil.copytree(folder, tmp_path / "other")
    parquet.write_table(pyarrow.table({"mine": [1]}), tmp_path / "table.parquet")
    for encoder, where, file, message in (
        (Counting(seed=1), folder, index, r"mine.parquet is of another model \(\w+.*\); name another file"),
        (Counting(), other, index, r"mine.parquet is of another folder \(.*sounds\); name another file"),
        (Counting(), folder, folder / "a.wav", "a.wav is no index of this command, or damaged"),
        (Counting(), folder, tmp_path / "table.parquet", "table.parquet is no index of this command, or damaged"),
        (Counting(), folder, other, "other is a folder; name a file in it"),
    ):
        before = file.read_bytes() if file.is_file() else b""
        with pytest.raises(TakenError, match=message):
            embedded(encoder, where, file)
        assert encoder.heard == 0 and (file.read_bytes() if file.is_file() else b"") == before


def test_what_is_no_sound_file_is_left_out_by_name(folder: Path) -> None:
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "named.wav").mkdir()
    (folder / "later.aiff").write_bytes(b"no audio")
    (folder / "._a.wav").write_bytes(b"of macOS")
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "a.wav", folder / ".hidden")
    shutil.copy(folder / "a.wav", os.fsencode(folder) + b"/caf\xe9.wav")
    found = embedded(Counting(), folder)
    assert len({*found.files}) == 4
    why = {os.fsencode(name).decode("latin-1"): reason for name, reason in found.left_out.items()}
    assert sorted(why) == ["caf\xe9.wav", "gone.wav", "later.aiff", "named.wav"]
    assert "a link to none" in why["gone.wav"] and "not UTF-8" in why["caf\xe9.wav"]


def test_what_cannot_be_heard_is_left_out_and_said(folder: Path, tmp_path: Path, caplog: Any) -> None:
    (folder / "broken.wav").write_bytes(b"no audio")
    soundfile.write(folder / "silent.wav", np.zeros(8000), 8000)
    found = embedded(Counting(), folder)
    assert sorted(found.left_out) == ["broken.wav", "silent.wav"]
    assert f"left out: {folder / 'broken.wav'} cannot be decoded" in caplog.text and "silent.wav" in caplog.text
    (tmp_path / "bad").mkdir()
    shutil.copy(folder / "broken.wav", tmp_path / "bad")
    with pytest.raises(DataError, match=r"none of the 1 files can be heard; .*broken.wav"):
        embedded(Counting(), tmp_path / "bad")


def test_folders_and_models_that_cannot_be_searched_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no folder"):
        embedded(Counting(), tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="empty holds no wav, flac, ogg or mp3 file"):
        embedded(Counting(), tmp_path / "empty")
    nameless = FunctionEncoder(lambda sounds: np.ones((len(sounds), 2)), lambda words: np.ones((len(words), 2)), RATE)
    with pytest.raises(ConfigError, match="FunctionEncoder has no torch module as `model`"):
        embedded(nameless, folder)


def test_the_commands_print_and_write_what_they_find(folder: Path, tmp_path: Path, capsys: Any) -> None:
    main(["search", str(folder), "rain", "--top", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(str(folder) in line for line in lines)
    table = tmp_path / "out.csv"
    main(["rank", str(folder), *CAPTIONS, "--csv", str(table), "--threshold", "2"])
    assert capsys.readouterr().out.count("none of these") == 4
    with table.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["file", *CAPTIONS] and [Path(row[0]).name for row in rows] == ["a.wav", "b.flac", "d.ogg", "c.wav"]
    main(["rank", str(folder / "a.wav"), *CAPTIONS])
    alone = dict(line.split("  ")[::-1] for line in capsys.readouterr().out.splitlines())
    assert {name: f"{float(value):+.3f}" for name, value in zip(CAPTIONS, rows[0][1:], strict=True)} == alone
