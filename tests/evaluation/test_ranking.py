"""Where in a recording a caption fits, and when none does."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from support.clips import tone
from support.tiny import RATE, tiny_encoder
from teminal_hf import FunctionEncoder
from teminal_hf.commands.cli import main
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.evaluation.ranking import evenly_spaced, none_of_these, when

PITCHES = {"low": 200, "middle": 900, "high": 2500}
EVENTS = (("low", 31.0), ("high", 77.5), ("middle", 140.2))  # what sounds for 2 s, and from when, of 3 minutes


def loudness(waveforms: Any) -> np.ndarray:
    """Energy near each pitch, and a little of everything: an encoder that knows three sounds."""
    rows = []
    for waveform in waveforms:
        spectrum = np.abs(np.fft.rfft(waveform, 20 * RATE)) ** 2
        rows.append([spectrum[20 * pitch - 400 : 20 * pitch + 400].sum() for pitch in PITCHES.values()])
    return np.array(rows) + 1e-3


ENCODER = FunctionEncoder(
    loudness, lambda captions: np.array([[float(name == c) for name in PITCHES] for c in captions]), RATE, 10.0
)


@pytest.fixture(scope="module")
def composed() -> np.ndarray:
    """Three minutes of faint noise with a sound at three places."""
    sound = (1e-4 * np.random.default_rng(0).standard_normal(180 * RATE)).astype(np.float32)
    for name, start in EVENTS:
        first = round(start * RATE)
        sound[first : first + 2 * RATE] += tone(PITCHES[name], 2, RATE)
    return sound


@pytest.mark.parametrize("hop", [None, 1.0, 10.0])
def test_each_sound_is_found_where_it_is(composed: np.ndarray, hop: float | None) -> None:
    found = when(ENCODER, composed, list(PITCHES), hop)
    for name, start in EVENTS:
        caption, (first, last), similarity = next(each for each in found.best() if each[0] == name)
        assert caption == name and similarity > 0.95
        assert first - 2 < start < last  # some of it at least is in that window
    assert found.spans[0] == (0, 10) and found.spans[-1] == (170, 180)
    steps = np.diff([start for start, _ in found.spans])
    assert steps.max() == pytest.approx(hop or 2.5) and steps.min() > 0
    again = when(ENCODER, composed, list(PITCHES), hop)
    assert again.spans == found.spans and np.array_equal(again.similarity, found.similarity)


def test_a_window_is_what_the_model_says_of_that_part_alone() -> None:
    encoder, sound = tiny_encoder(), np.concatenate([tone(300, 1.3, RATE), tone(700, 1.4, RATE)])
    captions = ["dog before rain", "wind"]
    found = when(encoder, sound, captions, hop=0.5)
    assert [start for start, _ in found.spans] == pytest.approx([0, 0.5, 1.0, 1.5, 1.7])
    for (start, end), row in zip(found.spans, found.similarity, strict=True):
        part = encoder.embed_audio([sound[round(start * RATE) : round(end * RATE)]])
        np.testing.assert_allclose(row, (part @ encoder.embed_text(captions).T)[0], atol=1e-6)


def test_a_short_recording_is_one_window_of_its_own_length() -> None:
    found = when(tiny_encoder(), tone(300, 0.4, RATE), ["wind"])
    assert found.spans == ((0, 0.4),) and found.similarity.shape == (1, 1)


@pytest.mark.parametrize("hop", [0.0, -1.0, 10.5, float("nan")])
def test_a_hop_that_hears_not_all_is_refused(hop: float) -> None:
    with pytest.raises(ConfigError, match=re.escape("hop must be above 0 and at most a window (10 s), found")):
        when(ENCODER, tone(300, 20, RATE), ["low"], hop)


def test_where_on_the_command_line(tmp_path: Path, capsys: Any) -> None:
    soundfile.write(tmp_path / "long.wav", np.concatenate([tone(300, 13, 16_000), tone(700, 12, 16_000)]), 16_000)
    table = tmp_path / "where.csv"
    main(["rank", str(tmp_path / "long.wav"), "rain", "a dog", "--when", "--hop", "5", "--csv", str(table)])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["start", "end", "rain", "a", "dog"]
    assert [line.split()[:2] for line in lines[:4]] == [[f"{s}.00", f"{s + 10}.00"] for s in (0, 5, 10, 15)]
    assert [line.partition(":")[0] for line in lines[4:]] == ["best for rain", "best for a dog"]
    assert len(table.read_text().splitlines()) == 5
    for arguments, message in (
        (["--hop", "5"], "--hop is between the windows of --when; add --when"),
        (["--when", "--threshold", "0.1"], "--when is of one recording, and without --threshold"),
    ):
        with pytest.raises(SystemExit, match=re.escape(message)):
            main(["rank", str(tmp_path / "long.wav"), "rain", *arguments])


def test_windows_are_evenly_spaced_and_say_where_they_begin() -> None:
    waveform = np.arange(25, dtype=np.float32)
    short, any_length = (FunctionEncoder(loudness, loudness, 1, seconds) for seconds in (10.0, None))
    parts = [(start, part[[0, -1]].tolist()) for start, part in evenly_spaced(waveform, short)]
    assert parts == [(0, [0, 9]), (7, [7, 16]), (15, [15, 24])]
    assert evenly_spaced(waveform[:10], short)[0][1].tolist() == waveform[:10].tolist()
    assert evenly_spaced(waveform, any_length)[0][1] is waveform


def test_a_threshold_keeps_its_promise() -> None:
    """Over many draws of a validation set and one further recording, at most the share asked for is accepted."""
    rng = np.random.default_rng(0)
    for accepted, n in ((0.05, 19), (0.1, 50), (0.2, 7)):
        scores = rng.gumbel(size=(20_000, n + 1))
        passed = np.mean([last >= none_of_these(rest, accepted) for *rest, last in scores])
        assert accepted - 1 / (n + 1) - 0.01 < passed < accepted + 0.01
    with pytest.raises(DataError, match=r"18 recordings are too few for accepted=0.05; give 19 or more"):
        none_of_these([0.1] * 18)
    with pytest.raises(ConfigError, match="accepted must lie between 0 and 1, found 1"):
        none_of_these([0.1], 1)
