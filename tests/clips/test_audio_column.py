"""Audio cells of every kind that people have, against the sound that went in."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Array2D, Audio, Dataset, Features, List, Value

from support.clips import tone
from teminal_hf.clips.audio_column import AudioColumn, read_audio_value
from teminal_hf.errors import BadClipError, DataError, NotFoundError

RATE = 8_000
SOUNDS = [tone(200 * (i + 1), 0.2, RATE) for i in range(3)]


def wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def arrays(change: Any, inner: Any = None) -> Dataset:
    cells = [{"array": change(sound), "sampling_rate": RATE} for sound in SOUNDS]
    features = inner and Features({"audio": {"array": inner, "sampling_rate": Value("int64")}})
    return Dataset.from_dict({"audio": cells}, features=features)


def full(kind: str) -> Any:
    """The sound in integers of a kind, whose range is full scale."""
    info = np.iinfo(kind)
    half = 2 ** (info.bits - 1)
    offset = half if info.min == 0 else 0
    return lambda sound: np.clip(np.round(sound.astype(np.float64) * half) + offset, info.min, info.max).astype(kind)


def stereo(sound: np.ndarray) -> np.ndarray:
    return np.stack([sound, 0.5 * sound])


INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")
KINDS: dict[str, tuple[Dataset, float, float]] = {  # with what the sound is multiplied by, and how near it is
    kind: (arrays(lambda sound, kind=kind: full(kind)(sound), List(Value(kind))), 1, 1 / 100 if "8" in kind else 1e-4)
    for kind in INTEGERS
} | {
    "Python's integers": (arrays(lambda sound: full("int16")(sound).tolist()), 1, 1e-4),
    "16 bits in stereo": (
        arrays(lambda sound: full("int16")(stereo(sound)).T, Array2D((1600, 2), "int16")),
        0.75,
        1e-4,
    ),
    "float64": (arrays(lambda sound: sound.astype(np.float64)), 1, 1e-6),
    "float16": (arrays(lambda sound: sound, List(Value("float16"))), 1, 1e-3),
    "channels first": (arrays(lambda sound: stereo(sound).tolist()), 0.75, 1e-6),
    "channels last": (arrays(lambda sound: stereo(sound).T.tolist()), 0.75, 1e-6),
    "one channel, last": (arrays(lambda sound: sound[:, None].tolist()), 1, 1e-6),
    "one channel, first": (arrays(lambda sound: sound[None].tolist()), 1, 1e-6),
    "bare bytes": (Dataset.from_dict({"audio": [wav(sound) for sound in SOUNDS]}), 1, 1e-6),
    "bytes and path": (Dataset.from_dict({"audio": [{"bytes": wav(s), "path": "a"} for s in SOUNDS]}), 1, 1e-6),
    "bytes alone": (Dataset.from_dict({"audio": [{"bytes": wav(s)} for s in SOUNDS]}), 1, 1e-6),
    "Audio": (
        Dataset.from_dict({"audio": [{"bytes": wav(s), "path": None} for s in SOUNDS]}).cast_column("audio", Audio()),
        1,
        1e-6,
    ),
}


@pytest.mark.parametrize("format", [None, "numpy", "torch", "arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_cell_gives_the_sound_that_went_in(kind: str, format: str | None) -> None:
    data, factor, near = KINDS[kind]
    column = AudioColumn(data.with_format(format), "audio")
    for row, sound in enumerate(SOUNDS):
        read = column.read(row, RATE)
        assert read.shape == sound.shape and read.dtype == np.float32
        np.testing.assert_allclose(read, factor * sound, atol=near)
    assert len(set(column.origins)) == 3


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_that_a_program_hands_over(kind: str) -> None:
    value = {"array": full(kind)(SOUNDS[0]), "sampling_rate": RATE}
    np.testing.assert_allclose(read_audio_value(value, RATE), SOUNDS[0], atol=1 / 100)


def test_floats_beyond_full_scale_stay_and_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    column = AudioColumn(arrays(lambda sound: 32768 * sound), "audio")
    np.testing.assert_allclose(column.read(0, RATE), 32768 * SOUNDS[0])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "column 'audio' holds floats up to 9830, and full scale is 1" in said[0]
    caplog.clear()
    AudioColumn(arrays(lambda sound: 5 * sound), "audio")  # loud masters and float mixes are floats still
    assert not caplog.records


def test_paths_start_from_the_base(tmp_path: Path) -> None:
    for i, sound in enumerate(SOUNDS):
        (tmp_path / f"{i}.wav").write_bytes(wav(sound))
    names = [f"{i}.wav" for i in range(3)]
    for cells in (names, [str(tmp_path / name) for name in names], [{"bytes": None, "path": name} for name in names]):
        column = AudioColumn(Dataset.from_dict({"audio": cells}), "audio", tmp_path)
        for row, sound in enumerate(SOUNDS):
            np.testing.assert_allclose(column.read(row, RATE), sound, atol=1e-6)
        before = column.origins
        (tmp_path / "1.wav").touch()
        assert [a == b for a, b in zip(column.origins, before, strict=True)] == [True, False, True]
    wanted = rf"names 2 of 3 file\(s\) that are not there: 'x.wav', None, looked for in {re.escape(str(tmp_path))}"
    with pytest.raises(NotFoundError, match=wanted):
        AudioColumn(Dataset.from_dict({"audio": ["0.wav", "x.wav", None]}), "audio", tmp_path)


def test_what_is_no_path_is_shown_in_part() -> None:
    with pytest.raises(NotFoundError, match="names 1 of 1") as caught:
        AudioColumn(Dataset.from_dict({"audio": ["UklGR" * 5000]}), "audio")
    assert len(str(caught.value)) < 500


REFUSED: dict[str, tuple[list[Any], str]] = {
    "no rate": ([{"array": [0.1, 0.2]}] * 2, r'holds arrays without a sampling_rate; store \{"array": samples'),
    "bare arrays": ([[0.1, 0.2]] * 2, r'holds bare arrays, whose rate is not known; store \{"array": samples'),
    "bare stereo arrays": ([[[0.1, 0.2]] * 2] * 2, "holds bare arrays"),
    "numbers": ([1, 2], "holds no audio but int64; expected an Audio feature.*name another by --audio_column"),
    "other structs": ([{"x": 1, "y": 2}] * 2, "holds no audio but structs of x, y"),
    "nothing": ([None, None], "holds no audio but null"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_columns_without_audio_are_refused_with_the_fix(kind: str) -> None:
    cells, message = REFUSED[kind]
    with pytest.raises(DataError, match=f"column 'audio' {message}"):
        AudioColumn(Dataset.from_dict({"audio": cells}), "audio")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no rate": ({"array": [0.1], "sampling_rate": None}, "has an array and the sampling_rate None: store the rate"),
    "a rate of 0": ({"array": [0.1], "sampling_rate": 0}, "has an array and the sampling_rate 0"),
    "a rate as text": ({"array": [0.1], "sampling_rate": "16000"}, r"the sampling_rate '16000': .*\(1000 to 768000\)"),
    "a rate in kHz": ({"array": [0.1], "sampling_rate": 44.1}, r"the sampling_rate 44\.1: store the rate in Hz"),
    "a rate of 1": ({"array": [0.1] * 9000, "sampling_rate": 1}, "the sampling_rate 1: store the rate in Hz"),
    "two hours": ({"array": np.zeros(7_300_000), "sampling_rate": 1000}, "lasts 7300 s; cut it to 3600 s or less"),
    "unsigned samples as long integers": (
        {"array": full("uint8")(SOUNDS[0]).tolist(), "sampling_rate": RATE},
        "holds 64-bit integers from .*, none below 0, as unsigned samples are",
    ),
    "a spectrogram": (
        {"array": np.zeros((64, 100)), "sampling_rate": RATE},
        r"shape \(64, 100\), which is no waveform",
    ),
    "three dimensions": ({"array": np.zeros((1, 2, 100)), "sampling_rate": RATE}, r"which is no waveform"),
    "uneven channels": ({"array": [[0.1, 0.2], [0.1]], "sampling_rate": RATE}, "holds no array of samples"),
    "texts": ({"array": ["a", "b"], "sampling_rate": RATE}, "holds samples of type <U1"),
    "long integers": ({"array": [2**20, 0], "sampling_rate": RATE}, "holds 64-bit integers up to 1048576"),
    "24 bits, not shifted up": (
        {"array": np.array([-(2**22), 2**22 + 1], np.int32), "sampling_rate": RATE},
        r"32-bit integers up to 4194305, as samples of 24 bits are: 256 times too quiet\. .*\(divided by 8388608\)",
    ),
    "16 bits, not shifted up": (
        {"array": np.array([-32768, 9], np.int32), "sampling_rate": RATE},
        r"as samples of 16 bits are: 65536 times too quiet\. .*\(divided by 32768\)",
    ),
    "empty stereo": ({"array": np.zeros((2, 0)), "sampling_rate": RATE}, "is empty"),
    "no file": ({"bytes": None, "path": "nowhere.wav"}, "is to be in nowhere.wav, and there is no such file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_cells(kind: str) -> None:
    value, message = BAD[kind]
    with pytest.raises(BadClipError, match=message):
        read_audio_value(value, RATE)


@pytest.mark.parametrize("samples", [[0, 0], [256, -(2**23)], [2**23 + 1, 1]])
def test_32_bits_that_are_quiet_or_shifted_up_are_read(samples: list[int]) -> None:
    value = {"array": np.array(samples, np.int32), "sampling_rate": RATE}
    np.testing.assert_allclose(read_audio_value(value, RATE), np.array(samples) / 2**31)
