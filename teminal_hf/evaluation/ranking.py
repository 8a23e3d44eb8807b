"""Captions ranked by how well they fit a sound, whole or window by window."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from teminal_hf.audio.features import WINDOW
from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.models.encoder import Encoder, audio_embeds, check_list, text_embeds

AT_ONCE = 32  # windows that are embedded together, whatever recordings they are of


@dataclass(frozen=True)
class Ranking:
    """Captions with their cosine similarity to a sound, best first; `windows`: how many were averaged."""

    captions: tuple[tuple[str, float], ...]
    windows: int


@dataclass(frozen=True)
class Windows:
    """Where a recording fits captions.

    Attributes:
        captions: n of them.
        spans: (start, end) of each window, in seconds.
        similarity: (windows, n) cosines.
    """

    captions: tuple[str, ...]
    spans: tuple[tuple[float, float], ...]
    similarity: NDArray[np.float64]

    def best(self) -> list[tuple[str, tuple[float, float], float]]:
        """Each caption with the window that fits it best (the first of equals), and its similarity there."""
        rows = self.similarity.argmax(axis=0)
        return [
            (caption, self.spans[row], float(self.similarity[row, n]))
            for n, (caption, row) in enumerate(zip(self.captions, rows, strict=True))
        ]


def rank(encoder: Encoder, sound: str | Path | Waveform, captions: Sequence[str]) -> Ranking:
    """Which caption fits a sound? `sound` is a file, or a mono array at the encoder's sampling rate.

    A sound longer than the model's window is heard through evenly spaced windows (the same every time) whose
    similarities are averaged, which loses the order of what lies in different ones: `when` tells where. A shorter one
    is padded with silence, never tiled: tiling destroys order.

    Raises:
        ConfigError: one string in the place of a list of captions.
        DataError: no captions, or an empty one; a file that cannot be decoded or holds nothing to hear.
        NotFoundError: no such file.
    """
    check_captions(captions)
    (audio,), (windows,) = mean_embeds(encoder, [waveform_of(sound, encoder)])
    return ranking(captions, (text_embeds(encoder, captions) @ audio).tolist(), windows)


def ranking(captions: Sequence[str], similarity: Sequence[float], windows: int) -> Ranking:
    """Captions in the order of their similarities, which of equals is that in which they were given."""
    ranked = sorted(zip(captions, similarity, strict=True), key=lambda row: -row[1])
    return Ranking(tuple(ranked), windows)


def when(encoder: Encoder, sound: str | Path | Waveform, captions: Sequence[str], hop: float | None = None) -> Windows:
    """Where in a sound do captions fit? It is heard through windows of the model's own length (`WINDOW` where it has
    none), `hop` seconds apart (default: a quarter of a window), the last of which ends where the sound does.

    Raises:
        ConfigError: a hop that is not above 0, or longer than a window: something would not be heard.
        others: as of `rank`.
    """
    check_captions(captions)
    waveform, rate = waveform_of(sound, encoder), encoder.sampling_rate
    seconds = encoder.max_seconds or WINDOW
    hop = seconds / 4 if hop is None else hop
    if not 0 < hop <= seconds:
        raise ConfigError(f"hop must be above 0 and at most a window ({seconds:g} s), found {hop:g}")
    window, last = round(seconds * rate), max(0, len(waveform) - round(seconds * rate))
    # A last step shorter than a sample's rounding adds no window.
    starts = [*(round(i * hop * rate) for i in range(math.ceil(last / (hop * rate)))), last]
    starts = list(dict.fromkeys(min(start, last) for start in starts))
    spans = tuple((start / rate, min(start + window, len(waveform)) / rate) for start in starts)
    parts = [waveform[start : start + window] for start in starts]
    return Windows(tuple(captions), spans, audio_embeds(encoder, parts) @ text_embeds(encoder, captions).T)


def none_of_these(best: Sequence[float], accepted: float = 0.05) -> float:
    """A threshold for "none of these captions": of recordings that fit none, at most a share `accepted` reaches it on
    average, whatever the scores' distribution (split conformal prediction, arXiv 2107.07511, section 1).

    Args:
        best: similarity of the best caption to each of n recordings of a validation set that fit none of them.
        accepted: share of such recordings that may be taken for one that fits, above 0 and below 1.

    Raises:
        ConfigError: a share beyond these bounds.
        DataError: too few recordings for it: 1 / accepted - 1 are needed.
    """
    if not 0 < accepted < 1:
        raise ConfigError(f"accepted must lie between 0 and 1, found {accepted:g}")
    rank_of = math.ceil((len(best) + 1) * (1 - accepted) - 1e-9)
    if rank_of > len(best):
        needed = math.ceil(1 / accepted - 1 - 1e-9)
        raise DataError(f"{len(best)} recordings are too few for accepted={accepted:g}; give {needed} or more")
    if not np.isfinite(best).all():
        raise DataError("a similarity is NaN or infinite, so that no threshold can be found; leave its recording out")
    return float(np.nextafter(np.sort(np.asarray(best, dtype=np.float64))[rank_of - 1], np.inf))


def evenly_spaced(waveform: Waveform, encoder: Encoder) -> list[tuple[int, Waveform]]:
    """A recording (samples,) as the model can hear it: whole, or in as few windows of its own as cover it, each with
    the sample that it begins at."""
    if encoder.max_seconds is None:
        return [(0, waveform)]
    window = round(encoder.max_seconds * encoder.sampling_rate)
    starts = np.linspace(0, max(0, len(waveform) - window), -(-len(waveform) // window)).astype(int)
    return [(start, waveform[start : start + window]) for start in starts.tolist()]


def mean_embeds(encoder: Encoder, waveforms: Sequence[Waveform]) -> tuple[NDArray[np.float64], list[int]]:
    """Of each recording, at the encoder's rate and of any length, the mean of its windows' embeddings (n, D), and how
    many windows it had. Similarities to that mean are the means of theirs, as `rank` has them."""
    rows = [embeds for _, embeds in window_embeds(encoder, waveforms)]
    return np.stack([embeds.mean(axis=0) for embeds in rows]), [len(embeds) for embeds in rows]


def window_embeds(
    encoder: Encoder, waveforms: Iterable[Waveform], at_once: int = AT_ONCE
) -> Iterator[tuple[list[tuple[float, float]], NDArray[np.float64]]]:
    """Of each recording, at the encoder's rate and of any length, the (start, end) of its windows in seconds and their
    embeddings (windows, D) of length 1. Windows of several recordings are embedded together, `at_once` of them, and
    recordings are taken as they are needed: no more are in memory than these windows are of."""
    rate, spans, waiting = encoder.sampling_rate, deque[list[tuple[float, float]]](), list[Waveform]()
    embeds: list[NDArray[np.float64]] = []

    def whole() -> Iterator[tuple[list[tuple[float, float]], NDArray[np.float64]]]:
        while spans and len(spans[0]) <= len(embeds):
            of_it = spans.popleft()
            yield of_it, np.stack(embeds[: len(of_it)])
            del embeds[: len(of_it)]

    for waveform in waveforms:
        parts = evenly_spaced(waveform, encoder)
        spans.append([(start / rate, (start + len(window)) / rate) for start, window in parts])
        for _, window in parts:
            waiting.append(window)
            if len(waiting) == at_once:
                embeds.extend(audio_embeds(encoder, waiting))
                waiting.clear()
        yield from whole()
    if waiting:
        embeds.extend(audio_embeds(encoder, waiting))
    yield from whole()


def waveform_of(sound: str | Path | Waveform, encoder: Encoder) -> Waveform:
    """A file, or a mono array at the encoder's rate, as (samples,).

    Raises:
        DataError, NotFoundError: as of `rank`.
    """
    if isinstance(sound, str | Path):
        return read_sound(sound, encoder.sampling_rate)
    if sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all():
        raise DataError(f"the sound must be a mono array of finite samples, found shape {sound.shape}")
    return sound


def check_captions(captions: Sequence[str]) -> None:
    """Raise an error as `rank` does for captions that cannot be asked."""
    check_list(captions)
    if not captions:
        raise DataError("no caption to rank; give at least one, two to compare")
    if blank := [number for number, caption in enumerate(captions, 1) if not caption.strip()]:
        raise DataError(f"caption {blank[0]} of {len(captions)} is empty; leave it out, or write what may be heard")
