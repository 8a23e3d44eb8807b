"""Encoders that hear the order of two tones, and one that does not, put through a test; windows; chunks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.order_tests import RATE, ByPitch, write_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import BadClipError, CheckpointError, DataError
from teminal_hf.evaluation.zste import wilson_interval
from teminal_hf.order_tests.draft import Draft
from teminal_hf.order_tests.questions import OrderTest
from teminal_hf.order_tests.report import comparison_table, results_table, to_json
from teminal_hf.order_tests.running import RECORDINGS, audible, check_comparable, run_order_test

PITCHES = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0)


def order_test(folder: Path, n: int = 6) -> tuple[OrderTest, dict[str, tuple[float, float]]]:
    """Two tones in sequence, n times, and the captions' pitches."""
    draft, captions = Draft(), {}
    for i in range(n):
        x, y = PITCHES[i % 6], PITCHES[(i // 6 + i + 1) % 6]
        texts = [f"{x:.0f} before {y:.0f}", f"{y:.0f} before {x:.0f}"]
        captions |= {texts[0]: (x, y), texts[1]: (y, x)}
        draft.ask("order", [(write_sound(folder / f"{i}.wav", x, y),)], texts, f"{i}.wav")
    draft.leave_out("rows without a sound")
    return draft.test("some", folder, {"order": "X before Y, or Y before X"}), captions


def test_who_hears_order_has_all_right_and_who_does_not_has_none(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path)
    hears = run_order_test(test, ByPitch(captions))
    row = {"accuracy": 1.0, "chance": 0.5, "n": 6, "ci95": list(wilson_interval(6, 6))}
    assert hears.results == {"order": row} and hears.windowed == 0
    assert hears.items == {"order": {"clips": [f"{i}.wav" for i in range(6)], "right": [1.0] * 6}}
    deaf = run_order_test(test, ByPitch(captions, deaf=True))
    assert deaf.results["order"]["accuracy"] == 0  # ties


def test_a_wrong_table_of_captions_has_all_wrong(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path)
    exchanged = {text: pitches[::-1] for text, pitches in captions.items()}
    assert run_order_test(test, ByPitch(exchanged)).results["order"]["accuracy"] == 0


def test_recordings_are_decoded_a_few_at_a_time_and_each_once(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path, n=RECORDINGS + 3)
    encoder = ByPitch(captions)
    run_order_test(test, encoder)
    assert encoder.batches == [RECORDINGS, 3]


def test_what_is_longer_than_the_encoder_hears_goes_through_windows(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path)  # half a second each
    encoder = ByPitch(captions, max_seconds=0.25)
    report = run_order_test(test, encoder)
    assert report.windowed == 6 and set(encoder.heard) == {RATE // 4}
    assert report.results["order"]["accuracy"] == 0  # one tone in each window: what order there was is lost
    text = results_table(test, report).markdown()
    assert "6 of 6 recordings are longer than the model hears" in text
    whole = run_order_test(test, ByPitch(captions, max_seconds=0.5))
    assert whole.windowed == 0 and whole.results["order"]["accuracy"] == 1
    assert "longer" not in results_table(test, whole).markdown()


@pytest.mark.parametrize(("level", "right"), [(0.19, 0.0), (0.21, 1.0)])
def test_similarities_of_windows_are_averaged(tmp_path: Path, level: float, right: float) -> None:
    """One caption fits the first window by 1 and the second by -0.6, 0.2 on average, the other both by `level`."""

    class TwoWindows(ByPitch):
        def embed_audio(self, waveforms: Sequence[Waveform]) -> np.ndarray:
            assert len(waveforms) == 2
            return np.array([[7, 0, 0], [-1.2, 1.6, 0]])  # of any length

        def embed_text(self, captions: Sequence[str]) -> np.ndarray:
            return np.array([[level, 2 * level, (1 - 5 * level**2) ** 0.5], [3, 0, 0]])

    draft = Draft()
    path = write_sound(tmp_path / "a.wav", 100.0, 200.0)
    draft.ask("order", [(path,)], ["steady", "sudden"], "a")
    report = run_order_test(draft.test("some", tmp_path, {"order": ""}), TwoWindows({}, max_seconds=0.25))
    assert report.results["order"]["accuracy"] == right


def test_parts_of_a_recording_are_heard_one_after_the_other(tmp_path: Path) -> None:
    parts = tuple(write_sound(tmp_path / f"{pitch}.wav", pitch) for pitch in (100.0, 300.0))
    draft = Draft()
    draft.ask("order", [parts], ["low before high", "high before low"], "a")
    captions = {"low before high": (100.0, 300.0), "high before low": (300.0, 100.0)}
    report = run_order_test(draft.test("some", tmp_path, {"order": ""}), ByPitch(captions))
    assert report.results["order"]["accuracy"] == 1


def test_files_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path)
    (tmp_path / "3.wav").write_bytes(b"no sound")
    with pytest.raises(BadClipError, match=r"3\.wav cannot be decoded"):
        run_order_test(test, ByPitch(captions))


def test_a_few_that_cannot_be_heard_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    test, captions = order_test(tmp_path, n=30)
    assert audible(test) is test
    soundfile.write(tmp_path / "3.wav", np.zeros(RATE), RATE)
    kept = audible(test)
    assert "3.wav is silent" in caplog.text and "1 of 30 clips left out" in caplog.text
    assert kept.left_out == {"rows without a sound": 1, "questions about recordings that cannot be used": 1}
    report = run_order_test(kept, ByPitch(captions))
    assert report.results["order"]["n"] == 29 and report.results["order"]["accuracy"] == 1
    assert report.items["order"]["clips"] == [f"{i}.wav" for i in range(30) if i != 3]
    (tmp_path / "4.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match="2 of 30 clips cannot be used"):
        audible(test)


def test_an_item_is_left_out_of_all_galleries(tmp_path: Path) -> None:
    draft = Draft()
    sounds = [(tmp_path / f"{i}.wav",) for i in range(4)]
    for i, (heard, found) in enumerate(((sounds[:3], "abc"), (sounds[1:], "bcd"))):
        draft.find(str(i), heard, [f"{x}{i}" for x in found], found, found)
    draft.ask("order", sounds[:1], ["a0", "b0"], "a")
    draft.ask("order", sounds[3:], ["d1", "b0"], "d")
    test = draft.test("some", tmp_path, {"order": ""}).about([0, 1, 3], "gone")
    assert test.recordings == tuple(sounds[i] for i in (0, 1, 3)) and test.left_out == {}
    # sounds[2] is the third of the first gallery and the second of the other
    assert [(g.recordings, g.meanings) for g in test.galleries] == [((0,), ("a",)), ((1,), ("b",))]
    assert [question.recordings for question in test.questions] == [(0,), (2,)]
    with pytest.raises(DataError, match="nothing of some can be asked; left out: 2 gone"):
        test.about([1], "gone")


def test_embeddings_that_are_none_are_refused(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path)
    encoder = ByPitch(captions)
    encoder.embed_text = lambda captions: np.full((len(captions), 65), np.nan)  # type: ignore[method-assign]
    with pytest.raises(CheckpointError, match="NaN"):
        run_order_test(test, encoder)


def test_two_models_have_a_paired_difference(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path)
    check_comparable(test)
    reports = [run_order_test(test, ByPitch(captions, deaf=deaf)) for deaf in (True, False)]
    table = comparison_table(test, ("deaf", "hears"), reports)
    assert table.columns == ("chance", "n", "deaf", "hears", "difference")
    chance, n, before, after, difference = map(str, table.rows["order"])
    assert (chance, n, before[:3], after[:5], difference) == ("50.0", "6", "0.0", "100.0", "+100.0 [+100.0, +100.0]")
    text = table.markdown()
    assert "- order: X before Y, or Y before X" in text and "Left out: rows without a sound (1)." in text
    same = comparison_table(test, ("deaf", "deaf"), reports[:1] * 2)
    assert str(same.rows["order"][-1]) == "+0.0 [+0.0, +0.0]"


def test_a_difference_needs_two_recordings(tmp_path: Path) -> None:
    test, _ = order_test(tmp_path, n=1)
    with pytest.raises(DataError, match="'order' are about one recording; the interval of a difference needs two"):
        check_comparable(test)


def test_what_is_written_keeps_every_question(tmp_path: Path) -> None:
    test, captions = order_test(tmp_path)
    written = to_json(test, run_order_test(test, ByPitch(captions)))
    assert written["left_out"] == {"rows without a sound": 1}
    assert written["items"]["order"]["right"] == [1.0] * 6 and written["recordings"] == 6 and written["windowed"] == 0
