"""The metric `clap_order`, by the real `evaluate`: against transformers' own embeddings, `rank`, and by hand."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import soundfile
import torch
from scipy.stats import binomtest
from transformers import ClapModel, ClapProcessor

from support.clips import tone
from teminal_hf import FunctionEncoder, load_encoder, rank
from teminal_hf.errors import BadClipError, ConfigError, DataError, NotFoundError
from teminal_hf.integrations.load_by_name import METRIC_FILES
from teminal_hf.models.checkpoint import CLAP_MINI, checkpoint_path

RATE = 16_000
FORTH, BACK = "a low tone before a high tone", "a high tone before a low tone"
LOW, HIGH = tone(300, 1, RATE), tone(3000, 1, RATE)


@pytest.fixture(scope="module")
def metric() -> Any:
    return evaluate.load(str(METRIC_FILES["clap_order"]))


def listener(hears_order: float) -> FunctionEncoder:
    """Knows two pitches, and by `hears_order` which comes first: (low, high, low first)."""

    def audio(waveforms: Sequence[np.ndarray]) -> np.ndarray:
        rows = []
        for waveform in waveforms:
            halves = [np.abs(np.fft.rfft(half)) for half in np.array_split(waveform, 2)]
            low, high = ([half[: len(half) // 8].sum(), half[len(half) // 8 :].sum()] for half in halves)
            rows.append([1.0, 1.0, hears_order * np.sign(low[0] + high[1] - low[1] - high[0])])
        return np.array(rows)

    def text(captions: Sequence[str]) -> np.ndarray:
        first = [np.sign(caption.find("high") - caption.find("low")) for caption in captions]
        return np.array([[1.0, 1.0, hears_order * each] for each in first])

    return FunctionEncoder(audio, text, RATE, 10.0)


def test_the_order_is_seen_where_clapscore_sees_none(metric: Any) -> None:
    right, wrong = np.concatenate([LOW, HIGH]), np.concatenate([HIGH, LOW])
    for recordings, accuracy in (([right] * 3, 1.0), ([wrong] * 3, 0.0), ([right, right, wrong], 2 / 3)):
        result = metric.compute(predictions=recordings, references=[FORTH] * 3, model=listener(0.1), sampling_rate=RATE)
        interval = binomtest(round(3 * accuracy), 3).proportion_ci(method="wilson")
        assert result["order_accuracy"] == pytest.approx(accuracy) and result["chance"] == 0.5
        assert result["ci95"] == pytest.approx(list(interval))
        # Of unit vectors (1, 1, 0.1 s) / sqrt(2.01): cosines are (2 + 0.01) / 2.01 and (2 - 0.01) / 2.01.
        assert result["clap_score"] == pytest.approx(1 - (1 - accuracy) * 0.02 / 2.01)
        assert result["margin"] == pytest.approx((2 * accuracy - 1) * 0.02 / 2.01)
        assert result["model"] == "FunctionEncoder"


def test_a_tie_is_wrong(metric: Any) -> None:
    result = metric.compute(predictions=[LOW] * 2, references=[FORTH, BACK], model=listener(0.0), sampling_rate=RATE)
    assert result["clap_score"] == pytest.approx(1) and result["margins"] == [0, 0]
    assert (result["order_accuracy"], result["margin"]) == (0.0, 0.0)


def test_captions_without_order_are_left_out_and_counted(metric: Any, caplog: pytest.LogCaptureFixture) -> None:
    sound, captions = np.concatenate([LOW, HIGH]), ["a low tone", FORTH, "a low and a high tone"]
    given = {"predictions": [sound] * 3, "model": listener(0.1), "sampling_rate": RATE}
    result = metric.compute(references=captions, **given)
    assert (result["n"], result["n_order"], result["n_without_order"]) == (3, 1, 2)
    assert [margin is None for margin in result["margins"]] == [True, False, True]
    assert result["order_accuracy"] == 1 and result["margin"] == result["margins"][1]
    assert "2 of 3 captions hold no order that can be reversed" in caplog.text and "'a low tone'" in caplog.text
    result = metric.compute(references=[captions[0]] * 3, **given)
    assert result["order_accuracy"] is result["ci95"] is result["margin"] is None
    assert result["clap_score"] == pytest.approx(1.99 / 2.01)  # the listener takes it for the other order


def test_reversals_may_be_given(metric: Any) -> None:
    sound, odd, reverse = np.concatenate([LOW, HIGH]), "low, and high at last", "high, and low at last"
    given = {"predictions": [sound] * 2, "references": [odd, FORTH], "model": listener(0.1), "sampling_rate": RATE}
    assert metric.compute(**given)["n_order"] == 1
    result = metric.compute(reversed_references=[reverse, None], **given)
    assert (result["n_order"], result["order_accuracy"], result["margins"][1]) == (1, 1.0, None)
    assert result["margins"][0] == pytest.approx(0.02 / 2.01)


@pytest.fixture(scope="module")
def recordings() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal(RATE * n).astype(np.float32) + tone(400 * n, n, RATE) for n in (2, 5, 13)]


CAPTIONS = ["A dog barks before rain falls.", "thunder followed by a cat", "church bells"]
REVERSALS = ["Rain falls before a dog barks.", "a cat followed by thunder"]


def test_figures_are_those_of_transformers(metric: Any, recordings: list[np.ndarray]) -> None:
    """A `ClapModel` asked by its own methods, without this package's log-mel, split or tokenizing."""
    path = checkpoint_path(CLAP_MINI)
    model, processor = ClapModel.from_pretrained(path).eval(), ClapProcessor.from_pretrained(path)
    audio = processor.feature_extractor(
        recordings[:2], sampling_rate=RATE, padding="pad", truncation="rand_trunc", return_tensors="pt"
    )
    tokens = processor.tokenizer([*CAPTIONS[:2], *REVERSALS], padding=True, return_tensors="pt")
    tokens = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        heard = model.get_audio_features(input_features=audio["input_features"]).pooler_output
        read = model.get_text_features(**tokens).pooler_output
    cosines = torch.nn.functional.normalize(heard, dim=-1) @ torch.nn.functional.normalize(read, dim=-1).T
    caption, reversal = cosines[:, :2].diagonal(), cosines[:, 2:].diagonal()
    result = metric.compute(predictions=recordings[:2], references=CAPTIONS[:2], sampling_rate=RATE)
    assert result["clap_score"] == pytest.approx(caption.mean().item(), abs=1e-5)
    assert result["margins"] == pytest.approx((caption - reversal).tolist(), abs=1e-5)
    assert result["order_accuracy"] == (caption > reversal).double().mean().item()


def test_files_arrays_and_rows_are_one(metric: Any, recordings: list[np.ndarray], tmp_path: Path) -> None:
    files = [tmp_path / f"{row}.wav" for row in range(3)]
    for file, recording in zip(files, recordings, strict=True):
        soundfile.write(file, recording, RATE, subtype="FLOAT")
    truth = metric.compute(predictions=recordings, references=CAPTIONS, sampling_rate=RATE)
    assert truth["windowed"] == 1 and truth["n_order"] == 2
    rows = [{"array": recording.tolist(), "sampling_rate": RATE} for recording in recordings]
    for predictions in (files, [str(file) for file in files], rows, [files[0], rows[1], rows[2]]):
        assert metric.compute(predictions=predictions, references=CAPTIONS) == truth
    for row, caption in zip(rows, CAPTIONS, strict=True):
        metric.add(prediction=row, reference=caption)
    assert metric.compute() == truth
    # Not both in one call: datasets 4.0 puts what was added alone behind the batches.
    metric.add_batch(predictions=files[:1], references=CAPTIONS[:1])
    metric.add_batch(predictions=rows[1:], references=CAPTIONS[1:])
    assert metric.compute() == truth


def test_other_rates_are_resampled(metric: Any) -> None:
    sounds = [np.concatenate([tone(300, 1, rate), tone(3000, 1, rate)]) for rate in (RATE, 44_100)]
    rows = [{"array": sound, "sampling_rate": rate} for sound, rate in zip(sounds, (RATE, 44_100), strict=True)]
    one, other = metric.compute(predictions=rows, references=[FORTH] * 2, model=CLAP_MINI)["margins"]
    assert one == pytest.approx(other, abs=2e-2)


def test_long_recordings_are_heard_as_rank_hears_them(metric: Any, recordings: list[np.ndarray]) -> None:
    ranked = rank(load_encoder(CLAP_MINI), recordings[2], [FORTH, BACK])
    similarity = dict(ranked.captions)
    result = metric.compute(predictions=recordings[2:], references=[FORTH], sampling_rate=RATE)
    assert ranked.windows == 2 and result["windowed"] == 1
    assert result["clap_score"] == pytest.approx(similarity[FORTH], abs=1e-6)
    assert result["margin"] == pytest.approx(similarity[FORTH] - similarity[BACK], abs=1e-6)


def test_the_default_is_called_a_toy(metric: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "teminal_hf"):
        result = metric.compute(predictions=[LOW], references=[FORTH], sampling_rate=RATE)
    assert "clap-mini is a toy that knows synthetic sounds alone" in caplog.text and result["model"] == CLAP_MINI


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"predictions": [LOW]}, ConfigError, "recording 1 is an array of unknown rate; give sampling_rate=..., in Hz"),
        ({"predictions": ["none.wav"]}, NotFoundError, "there is no file none.wav"),
        ({"predictions": "one.wav"}, ConfigError, "found the one path; give ['one.wav']"),
        ({"predictions": [np.zeros((1, 9), np.float32)]}, DataError, "has shape (1, 9) and type float32; mono floats"),
        ({"predictions": [np.zeros(9, np.int16)]}, DataError, "type int16; mono floats (samples,), full scale +-1"),
        ({"predictions": [{"path": "a"}]}, DataError, 'a dict of path; "array" and "sampling_rate" are wanted'),
        ({"predictions": [0 * LOW], "sampling_rate": RATE}, BadClipError, "recording 1 is silent (peak 0.0e+00"),
        ({"predictions": [LOW * np.nan], "sampling_rate": RATE}, DataError, "recording 1 holds NaN or infinite"),
        ({"references": [" "]}, DataError, "caption 1 of 1 is empty"),
        ({"reversed_references": []}, DataError, "found 1, 1 and 0"),
        ({"reversed_references": [FORTH]}, DataError, f"the reversal of caption 1, '{FORTH}', is '{FORTH}'; give None"),
        ({"reversed_references": [""]}, DataError, "is ''; give None if it has no order"),
        ({"predictions": [], "references": []}, DataError, "there is no recording to score"),
        ({"model": object()}, ConfigError, "object is no encoder"),
        ({"predictions": [LOW] * 2}, ValueError, "Mismatch in the number of predictions (2) and references (1)"),
    ],
)
def test_what_makes_no_sense_is_said(given: dict[str, Any], error: type[Exception], message: str) -> None:
    metric = evaluate.load(str(METRIC_FILES["clap_order"]))  # what one call has left must not reach another
    good = {"predictions": [{"array": LOW, "sampling_rate": RATE}], "references": [FORTH], "model": listener(0.1)}
    with pytest.raises(error, match=re.escape(message)):
        metric.compute(**{**good, **given})
