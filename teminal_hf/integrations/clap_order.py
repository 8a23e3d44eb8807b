"""`clap_order`, a metric of `evaluate`: does generated audio fit its caption, and better than the caption's reversal?

It needs the package, unlike zste.py. What is imported by `evaluate` is a copy of this file.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np

from teminal_hf.audio.resampling import resample
from teminal_hf.audio.waveform import Waveform, trim_bounds
from teminal_hf.errors import BadClipError, ConfigError, DataError
from teminal_hf.evaluation.bootstrap import wilson_interval
from teminal_hf.evaluation.ranking import check_captions, mean_embeds, waveform_of
from teminal_hf.hub.cards import CITATION, PAPER
from teminal_hf.integrations.encoders import as_encoder, load_encoder
from teminal_hf.integrations.reversal import reversed_caption
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.models.encoder import Encoder, text_embeds

CHANCE = 0.5
RECORDINGS = 16  # decoded at a time

logger = logging.getLogger("teminal_hf")  # not of the copy

_DESCRIPTION = """\
CLAPScore, the mean cosine similarity of generated audio and its caption, hardly changes when the sounds come in the
wrong order. clap_order says beside it how often a recording fits its caption better than the caption's reversal: "a dog
barks before rain falls" than "rain falls before a dog barks".
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions: one recording per item: the path of a sound file (wav, flac, ogg, mp3), a mono array (samples,) of
        floats, or {"array": ..., "sampling_rate": ...}.
    references: one caption per item, what the recording was generated from.
    model: what embeds both: a checkpoint folder, a Hub id, or an encoder. The default, "clap-mini", is a toy that knows
        synthetic sounds: name your own.
    sampling_rate: of the arrays that do not bring theirs, in Hz.
    reversed_references: the reversed captions, where you have them: one per item, None for a caption without order.
        Default: by teminal_hf's table of connectives.
Returns:
    "clap_score": mean cosine of all recordings and their captions, in [-1, 1].
    "order_accuracy": share of the captions with order whose recording fits them strictly better than their reversal, in
        [0, 1]; None if there are none. "chance": 0.5. "ci95": its Wilson 95 % interval, [low, high], or None.
    "margin": mean of cosine to the caption minus cosine to its reversal, in [-2, 2], or None.
    "n", "n_order", "n_without_order": items; those with an order that can be reversed; those left out of the order.
    "margins": of each item, None where it is left out. "windowed": recordings longer than the model hears at once.
    "model": its name. Higher is better for all but the counts.
Example:
    >>> import teminal_hf, evaluate
    >>> metric = evaluate.load("clap_order")
    >>> result = metric.compute(predictions=["one.wav"], references=["a dog barks before rain falls"], model="MODEL")
"""


def score(
    encoder: Encoder,
    recordings: Sequence[str | Path | Waveform],
    captions: Sequence[str],
    reversals: Sequence[str | None],
) -> dict[str, Any]:
    """What the metric returns but for the model's name.

    Args:
        encoder: embeds all.
        recordings: n files, or mono arrays at the encoder's rate; one longer than it hears goes through evenly spaced
            windows, whose similarities are averaged, as `rank` hears it.
        captions: n of them.
        reversals: n captions in the other order; None where there is none.

    Raises:
        ConfigError, DataError, NotFoundError: as of `rank`; unequal numbers; a reversal that is its caption.
    """
    _check(recordings, captions, reversals)
    text, ordered = text_embeds(encoder, captions), [row for row, each in enumerate(reversals) if each is not None]
    away = text.copy()  # of a caption without order the reversal is itself here: no margin
    if ordered:
        away[ordered] = text_embeds(encoder, [each for each in reversals if each is not None])
    cosines, margins, windowed = [], [], 0
    for start in range(0, len(recordings), RECORDINGS):
        waveforms = [waveform_of(recording, encoder) for recording in recordings[start : start + RECORDINGS]]
        audio, windows = mean_embeds(encoder, waveforms)
        rows = slice(start, start + len(audio))
        cosines += (audio * text[rows]).sum(axis=1).tolist()
        margins += (audio * (text[rows] - away[rows])).sum(axis=1).tolist()
        windowed += sum(count > 1 for count in windows)
    return {
        "clap_score": float(np.mean(cosines)),
        **_order([margins[row] for row in ordered]),
        "n": len(captions),
        "n_order": len(ordered),
        "n_without_order": len(captions) - len(ordered),
        "windowed": windowed,
        "margins": [margin if each is not None else None for margin, each in zip(margins, reversals, strict=True)],
    }


def _order(margins: Sequence[float]) -> dict[str, Any]:
    if not margins:
        return {"order_accuracy": None, "chance": CHANCE, "ci95": None, "margin": None}
    right = sum(margin > 0 for margin in margins)
    return {
        "order_accuracy": right / len(margins),
        "chance": CHANCE,
        "ci95": list(wilson_interval(right, len(margins))),
        "margin": float(np.mean(margins)),
    }


def _check(recordings: Sequence[Any], captions: Sequence[str], reversals: Sequence[str | None]) -> None:
    if not len(recordings):
        raise DataError("there is no recording to score; give at least one, with its caption")
    check_captions(captions)
    if not len(recordings) == len(captions) == len(reversals):
        raise DataError(
            "recordings, captions and reversed captions need one entry per item each, found "
            f"{len(recordings)}, {len(captions)} and {len(reversals)}"
        )
    for number, (caption, each) in enumerate(zip(captions, reversals, strict=True), 1):
        if each is not None and each.strip() in ("", caption.strip()):
            raise DataError(f"the reversal of caption {number}, {caption!r}, is {each!r}; give None if it has no order")


def _stored(recording: Any) -> dict[str, Any]:
    """A recording as `evaluate` can keep it until it is asked: a path, or samples with their rate (0: not known)."""
    if isinstance(recording, str | Path):
        return {"path": str(recording), "samples": b"", "sampling_rate": 0}
    rate = 0
    if isinstance(recording, Mapping):
        if not {"array", "sampling_rate"} <= set(recording):
            raise DataError(f'a recording is a dict of {", ".join(recording)}; "array" and "sampling_rate" are wanted')
        recording, rate = recording["array"], recording["sampling_rate"]
    samples = np.asarray(recording)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise DataError(
            f"a recording has shape {samples.shape} and type {samples.dtype}; mono floats (samples,), full scale +-1, "
            "are wanted: take one channel, or divide integers by their full scale"
        )
    return {"path": "", "samples": samples.astype(np.float32).tobytes(), "sampling_rate": rate}


def _recording(stored: dict[str, Any], number: int, encoder: Encoder, sampling_rate: int | None) -> str | Waveform:
    """A path, or samples at the encoder's rate."""
    if stored["path"]:
        return str(stored["path"])
    rate = stored["sampling_rate"] or sampling_rate
    if not rate or rate < 0:
        raise ConfigError(f"recording {number} is an array of unknown rate; give sampling_rate=..., in Hz")
    waveform = np.frombuffer(stored["samples"], np.float32).copy()  # of bytes it is read-only, which torch warns of
    if not np.isfinite(waveform).all():
        raise DataError(f"recording {number} holds NaN or infinite samples; leave it and its caption out")
    if rate != encoder.sampling_rate:
        waveform = resample(waveform, rate, encoder.sampling_rate)
    try:
        trim_bounds(waveform, encoder.sampling_rate)
    except BadClipError as error:
        raise BadClipError(f"recording {number} {error}; leave it and its caption out") from error
    return waveform


class ClapOrder(evaluate.Metric):
    """`score` as a metric of `evaluate`: `compute(predictions=..., references=..., model=...)`."""

    def _info(self) -> evaluate.MetricInfo:
        # Bytes: as lists of floats a hundred recordings would take gigabytes.
        recording = {"path": "string", "samples": "large_binary", "sampling_rate": "int64"}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": {name: datasets.Value(kind) for name, kind in recording.items()},
                    "references": datasets.Value("string"),
                }
            ),
            reference_urls=[f"https://arxiv.org/abs/{PAPER}"],
        )

    # evaluate adds its own words to these docstrings, and fails where there are none.
    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """One recording and its caption."""
        # With datasets 4.0 evaluate's own writes it later than batches that come after it: out of order.
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Recordings and their captions."""
        if isinstance(predictions, str | Path):
            raise ConfigError(
                f"predictions must be a list of recordings, found the one path; give [{str(predictions)!r}]"
            )
        super().add_batch(predictions=[_stored(each) for each in predictions], references=references, **kwargs)

    def _compute(
        self,
        *,
        predictions: list[dict[str, Any]],
        references: list[str],
        model: str | Any = CLAP_MINI,
        sampling_rate: int | None = None,
        reversed_references: Sequence[str | None] | None = None,
    ) -> dict[str, Any]:
        if model == CLAP_MINI:
            logger.warning(
                "clap-mini is a toy that knows synthetic sounds alone; name a checkpoint of yours: model=..."
            )
        reversals = reversed_references
        if reversals is None:
            reversals = [reversed_caption(caption) for caption in references]
        encoder = load_encoder(model) if isinstance(model, str) else as_encoder(model)
        recordings = [_recording(each, number, encoder, sampling_rate) for number, each in enumerate(predictions, 1)]
        result = score(encoder, recordings, references, reversals)
        if result["n_without_order"]:
            example = next(caption for caption, each in zip(references, reversals, strict=True) if each is None)
            logger.warning(
                "%d of %d captions hold no order that can be reversed, and count in clap_score alone, such as %r",
                result["n_without_order"],
                result["n"],
                example,
            )
        return {**result, "model": model if isinstance(model, str) else type(model).__name__}
