"""Any encoder put through an order test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import DataError
from teminal_hf.evaluation.bootstrap import paired_bootstrap
from teminal_hf.evaluation.evaluator import row_of
from teminal_hf.evaluation.ranking import evenly_spaced
from teminal_hf.models.encoder import Encoder, audio_embeds, text_embeds
from teminal_hf.order_tests.questions import Answers, OrderTest, Recording

RECORDINGS = 16  # decoded at a time


@dataclass(frozen=True)
class OrderReport:
    """`results`: {row: {"accuracy", "chance", "n", "ci95"}}, fractions, of a gap the difference; `items`: by row each
    question's score and group, for paired comparisons; `windowed`: how many of the recordings were longer than the
    encoder hears."""

    results: dict[str, dict[str, Any]]
    items: dict[str, dict[str, list[Any]]]
    windowed: int


def run_order_test(test: OrderTest, encoder: Encoder) -> OrderReport:
    """Embed each recording and each caption once, and answer every question.

    A recording longer than the encoder hears goes through evenly spaced windows, whose similarities are averaged, as
    `evaluation.ranking.rank` does: what is within one window keeps its order, what is in different ones loses it.
    Recordings are decoded a few at a time.

    Raises:
        BadClipError: a sound file that cannot be decoded, or holds nothing to hear.
        NotFoundError: a sound file that is no longer there.
        CheckpointError: embeddings that are none.
    """
    text = text_embeds(encoder, test.captions)
    audio, windowed = _heard(test.recordings, encoder)
    answers = test.answers(audio @ text.T)
    items: dict[str, dict[str, list[Any]]] = {
        row: {"clips": list(a.groups), "right": a.values} for row, a in answers.items()
    }
    return OrderReport({row: _row(a) for row, a in answers.items()}, items, windowed)


def check_comparable(test: OrderTest) -> None:
    """Raise a DataError if a difference of two models could have no interval."""
    answers = test.answers(np.zeros((len(test.recordings), len(test.captions))))
    for row, asked in answers.items():
        if len(set(asked.groups)) < 2:
            raise DataError(
                f"all of {test.name}'s questions {row!r} are about one recording; the interval of a difference needs "
                "two: leave out --base, or get the rest of the sound files"
            )


def _heard(recordings: tuple[Recording, ...], encoder: Encoder) -> tuple[NDArray[np.float64], int]:
    """(recordings, D), of each the mean over its windows: similarities to it are the means of theirs. And how many had
    several."""
    embeds, counts = [], []
    for start in range(0, len(recordings), RECORDINGS):
        parts = list(_parts(recordings[start : start + RECORDINGS], encoder))
        rows = audio_embeds(encoder, [window for recording in parts for window in recording])
        sizes = [len(recording) for recording in parts]
        embeds += [rows_of.mean(axis=0) for rows_of in np.split(rows, np.cumsum(sizes)[:-1])]
        counts += sizes
    return np.stack(embeds), sum(count > 1 for count in counts)


def _parts(recordings: tuple[Recording, ...], encoder: Encoder) -> Iterator[list[Waveform]]:
    for recording in recordings:
        whole = np.concatenate([read_sound(path, encoder.sampling_rate) for path in recording])
        yield [window for _, window in evenly_spaced(whole, encoder)]


def _row(answers: Answers) -> dict[str, Any]:
    if not answers.signed:
        return row_of(answers.values, answers.chance)
    ci95 = [-1.0, 1.0]  # of questions about one recording nothing is known
    if len(set(answers.groups)) > 1:
        ci95 = paired_bootstrap(answers.values, np.zeros(len(answers.values)), answers.groups)["ci95"]
    return {
        "accuracy": float(np.mean(answers.values)),
        "chance": answers.chance,
        "n": len(answers.values),
        "ci95": ci95,
    }
