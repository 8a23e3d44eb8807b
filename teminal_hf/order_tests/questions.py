"""What an order test asks, and how a model's similarities answer it."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from math import factorial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from teminal_hf.errors import DataError
from teminal_hf.evaluation.retrieval import AUDIO_TO_TEXT, TEXT_TO_AUDIO, retrieval

Recording = tuple[Path, ...]  # sound files, heard one after another; nearly always one
Asks = Literal["captions", "recordings", "both"]


@dataclass(frozen=True)
class Question:
    """Recordings and captions, of which the first of each fit each other, the second, and so on.

    Captions beyond the recordings are wrong for all of them. `asks` is "captions" (each recording's own is strictly
    above every other: CompA's text score, or one recording's choice among captions), "recordings" (each caption's own
    is: CompA's audio score) or "both" (its group score); the latter two of as many captions as recordings.

    Args:
        row: of the table that it counts in.
        recordings: their places in the test.
        captions: likewise, at least as many.
        group: what is drawn together in a bootstrap: questions about one recording are not independent.
    """

    row: str
    recordings: tuple[int, ...]
    captions: tuple[int, ...]
    group: str
    asks: Asks = "captions"

    def answered(self, similarity: NDArray[np.float64]) -> float:
        """1 if the similarities (recordings, captions) of the whole test have it right, 0 if not; a tie is wrong."""
        scores = similarity[np.ix_(self.recordings, self.captions)]
        fit = np.diagonal(scores)
        wrong = scores.copy()
        np.fill_diagonal(wrong, -np.inf)
        right = {"captions": fit > wrong.max(axis=1), "recordings": fit > wrong.max(axis=0)[: len(fit)]}
        return float(all(outcome.all() for asked, outcome in right.items() if self.asks in (asked, "both")))

    @property
    def chance(self) -> float:
        """Of independent random scores. The recordings of "captions" are answered one by one, the captions of
        "recordings" too; of "both" it is (n - 1)! / (2n - 1)!, 1/6 for two and 1/60 for three."""
        n = len(self.recordings)
        if self.asks == "both":
            return factorial(n - 1) / factorial(2 * n - 1)
        return float((len(self.captions) if self.asks == "captions" else n) ** -n)


@dataclass(frozen=True)
class Gallery:
    """Recordings with a caption each; all are found among all, by R@1 in both directions.

    `suffix` ends the names of its rows; `meanings` says what is right alike, and `groups` is as of a question.
    """

    suffix: str
    recordings: tuple[int, ...]
    captions: tuple[int, ...]
    meanings: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, str]:
        """A caption found by a recording, and a recording by a caption."""
        return (f"{AUDIO_TO_TEXT} R@1{self.suffix}", f"{TEXT_TO_AUDIO} R@1{self.suffix}")

    def without(self, gone: Container[int], place: Mapping[int, int]) -> "Gallery":
        """Without the items at these numbers; recordings are at other places of the test."""
        kept = [i not in gone for i in range(len(self.recordings))]
        return Gallery(
            self.suffix,
            tuple(place[recording] for recording in compress(self.recordings, kept)),
            tuple(compress(self.captions, kept)),
            tuple(compress(self.meanings, kept)),
            tuple(compress(self.groups, kept)),
        )

    def answers(self, similarity: NDArray[np.float64]) -> dict[str, "Answers"]:
        scores = similarity[np.ix_(self.recordings, self.captions)]
        meanings = np.array(self.meanings)
        fits = meanings[:, None] == meanings[None]
        found = [retrieval(each, fits)["R@1"] for each in (scores, scores.T)]
        return {row: Answers(r.values, r.chance, self.groups) for row, r in zip(self.rows, found, strict=True)}


class Answers(NamedTuple):
    """Of a row, each question's score in [0, 1], what guessing has on average, and the questions' groups; `signed`:
    differences of such scores."""

    values: list[float]
    chance: float
    groups: Sequence[str]
    signed: bool = False


@dataclass(frozen=True)
class OrderTest:
    """A test as its files have it; nothing of it is decoded or embedded.

    Args:
        name: as `--test` takes it.
        recordings: each once.
        captions: each once.
        questions: of any number of rows.
        rows: what each row of the table asks, in words.
        galleries: for retrieval.
        gaps: {row: (of, minus)}, the difference of two galleries' rows, question by question.
        left_out: {why: how many}.
        notes: sentences for below the table.
    """

    name: str
    recordings: tuple[Recording, ...]
    captions: tuple[str, ...]
    questions: tuple[Question, ...]
    rows: Mapping[str, str]
    galleries: tuple[Gallery, ...] = ()
    gaps: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def about(self, recordings: Sequence[int], why: str) -> "OrderTest":
        """The test of these recordings alone; `why` counts the questions that are left out.

        Raises:
            DataError: none is left.
        """
        place = {recording: i for i, recording in enumerate(recordings)}
        kept = [question for question in self.questions if place.keys() >= {*question.recordings}]
        if not kept:
            raise DataError(f"nothing of {self.name} can be asked; left out: {len(self.questions)} {why}")
        left_out = len(self.questions) - len(kept)
        # A gap is between galleries, item by item: what one lacks goes from all.
        gone = {
            i for gallery in self.galleries for i, recording in enumerate(gallery.recordings) if recording not in place
        }
        return replace(
            self,
            recordings=tuple(self.recordings[recording] for recording in recordings),
            questions=tuple(replace(q, recordings=tuple(place[r] for r in q.recordings)) for q in kept),
            galleries=tuple(gallery.without(gone, place) for gallery in self.galleries),
            left_out={**self.left_out, why: left_out} if left_out else self.left_out,
        )

    def answers(self, similarity: NDArray[np.float64]) -> dict[str, Answers]:
        """How a model answers, by row.

        Args:
            similarity: (recordings, captions) in their order, higher fits better, on any scale.

        Raises:
            ValueError: another shape.
        """
        if similarity.shape != (wanted := (len(self.recordings), len(self.captions))):
            raise ValueError(f"similarities of shape {similarity.shape}; {wanted}, (recordings, captions), is wanted")
        asked: dict[str, list[Question]] = {}
        for question in self.questions:
            asked.setdefault(question.row, []).append(question)
        answers = {
            row: Answers(
                [question.answered(similarity) for question in questions],
                float(np.mean([question.chance for question in questions])),
                [question.group for question in questions],
            )
            for row, questions in asked.items()
        }
        for gallery in self.galleries:
            answers |= gallery.answers(similarity)
        for row, (of, minus) in self.gaps.items():
            values = np.subtract(answers[of].values, answers[minus].values).tolist()
            answers[row] = Answers(values, 0.0, answers[of].groups, signed=True)
        return {row: answers[row] for row in self.rows if row in answers}
