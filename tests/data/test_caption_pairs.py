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
from teminal_hf.data.caption_pairs import CaptionPairs
from teminal_hf.data.groups import view_meanings

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
    with pytest.raises(ValueError, match="column 'text' must hold one caption a row; row 1 holds none or several"):
        CaptionPairs(empty, "audio", "text", EXTRACTOR)


def test_what_is_heard_is_known_by_the_files_it_comes_from(tmp_path: Path) -> None:
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", SHORT, RATE)
    cells = [{"bytes": None, "path": str(tmp_path / f"{name}.wav")} for name in "ab"]
    pairs = Dataset.from_dict({"audio": cells, "text": ["a", "b"]})
    rows = CaptionPairs(pairs, "audio", "text", EXTRACTOR)
    assert rows.manifest == [{"forward_caption": "a"}, {"forward_caption": "b"}]
    first = rows.recordings_id
    assert CaptionPairs(pairs, "audio", "text", EXTRACTOR).recordings_id == first
    soundfile.write(tmp_path / "b.wav", LONG, RATE)
    assert CaptionPairs(pairs, "audio", "text", EXTRACTOR).recordings_id != first
