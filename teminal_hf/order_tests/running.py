"""Any encoder put through an order test."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.table import screen
from teminal_hf.errors import DataError
from teminal_hf.evaluation.bootstrap import paired_bootstrap
from teminal_hf.evaluation.evaluator import row_of
from teminal_hf.evaluation.ranking import mean_embeds
from teminal_hf.models.encoder import Encoder, text_embeds
from teminal_hf.order_tests.questions import Answers, OrderTest, Recording

RECORDINGS = 16  # decoded at a time
_RATE = 16_000  # Hz, at which it is asked whether anything is to be heard


@dataclass(frozen=True)
class OrderReport:
    """`results`: {row: {"accuracy", "chance", "n", "ci95"}}, fractions, of a gap the difference; `items`: by row each
    question's score and group, for paired comparisons; `windowed`: how many of the recordings were longer than the
    encoder hears."""

    results: dict[str, dict[str, Any]]
    items: dict[str, dict[str, list[Any]]]
    windowed: int


def audible(test: OrderTest) -> OrderTest:
    """`test` without questions about recordings that cannot be heard, which are named in warnings. Each recording is
    decoded once for it, so that nothing is found out when hours of embedding have passed, and by all models alike.

    Raises:
        DataError: more than 5 % of the recordings, or no question is left.
        NotFoundError: a sound file that is no longer there.
    """
    heard = screen(len(test.recordings), lambda i: [read_sound(path, _RATE) for path in test.recordings[i]])
    return (
        test.about(heard, "questions about recordings that cannot be used")
        if len(heard) < len(test.recordings)
        else test
    )


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
    """Their mean embeddings (recordings, D), and how many had several windows."""
    embeds, windowed = [], 0
    for start in range(0, len(recordings), RECORDINGS):
        waveforms = [_whole(recording, encoder) for recording in recordings[start : start + RECORDINGS]]
        rows, counts = mean_embeds(encoder, waveforms)
        embeds.append(rows)
        windowed += sum(count > 1 for count in counts)
    return np.concatenate(embeds), windowed


def _whole(recording: Recording, encoder: Encoder) -> Waveform:
    return np.concatenate([read_sound(path, encoder.sampling_rate) for path in recording])


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
