"""Scores of questions by hand, and their chance against all rankings."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from teminal_hf.order_tests.questions import Asks, Gallery, OrderTest, Question

PAIR = ((0, 1), (0, 1))


def asked(*questions: Question, shape: tuple[int, int] = (2, 2), **further: object) -> OrderTest:
    recordings = tuple((Path(f"{i}.wav"),) for i in range(shape[0]))
    captions = tuple(f"caption {i}" for i in range(shape[1]))
    rows = {question.row: "a row" for question in questions}
    return OrderTest("some", recordings, captions, questions, **{"rows": rows} | further)


@pytest.mark.parametrize(
    ("scores", "text", "audio", "group"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], 1, 1, 1),
        ([[0.9, 0.8], [0.2, 0.3]], 1, 0, 0),  # the first recording is the nearer to both captions
        ([[0.9, 0.2], [0.95, 0.96]], 1, 0, 0),  # its caption is nearer to the other recording
        ([[0.3, 0.4], [0.2, 0.5]], 0, 1, 0),
        ([[0.5, 0.5], [0.1, 0.9]], 0, 1, 0),  # a tie is wrong
        ([[0.0, 0.0], [0.0, 0.0]], 0, 0, 0),
    ],
)
def test_pairs_are_scored_as_compa_does(scores: list[list[float]], text: int, audio: int, group: int) -> None:
    """By the conditions of arXiv 2310.08753, written out."""
    s = np.array(scores)
    assert (s[0, 0] > s[0, 1] and s[1, 1] > s[1, 0]) == bool(text)
    assert (s[0, 0] > s[1, 0] and s[1, 1] > s[0, 1]) == bool(audio)
    for asks, right in (("captions", text), ("recordings", audio), ("both", group)):
        assert Question("row", *PAIR, "a", asks).answered(s) == right  # type: ignore[arg-type]


@pytest.mark.parametrize("asks", ["captions", "recordings", "both"])
@pytest.mark.parametrize("n", [2, 3])
def test_chance_is_the_mean_over_all_rankings(asks: Asks, n: int) -> None:
    if n == 3 and asks != "both":  # three rows of three, each by itself
        own = [np.argmax(order) == 0 for order in permutations(range(3))]
        assert np.mean(own) ** 3 == pytest.approx(Question("row", (0, 1, 2), (0, 1, 2), "a", asks).chance)
        return
    rankings = np.array(list(permutations(range(n * n))), dtype=np.int8).reshape(-1, n, n)
    fit = rankings[:, range(n), range(n)]
    best = np.ones(len(rankings), dtype=bool)
    for i in range(n):
        if asks != "recordings":
            best &= fit[:, i] == rankings[:, i, :].max(axis=1)
        if asks != "captions":
            best &= fit[:, i] == rankings[:, :, i].max(axis=1)
    places = tuple(range(n))
    question = Question("row", places, places, "a", asks)
    assert best.mean() == pytest.approx(question.chance)
    sample = rankings[:: len(rankings) // 24]
    assert [question.answered(ranking.astype(float)) for ranking in sample] == best[:: len(rankings) // 24].tolist()


def test_chance_of_pairs_triplets_and_choices() -> None:
    chance = {(n, asks): Question("r", tuple(range(n)), tuple(range(n)), "a", asks).chance
              for n in (2, 3) for asks in ("captions", "recordings", "both")}  # fmt: skip
    assert chance == {
        (2, "captions"): 1 / 4,
        (2, "recordings"): 1 / 4,
        (2, "both"): 1 / 6,
        (3, "captions"): pytest.approx(1 / 27),
        (3, "recordings"): pytest.approx(1 / 27),
        (3, "both"): 1 / 60,
    }
    assert Question("r", (0,), (0, 1, 2, 3), "a").chance == 1 / 4


def test_a_choice_is_right_if_the_first_caption_is_strictly_above_the_others() -> None:
    question = Question("row", (1,), (2, 0, 1), "a")
    assert question.answered(np.array([[9, 9, 0], [0.1, 0.2, 0.3]])) == 1
    assert question.answered(np.array([[9, 9, 0], [0.3, 0.2, 0.3]])) == 0


def test_scores_do_not_depend_on_scale_or_on_what_is_not_asked() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 3))
    test = asked(Question("row", *PAIR, "a", "both"), Question("row", (2,), (0, 1), "b"), shape=(3, 3))
    other = scores.copy()
    other[:, 2] = 100
    assert test.answers(scores) == test.answers(100 * scores - 7) == test.answers(other)


def test_rows_gather_questions_with_their_groups_and_mean_chance() -> None:
    test = asked(Question("row", (0,), (0, 1), "a"), Question("row", (1,), (1, 0, 2), "b"), shape=(2, 3))
    answers = test.answers(np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]]))["row"]
    assert (answers.values, answers.groups) == ([1, 0], ["a", "b"])
    assert answers.chance == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_a_gap_is_the_difference_of_two_galleries_question_by_question() -> None:
    places = (0, 1), ("x", "y"), ("a", "b")
    galleries = (Gallery("", (0, 1), *places), Gallery(" reversed", (0, 1), (2, 3), *places[1:]))
    rows = dict.fromkeys(("audio to text R@1", "audio to text R@1 reversed", "gap"), "")
    gaps = {"gap": ("audio to text R@1", "audio to text R@1 reversed")}
    test = asked(shape=(2, 4), galleries=galleries, gaps=gaps, rows=rows)
    scores = np.array([[1, 0, 0, 1], [0, 1, 0, 1]], dtype=float)  # of the reversals only the second is found
    answers = test.answers(scores)
    assert answers["audio to text R@1"].values == [1, 1] and answers["audio to text R@1"].chance == 1 / 2
    assert answers["audio to text R@1 reversed"].values == [0, 1]
    assert answers["gap"].values == [1, 0] and answers["gap"].signed and answers["gap"].chance == 0
    assert "text to audio R@1" not in answers  # the rows that are named alone


def test_in_a_gallery_equal_meanings_are_right_alike() -> None:
    gallery = Gallery("", (0, 1, 2), (0, 1, 2), ("x", "x", "y"), ("a", "b", "c"))
    scores = np.array([[0, 1, 0.5], [1, 0, 0.5], [0, 0, 1]])
    assert gallery.answers(scores)["audio to text R@1"].values == [1, 1, 1]


def test_similarities_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of shape \(2, 3\); \(2, 2\), \(recordings, captions\), is wanted"):
        asked(Question("row", *PAIR, "a")).answers(np.zeros((2, 3)))
