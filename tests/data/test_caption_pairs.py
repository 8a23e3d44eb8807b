"""A user's own audio-caption pairs as rows of one view."""

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset
from transformers import ClapFeatureExtractor

from support.clips import tone
from support.tiny import tiny_processor
from teminal_hf.data.caption_pairs import CaptionPairs
from teminal_hf.data.captions import caption_key
from teminal_hf.data.groups import view_meanings
from teminal_hf.runs.arguments import DataArguments
from teminal_hf.runs.training_data import _load_pairs
from teminal_hf.training.data_collator import GroupCollator, false_negatives

RATE = 16_000
EXTRACTOR = ClapFeatureExtractor(sampling_rate=RATE, max_length_s=2, feature_size=16, frequency_max=8000)


def wav(samples: np.ndarray, rate: int = RATE) -> dict[str, Any]:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return {"bytes": buffer.getvalue(), "path": None}


SHORT, LONG = tone(400, 0.5, RATE), np.concatenate([tone(400, 2.0, RATE), tone(800, 1.0, RATE)])
PAIRS = Dataset.from_dict({"audio": [wav(SHORT), wav(LONG)], "text": ["a", "b"]})


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS.cast_column("audio", Audio())], ids=["bytes", "Audio"])
def test_short_recordings_are_padded_and_long_ones_heard_from_the_start(pairs: Dataset) -> None:
    rows = CaptionPairs(pairs, "audio", "text", EXTRACTOR)
    assert len(rows) == 2
    for i, truth in enumerate((np.pad(SHORT, (0, 2 * RATE - len(SHORT))), LONG[: 2 * RATE])):
        assert rows[i]["forward"]["sampling_rate"] == RATE and rows[i]["forward_caption"] == "ab"[i]
        np.testing.assert_allclose(rows[i]["forward"]["array"], truth, atol=1 / 32767)
    assert view_meanings(rows[0], "forward") != view_meanings(rows[1], "forward")


def test_other_rates_are_resampled() -> None:
    pairs = Dataset.from_dict({"sound": [wav(tone(400, 1.0, 48_000), 48_000)] * 2, "words": ["a", "b"]})
    array = CaptionPairs(pairs, "sound", "words", EXTRACTOR)[1]["forward"]["array"]
    assert len(array) == 2 * RATE and np.abs(array[100 : RATE - 100] - tone(400, 1.0, RATE)[100:-100]).max() < 1e-3
    assert not array[RATE:].any()


def test_bad_recordings_are_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    bad = [{"bytes": b"x", "path": None}, wav(np.zeros(RATE))]
    rows = {"audio": [*bad, *[wav(SHORT)] * 38], "text": [str(i) for i in range(40)]}
    with caplog.at_level(logging.WARNING):
        pairs = CaptionPairs(Dataset.from_dict(rows), "audio", "text", EXTRACTOR)
    assert len(pairs) == 38 and pairs[0]["forward_caption"] == "2" and pairs[-1]["forward_caption"] == "39"
    assert "left out: pair 0 cannot be decoded as audio" in caplog.text
    assert "left out: pair 1 is silent" in caplog.text and "2 of 40 clips left out" in caplog.text
    rows = {name: column[:30] for name, column in rows.items()}
    with pytest.raises(ValueError, match=r"2 of 30 clips cannot be used \(at most 5% are tolerated\)"):
        CaptionPairs(Dataset.from_dict(rows), "audio", "text", EXTRACTOR)


def test_errors() -> None:
    with pytest.raises(ValueError, match="the data set has no column caption; present: audio, text"):
        CaptionPairs(PAIRS, "audio", "caption", EXTRACTOR)
    with pytest.raises(ValueError, match="contrastive training needs at least two pairs, the data set has 1"):
        CaptionPairs(PAIRS.select([0]), "audio", "text", EXTRACTOR)
    empty = Dataset.from_dict({"audio": [wav(SHORT)] * 2, "text": ["a", None]})
    with pytest.raises(
        ValueError, match="column 'text' must hold a caption, or a list of them, in each row; row 1 holds none"
    ):
        CaptionPairs(empty, "audio", "text", EXTRACTOR)


def test_what_is_heard_is_known_by_the_files_it_comes_from(tmp_path: Path) -> None:
    for name, sound in zip("ab", (SHORT, SHORT[::-1] / 2), strict=True):
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE)
    cells = [{"bytes": None, "path": str(tmp_path / f"{name}.wav")} for name in "ab"]
    pairs = Dataset.from_dict({"audio": cells, "text": ["a", "b"]})
    rows = CaptionPairs(pairs, "audio", "text", EXTRACTOR)
    assert rows.manifest == [{"forward_caption": "a"}, {"forward_caption": "b"}]
    first = rows.recordings_id
    assert CaptionPairs(pairs, "audio", "text", EXTRACTOR).recordings_id == first
    soundfile.write(tmp_path / "b.wav", LONG, RATE)
    assert CaptionPairs(pairs, "audio", "text", EXTRACTOR).recordings_id != first


# Several captions of one recording


def recordings_of(cells: list[Any], **columns: Any) -> Dataset:
    return Dataset.from_dict({"audio": cells, **columns})


def sound(number: int) -> np.ndarray:
    return tone(300 + 50 * number, 0.3, RATE)


def masked(rows: Any) -> np.ndarray:
    """(audio, text) that are left out, of all rows in one batch."""
    collator = GroupCollator(tiny_processor(), ("forward",))
    return false_negatives(collator.meanings(rows.manifest)).numpy()


def truth(recordings: list[int], captions: list[str]) -> np.ndarray:
    """Pair by pair: a text holds of an audio whose recording has that caption, in whatever row."""
    n = len(captions)
    plain = [" ".join(caption.lower().split()) for caption in captions]
    mask = np.zeros((n, n), bool)
    for audio in range(n):
        for text in range(n):
            for row in range(n):
                mask[audio, text] |= recordings[row] == recordings[audio] and plain[row] == plain[text]
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_captions_of_one_recording_are_no_negatives_of_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    recordings = rng.integers(0, 8, 30).tolist()
    captions = [f"{'Caption' if rng.integers(2) else 'caption '} {rng.integers(14)}" for _ in recordings]
    cells = [wav(sound(number)) for number in recordings]
    rows = CaptionPairs(recordings_of(cells, text=captions), "audio", "text", EXTRACTOR)
    found, wanted = masked(rows), truth(recordings, captions)
    np.testing.assert_array_equal(found, wanted)
    same = np.equal.outer(recordings, recordings)
    assert found[same].all() and found.T[same].all()  # in both directions
    assert not found.all()


def test_one_sound_in_several_files_is_one_recording(tmp_path: Path) -> None:
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", sound(number // 2), RATE, subtype="PCM_16")
    cells = [{"bytes": None, "path": str(tmp_path / f"{number}.wav")} for number in range(4)]
    captions = ["a dog", "a bark", "rain", "drops"]
    rows = CaptionPairs(recordings_of(cells, text=captions), "audio", "text", EXTRACTOR)
    np.testing.assert_array_equal(masked(rows), np.equal.outer([0, 0, 1, 1], [0, 0, 1, 1]))


def test_a_list_of_captions_is_one_recording_with_several(caplog: pytest.LogCaptureFixture) -> None:
    lists = [["a dog", "a bark", "A  dog", ""], ["rain"], ["wind", "a bark", None]]
    cells = [wav(sound(number)) for number in range(3)]
    with caplog.at_level(logging.INFO):
        rows = CaptionPairs(recordings_of(cells, text=lists), "audio", "text", EXTRACTOR)
    assert "3 recordings with 5 captions" in caplog.text
    own = [{"A  dog", "a bark"}, {"rain"}, {"wind", "a bark"}]
    heard: list[set[str]] = [set(), set(), set()]
    for epoch in range(2):
        assert rows.draw_captions(7, epoch)
        for i, words in enumerate(rows.manifest):
            np.testing.assert_allclose(rows[i]["forward"]["array"][:4800], sound(i), atol=1e-4)
            assert {k: v for k, v in rows[i].items() if k != "forward"} == words
            said, *others = view_meanings(words, "forward")
            assert {said, *others} == {caption_key(caption) for caption in own[i]}
            heard[i].add(words["forward_caption"])
        expected = [[caption in captions for caption in said_of(rows)] for captions in own]
        np.testing.assert_array_equal(masked(rows), expected)
    assert heard == own  # as many epochs as captions hear them all
    assert not CaptionPairs(PAIRS, "audio", "text", EXTRACTOR).draw_captions(7, 1)


def said_of(rows: CaptionPairs) -> list[str]:
    return [row["forward_caption"] for row in rows.manifest]


def test_captions_are_drawn_by_seed_and_epoch() -> None:
    texts = [[f"{n}, caption {i}" for i in range(5)] for n in range(12)]
    rows = CaptionPairs(recordings_of([wav(sound(n)) for n in range(12)], text=texts), "audio", "text", EXTRACTOR)
    drawn = {}
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 5), (0, 0)]:
        rows.draw_captions(seed, epoch)
        assert drawn.setdefault((seed, epoch), said_of(rows)) == said_of(rows)
    assert len({tuple(said) for said in drawn.values()}) == 3 and drawn[0, 0] == drawn[0, 5]
    assert len({caption[-1] for caption in drawn[0, 0]}) > 1  # each recording begins with one of its own


def test_all_batches_are_of_one_width() -> None:
    """So that the ranks of a run can gather them."""
    lists = [["a", "b", "c"], ["d"], ["e", "f"]]
    cells = [wav(sound(n)) for n in range(3)]
    rows = CaptionPairs(recordings_of(cells, text=lists), "audio", "text", EXTRACTOR)
    collator = GroupCollator(tiny_processor(), ("forward",))
    assert {collator.meanings([row]).shape for row in rows.manifest} == {(1, 3)}


@pytest.mark.parametrize(
    "text",
    [
        [["a"], []],
        [["a"], [None, " "]],
        ["a", " "],
        [["a"], None],
        [1, 2],
        [["a"], [["b"]]],
        ["a", "nan"],
        ["-", "a"],
        ["a", "['a dog', 'a bark']"],
    ],
)
def test_rows_without_a_caption(text: list[Any]) -> None:
    if text == [["a"], [["b"]]]:
        text = [[["a"]], [["b"]]]
    with pytest.raises(
        ValueError,
        match=r"column 'text' must hold .*row [01] holds (none|a int|a list|a list that is written out, .'a dog')",
    ):
        CaptionPairs(recordings_of([wav(sound(n)) for n in range(2)], text=text), "audio", "text", EXTRACTOR)


def test_what_is_kept_for_validation_is_of_other_recordings() -> None:
    numbers = [n // 3 for n in range(30)]
    captions = [f"caption {i}" for i in range(30)]
    pairs = recordings_of([wav(sound(n)) for n in numbers], text=captions)
    rows = CaptionPairs(pairs, "audio", "text", EXTRACTOR)
    train, validation = rows.split(5, seed=0)
    parts = [{numbers[captions.index(row["forward_caption"])] for row in part.manifest} for part in (train, validation)]
    assert len(train) == 24 and len(validation) == 6 and not parts[0] & parts[1]
    assert [row["forward_caption"] for row in rows.split(5, seed=0)[1].manifest] == [
        row["forward_caption"] for row in validation.manifest
    ]
    np.testing.assert_allclose(
        validation[0]["forward"]["array"][:4800],
        sound(numbers[captions.index(validation[0]["forward_caption"])]),
        atol=1e-4,
    )
    with pytest.raises(ValueError, match="2 pairs of 2 recordings are too few to keep 2 apart"):
        CaptionPairs(pairs.select([0, 29]), "audio", "text", EXTRACTOR).split(2, seed=0)


@pytest.mark.parametrize("format", ["numpy", "torch", None])
def test_formats_and_integers(format: str | None) -> None:
    cells = [{"array": (32767 * sound(n)).astype(np.int16), "sampling_rate": RATE} for n in range(2)]
    data = recordings_of(cells, text=["a", "b"]).with_format(format)
    rows = CaptionPairs(data, "audio", "text", EXTRACTOR)
    for n in range(2):
        np.testing.assert_allclose(rows[n]["forward"]["array"][:4800], sound(n), atol=1e-4)


def test_wrong_columns_name_the_flag() -> None:
    with pytest.raises(ValueError, match=r"no column caption; present: audio, text\. Name yours by --text_column"):
        CaptionPairs(PAIRS, "audio", "caption", EXTRACTOR)
    with pytest.raises(ValueError, match=r"no column sound; present: audio, text\. Name yours by --pairs_audio_column"):
        CaptionPairs(PAIRS, "sound", "text", EXTRACTOR, audio_flag="--pairs_audio_column")


def test_pairs_of_a_split_column_leave_test_rows_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["train", "test", "train", "val"]
    for row in range(4):
        soundfile.write(tmp_path / f"{row}.wav", sound(row), RATE)
    rows = [f"{row}.wav,caption {row},{name}" for row, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["file_name,text,split", *rows]))
    with caplog.at_level(logging.INFO):
        pairs = _load_pairs(DataArguments(text_column="text"), str(tmp_path / "t.csv"), "audio", EXTRACTOR)
    assert pairs.captions == ["caption 0", "caption 2"] and "test, val are left for evaluation" in caplog.text
