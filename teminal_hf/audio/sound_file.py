"""Sound files that a person names: read, or refused by their name."""

from pathlib import Path

from teminal_hf.audio.waveform import MAX_SECONDS, Waveform, decode, trim_bounds
from teminal_hf.errors import BadClipError, NotFoundError

FORMATS = "wav, flac, ogg and mp3 files are read"


def read_sound(path: str | Path, sampling_rate: int, max_seconds: float = MAX_SECONDS, called: str = "") -> Waveform:
    """Mono float32 (samples,) at `sampling_rate` Hz, whole, of a file that holds something to hear.

    Raises:
        NotFoundError: no file.
        BadClipError: no audio, nothing to hear (silence, less than 50 ms, channels that cancel), or longer than
            `max_seconds`; the message begins with the path, or with what it is `called`.
    """
    if Path(path).is_dir():
        raise NotFoundError(f"{path} is a folder; give one wav, flac, ogg or mp3 file")
    if not Path(path).is_file():
        raise NotFoundError(f"there is no file {path}; give a wav, flac, ogg or mp3 file")
    try:
        waveform = decode(path, sampling_rate, max_seconds)
    except BadClipError as error:
        text = str(error)
        if text.startswith("cannot be decoded"):
            name, stem = Path(path).name, Path(path).stem
            converted = f"{stem}.wav" if f"{stem}.wav" != name else "converted.wav"
            text += f"; {FORMATS}, others after a conversion: ffmpeg -i {name} {converted}"
        raise BadClipError(f"{called or path} {text}") from error
    try:
        trim_bounds(waveform, sampling_rate)
    except BadClipError as error:
        raise BadClipError(f"{called or path} {error}; give one with something to hear") from error
    return waveform
