"""Sound files are judged alike wherever they are named, and bounded before they are decoded."""

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.clips import tone
from support.tiny import tiny_encoder
from teminal_hf import rank
from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import decode, trim_silence
from teminal_hf.errors import BadClipError, DataError, NotFoundError
from teminal_hf.tools import doctor, listening

RATE = 8_000
NOISE = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1

NOTHING = {
    "silence": (np.zeros(RATE, np.float32), "is silent"),
    "thirty ms": (NOISE[:240], "holds only 30 ms of sound"),
    "channels that cancel": (np.stack([NOISE, -NOISE], axis=1), "is silent"),
    "one sample": (NOISE[:1], "holds only 0 ms of sound"),
    "a constant": (np.full(RATE, 0.3, np.float32), "is silent"),
    "no sample": (NOISE[:0], "is empty"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_hear_is_refused_by_rank_doctor_and_page_alike(name: str, tmp_path: Path) -> None:
    samples, reason = NOTHING[name]
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=f"a.wav {reason}"):
        rank(tiny_encoder(), path, ["rain"])
    finding = doctor._read(path, RATE)
    assert isinstance(finding, doctor.Finding)
    assert finding.level == "problem" and f"a.wav {reason}" in finding.what
    with pytest.raises(DataError, match=f"the sound {reason}"):
        listening.given_sound(str(path), RATE)


def test_formats_that_are_not_read_come_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    with pytest.raises(
        DataError, match=r"talk\.m4a cannot be decoded .*wav, flac, ogg and mp3 .*-i talk\.m4a talk\.wav"
    ):
        read_sound(path, RATE)
    with pytest.raises(NotFoundError, match=r"there is no file .*none\.wav; give a wav, flac, ogg or mp3 file"):
        read_sound(tmp_path / "none.wav", RATE)
    with pytest.raises(NotFoundError, match="is a folder; give one wav, flac, ogg or mp3 file"):
        read_sound(tmp_path, RATE)


def test_a_small_file_of_much_silence_takes_little_memory() -> None:
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", 48_000, 8, format="FLAC", subtype="PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros((48_000, 8), np.int16))
    tracemalloc.start()
    decode(content.getvalue(), 48_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    mix = 60 * 48_000 * 4
    assert peak < 4 * mix  # all channels in floats would be eight times the mix
    with pytest.raises(BadClipError, match="lasts 60 s; cut it to 10 s or less"):
        decode(content.getvalue(), 48_000, 10)


def wav(rate: int, channels: int, frames: int) -> bytes:
    """A header that claims what it likes, and eight bytes of samples a channel."""
    fmt = struct.pack("<HHIIHH", 1, channels, rate, (rate * channels * 2) % 2**32, channels * 2, 16)
    data = b"data" + struct.pack("<I", frames * channels * 2) + bytes(8 * channels)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "content, reason",
    [
        (wav(1, 1, 4), "claims a rate of 1 Hz"),
        (wav(2_000_000_000, 1, 4), "claims a rate of 2000000000 Hz|cannot be decoded"),
        (wav(8_000, 200, 4), "claims 200 channels"),
    ],
)
def test_a_header_that_no_recording_has_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BadClipError, match=reason):
        decode(content, 48_000)


@pytest.mark.parametrize("offset", [0.0, 0.2, -0.05])
def test_a_constant_offset_neither_counts_nor_stops_the_trimming(offset: float) -> None:
    sound = np.pad(tone(440, 0.5, RATE), (RATE // 2, RATE // 4))
    trimmed = trim_silence((sound + offset).astype(np.float32), RATE)
    assert len(trimmed) == pytest.approx(RATE // 2, abs=RATE // 100)
    np.testing.assert_allclose(trimmed.mean(), offset, atol=1e-3)  # it is not taken off what is heard


def test_blocks_are_read_as_the_whole_is(tmp_path: Path) -> None:
    stereo = np.random.default_rng(1).uniform(-0.5, 0.5, (200_000, 2))
    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, stereo, 44_100)
        whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
        np.testing.assert_array_equal(decode(path, 44_100), whole.mean(axis=1))


@pytest.mark.parametrize("rate", [44_100, 48_000, 16_000])
def test_a_constant_is_none_the_less_after_resampling(rate: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal(rate).astype(np.float32) * 0.1
    kinds = {
        "a constant": np.full(rate, 0.3, np.float32),
        "channels that cancel but for it": np.stack([noise + np.float32(0.2), -noise + np.float32(0.1)], axis=1),
    }
    for name, samples in kinds.items():
        soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
        with pytest.raises(DataError, match=r"a\.wav is silent"):
            read_sound(tmp_path / "a.wav", RATE)
            pytest.fail(name)
    padded = np.pad(noise[: rate // 2], (rate // 2, rate)) + np.float32(0.3)
    soundfile.write(tmp_path / "a.wav", padded, rate, subtype="FLOAT")
    kept = trim_silence(decode(tmp_path / "a.wav", RATE), RATE)
    assert abs(len(kept) - RATE // 2) <= RATE // 25


def test_a_stream_of_unknown_length_comes_with_the_way_out(tmp_path: Path) -> None:
    content = io.BytesIO()
    soundfile.write(content, NOISE, RATE, format="FLAC")
    streamed = bytearray(content.getvalue())
    streamed[21] &= 0xF0  # the 36 bits of its length
    streamed[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(streamed)
    with pytest.raises(DataError, match=r"a\.flac cannot be decoded .* does not say how long .*-i a\.flac a\.wav"):
        read_sound(tmp_path / "a.flac", RATE)
