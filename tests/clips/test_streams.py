"""Streams of shards: every row once, however many read them, in an order that the seed fixes, from any place on."""

import itertools
import tarfile
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from support.clips import tone
from support.shards import RATE, sound, write_parquet, write_tars
from teminal_hf.clips.streams import RowStream, open_stream
from teminal_hf.errors import BadClipError, DataError, NotFoundError

SIZES = {"equal": [3] * 8, "uneven": [1, 7, 2, 5, 3], "one": [9], "many": [1] * 40}


def numbers(
    stream: RowStream, reader: int = 0, readers: int = 1, *, passing: int = 0, buffer: int = 4, skip: int = 0
) -> list[int]:
    rows = stream.share(reader, readers, seed=5, passing=passing, buffer=buffer, skip=skip)
    return [int(row["text"]) for row in rows]


@pytest.mark.parametrize("buffer", [0, 4])
@pytest.mark.parametrize("readers", [1, 2, 4, 8])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_each_row_is_read_once_by_all_readers_together(
    tmp_path: Path, sizes: list[int], readers: int, buffer: int
) -> None:
    stream = open_stream(str(write_parquet(tmp_path / "shards", sizes)), "audio", ["text"])
    assert stream.n_shards == len(sizes) and stream.n_rows == sum(sizes)
    for passing in (0, 1):
        shares = [numbers(stream, i, readers, passing=passing, buffer=buffer) for i in range(readers)]
        assert sorted(itertools.chain(*shares)) == list(range(sum(sizes)))
        if len(sizes) % readers == 0 or len(sizes) >= 16 * readers:
            continue
        assert max(map(len, shares)) - min(map(len, shares)) <= 1  # of rows dealt out one by one


def test_shards_are_read_by_one_reader_alone_where_there_are_enough(tmp_path: Path) -> None:
    stream = open_stream(str(write_parquet(tmp_path / "shards", [2] * 8)), "audio", ["text"])
    shard_of = [{number // 2 for number in numbers(stream, reader, 4)} for reader in range(4)]
    assert [len(shards) for shards in shard_of] == [2] * 4 and len(set.union(*shard_of)) == 8
    assert stream.deals_shards(4) and not stream.deals_shards(3) and not stream.deals_shards(16)


def test_seed_and_pass_fix_the_order_and_any_place_goes_on(tmp_path: Path) -> None:
    stream = open_stream(str(write_parquet(tmp_path / "shards", [10] * 4)), "audio", ["text"])
    first, second = (numbers(stream, passing=passing) for passing in (0, 1))
    assert first == numbers(stream) and first != second and first != sorted(first)
    assert numbers(stream, passing=1, skip=13) == second[13:]
    assert numbers(stream, buffer=0) == sorted(first)
    of_three = [[numbers(stream, reader, 3, passing=passing) for passing in (0, 1)] for reader in range(3)]
    assert all(before != after for before, after in of_three)
    other = stream.share(0, 1, seed=6, passing=0, buffer=4)
    assert [int(row["text"]) for row in other] != first


def test_recordings_are_what_was_written(tmp_path: Path) -> None:
    stream = open_stream(str(write_parquet(tmp_path / "shards", [2], bad=[1])), "audio", ["text"])
    good, bad = stream.share(0, 1, seed=0, passing=0, buffer=0)
    np.testing.assert_allclose(stream.waveform(good, RATE), tone(300, 0.4, RATE), atol=1 / 32767)
    assert stream.name(bad) == "row 1"
    with pytest.raises(BadClipError):
        stream.waveform(bad, RATE)


def test_tars_are_read_as_parquet_is(tmp_path: Path) -> None:
    folder = write_tars(tmp_path / "tars", [3, 3])
    stream = open_stream(str(folder), "wav", ["json.text"])
    assert stream.n_shards == 2 and stream.n_rows is None
    rows = [row for reader in range(2) for row in stream.share(reader, 2, seed=0, passing=0, buffer=2)]
    assert sorted(row["json"]["text"][0] for row in rows) == [str(n) for n in range(6)]
    first = next(row for row in rows if stream.name(row) == "0000")
    np.testing.assert_allclose(stream.waveform(first, RATE), tone(300, 0.4, RATE), atol=1 / 32767)
    alone = open_stream(str(folder / "train-00001.tar"), "wav", ["json.text"])
    assert [row["__key__"] for row in alone.share(0, 1, seed=0, passing=0, buffer=0)] == ["0003", "0004", "0005"]


def test_paths_start_from_the_folder_of_the_shards(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(sound(0))
    Dataset.from_dict({"audio": ["a.wav", "b.wav"], "text": ["0", "1"]}).to_parquet(folder / "train.parquet")
    stream = open_stream(str(tmp_path / "set"), "audio", ["text"])
    there, missing = stream.share(0, 1, seed=0, passing=0, buffer=0)
    np.testing.assert_allclose(stream.waveform(there, RATE), tone(300, 0.4, RATE), atol=1 / 32767)
    assert stream.name(missing) == "b.wav"
    with pytest.raises(BadClipError, match="there is no such file"):
        stream.waveform(missing, RATE)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    """A shard that is broken in its middle opens, and ends the reading with its name."""
    folder = write_parquet(tmp_path / "shards", [3, 3])
    shard = folder / "train-00001-of-00002.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:8] + bytes(len(content) // 2) + content[8 + len(content) // 2 :])
    stream = open_stream(str(folder), "audio", ["text"])
    rows = stream.share(0, 1, seed=0, passing=0, buffer=0)
    assert [int(next(rows)["text"]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"shards cannot be read on after 'row 2' \(OSError: "):
        list(rows)


def test_what_cannot_be_streamed_is_said(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "shards", [2])
    sheet = tmp_path / "pairs.csv"
    sheet.write_text("audio,text\na.wav,a dog\n")
    (tmp_path / "empty").mkdir()
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    (sheets / "pairs.csv").write_text("audio,text\na.wav,a dog\n")
    both = write_tars(write_parquet(tmp_path / "both", [2]), [2, 2])
    cut = write_parquet(tmp_path / "cut", [2, 2])
    shard = cut / "train-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-4])
    cut_tar = write_tars(tmp_path / "cut_tar", [2, 2])
    shard = cut_tar / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[: tarfile.BLOCKSIZE * 2])
    tars = write_tars(tmp_path / "tars", [2])
    no_rows = tmp_path / "no_rows"
    no_rows.mkdir()
    Dataset.from_dict({"audio": ["a.wav"], "text": ["0"]}).select([]).to_parquet(no_rows / "train.parquet")
    for source, column, text, error, message in (
        (folder, "wav", "text", DataError, "no column wav; present: id, audio, text. Name yours by --audio_column"),
        (folder, "audio", "caption", DataError, "no column caption; present: .* Name yours by --text_column"),
        (folder, "text", "id", None, ""),
        (folder, "audio", "id", None, ""),
        (sheet, "audio", "text", DataError, r"pairs.csv cannot be streamed: of files, those in .parquet and .tar can"),
        (tmp_path / "empty", "audio", "text", DataError, "empty holds no parquet and no tar files"),
        (tmp_path / "none", "audio", "text", NotFoundError, "there is no folder"),
        (sheets, "audio", "text", DataError, "sheets is neither parquet nor webdataset, which say of which columns"),
        (both, "audio", "text", DataError, r"both holds \.parquet and \.tar files; stream a folder of one kind"),
        (cut, "audio", "text", DataError, r"cut/train-00001-of-00002\.parquet cannot be read as parquet \("),
        (cut_tar, "wav", "json", DataError, r"cut_tar/train-00001\.tar was cut: it does not end as a tar file does"),
        (tars, "wav", "json.txt", DataError, "no field 'txt' in 'json'; its fields: text. Name yours by --text_column"),
        (folder, "audio", "text.en", DataError, "no field 'en' in 'text'; it has no fields. Name yours by"),
        (tars, "wav", "json.text", None, ""),
        (no_rows, "audio", "text", DataError, "no_rows has no rows"),
    ):
        if error is None:
            open_stream(str(source), column, [text])
            continue
        with pytest.raises(error, match=message):
            open_stream(str(source), column, [text])


def test_what_tars_say_is_taken_as_it_was_written(tmp_path: Path) -> None:
    """`datasets` guesses types of five rows; cast to them a text becomes its letters, and a list or a number a text."""
    several = [["a dog", "a bark"]] * 5 + ["rain", ["wind"], 7]
    one = ["rain"] * 5 + [["a dog", "a bark"], 7]
    for name, texts in (("several", several), ("one", one)):
        stream = open_stream(str(write_tars(tmp_path / name, [len(texts)], texts)), "wav", ["json.text"])
        assert [row["json"]["text"] for row in stream.share(0, 1, seed=0, passing=0, buffer=0)] == texts


@pytest.mark.parametrize("column", ["split", "Subset"])
def test_rows_of_other_splits_are_left_out(tmp_path: Path, column: str) -> None:
    splits = ["train", "test", "train", "validation", "Train", "eval", "elsewhere", None]
    rows = {"audio": ["a.wav"] * 8, "text": [str(n) for n in range(8)], column: splits}
    folder = tmp_path / "set"
    folder.mkdir()
    Dataset.from_dict(rows).to_parquet(folder / "train.parquet")
    stream = open_stream(str(folder), "audio", ["text"])
    assert numbers(stream, buffer=0) == [0, 2, 4, 6, 7] and numbers(stream, buffer=0, skip=3) == [6, 7]
    assert sorted(numbers(stream, 0, 2) + numbers(stream, 1, 2)) == [0, 2, 4, 6, 7]
    assert f"has no rows beside those that its column {column!r} names for validation or test" in stream.has_none


def test_dev_is_held_out_as_it_is_beside_train(tmp_path: Path) -> None:
    rows = {"audio": ["a.wav"] * 3, "text": ["0", "1", "2"], "split": ["dev", "train", "eval"]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    assert numbers(open_stream(str(tmp_path), "audio", ["text"]), buffer=0) == [1]


def test_a_shard_of_other_types_is_said(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "shards", [2])
    Dataset.from_dict({"id": ["a"], "audio": ["b"], "text": [["a", "b"]]}).to_parquet(folder / "train-1.parquet")
    stream = open_stream(str(folder), "audio", ["text"])
    with pytest.raises(DataError, match=r"shards cannot be read on after 'row 1' \(\w+: "):
        numbers(stream, buffer=0)


def test_a_row_is_named_by_what_there_is(tmp_path: Path) -> None:
    stream = open_stream(str(write_parquet(tmp_path / "shards", [1])), "audio", ["text"])
    assert stream.name({"audio": {"path": None, "bytes": b""}, "id": 0}) == "0"
    assert stream.name({"audio": {"path": "a.wav", "bytes": b""}, "id": ""}) == "a.wav"
    assert stream.name({"audio": None}) is None
