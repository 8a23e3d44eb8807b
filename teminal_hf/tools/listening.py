"""Put a sound and a few captions to several models: what the page of `teminal demo` does, without the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from transformers import ClapFeatureExtractor

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.soundbank import FOLDS
from teminal_hf.clips.sources import sound_bank
from teminal_hf.data.captions import caption, spoken
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.evaluation.plotting import Curve, Spectrogram, spectrogram_picture
from teminal_hf.evaluation.ranking import Ranking, rank, when
from teminal_hf.integrations.encoders import load_encoder
from teminal_hf.models.encoder import Encoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RELATIONS = {"then": "forward", "while": "overlay"}  # what a person chooses -> the view that is composed
VARIANTS = 12  # clips to choose from, of each class
MAX_SECONDS, MAX_MEGABYTES = 120, 50
FORMATS = "wav, flac, ogg or mp3"  # of all that soundfile reads, what people have
CONVERSION = "ffmpeg -i FILE FILE.wav"


class Listener(NamedTuple):
    """A checkpoint that is asked."""

    name: str
    encoder: Encoder


def load_listener(name: str) -> Listener:
    """The checkpoint `name`, as `load_encoder` finds it."""
    return Listener(name, load_encoder(name))


def compose(first: str, relation: str, second: str, variant: int, encoder: Encoder) -> Waveform:
    """Two clips of the sound bank's test fold, one "then" the other or one "while" the other, as the evaluation makes
    them: of one length and level, in a window of the model's.

    Args:
        first, second: classes of the sound bank.
        relation: of `RELATIONS`.
        variant: which clips of the classes, 1 to `VARIANTS`; also the seed of level and place.

    Returns:
        (samples,) float32 at the encoder's sampling rate.

    Raises:
        DataError: twice the same class.
    """
    if first == second:
        raise DataError(f"choose two different sounds: no caption can say which {spoken(first)} comes first")
    renderer = Renderer(sound_bank(VARIANTS), RenderSettings.of(encoder))
    clip_a, clip_b = (f"soundbank/{FOLDS[-1]}/{label}/{variant - 1:03d}" for label in (first, second))
    view = RELATIONS[relation]
    return renderer.views(clip_a, clip_b, 0, variant, [view])[view]


def suggest(first: str, second: str) -> tuple[str, str, str]:
    """The three captions to tell apart for two classes."""
    return caption("before", first, second), caption("before", second, first), caption("while", first, second)


def given_sound(path: str | None, sampling_rate: int) -> Waveform:
    """A sound file as mono samples at `sampling_rate` Hz.

    Raises:
        DataError: no sound, or one that is unreadable, silent, shorter than 50 ms or longer than `MAX_SECONDS`.
        NotFoundError: the file is deleted by now.
    """
    if path is None:
        raise DataError("there is no sound yet: drop in a file, record one, or compose two clips")
    if not Path(path).is_file():
        raise NotFoundError(
            "the sound is no longer here (sounds are deleted after an hour); compose it or give it again"
        )
    return read_sound(path, sampling_rate, MAX_SECONDS, called="the sound")


def given_captions(captions: Sequence[str | None]) -> list[str]:
    """Those that were typed.

    Raises:
        DataError: fewer than two, or the same twice.
    """
    typed = [" ".join(text.split()) for text in captions if text and text.strip()]
    if len(typed) < 2:
        raise DataError(f"type two or three captions to choose between; found {len(typed)}")
    if len({text.lower() for text in typed}) < len(typed):
        raise DataError("two of the captions are the same: change one, or leave the third empty")
    return typed


def rank_by_each(listeners: Sequence[Listener], sound: str | None, captions: Sequence[str | None]) -> list[Ranking]:
    """The captions as each of `listeners` ranks them for the file `sound`.

    Raises:
        DataError: as `given_captions` and `given_sound`.
    """
    typed = given_captions(captions)
    return [rank(encoder, given_sound(sound, encoder.sampling_rate), typed) for _, encoder in listeners]


def picture(listener: Listener, sound: str | None, captions: Sequence[str | None]) -> "Figure":
    """The sound's spectrogram, and below it, where it is longer than the model's window, how well each window fits each
    caption, drawn at the window's middle.

    Raises:
        DataError: as `given_captions` and `given_sound`.
    """
    encoder, typed = listener.encoder, given_captions(captions)
    waveform = given_sound(sound, encoder.sampling_rate)
    if encoder.max_seconds is None or len(waveform) <= encoder.max_seconds * encoder.sampling_rate:
        return spectrogram(waveform, encoder.sampling_rate)
    found = when(encoder, waveform, typed)
    middles = [(start + end) / 2 for start, end in found.spans]
    curves = [Curve(text, middles, found.similarity[:, n].tolist()) for n, text in enumerate(typed)]
    return spectrogram(waveform, encoder.sampling_rate, curves)


def spectrogram(waveform: Waveform, sampling_rate: int, curves: Sequence[Curve] = ()) -> "Figure":
    """The log-mel spectrogram of (samples,) as a picture, in the bands and frames of CLAP's extractor."""
    extractor = ClapFeatureExtractor(
        sampling_rate=sampling_rate, frequency_max=min(14_000, sampling_rate / 2), truncation="rand_trunc"
    )
    log_mel = LogMel.from_extractor(extractor)
    starts = range(0, len(waveform), log_mel.n_samples)
    parts = [
        log_mel(torch.from_numpy(waveform[start : start + log_mel.n_samples])[None])[0, 0, :-1] for start in starts
    ]
    frames = torch.cat(parts)[: 1 + (len(waveform) - 1) // log_mel.hop_length]
    seconds = len(frames) * log_mel.hop_length / log_mel.sampling_rate
    panel = Spectrogram("spectrogram", frames.T.numpy(), seconds)
    edges = (extractor.frequency_min, extractor.frequency_max)
    size = (4.8, 4.6 if curves else 3.0)  # small, so that text is legible on a phone
    figure = spectrogram_picture([panel], edges, size, curves)
    figure.set_dpi(200)
    return figure
