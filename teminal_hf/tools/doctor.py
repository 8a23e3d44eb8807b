"""Findings of `teminal doctor`: is a checkpoint fit to hear order, and are your sounds fit for it?

The processor is read as it is stored, before `load_clap` mends it: that is what a user of plain transformers meets.
"""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch
from huggingface_hub import is_offline_mode
from transformers import AutoConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips import soundbank
from teminal_hf.clips.sources import sound_bank
from teminal_hf.data.captions import spoken
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.data.zste_items import PROMPT
from teminal_hf.errors import CheckpointError, DataError, NotFoundError, TeminalError
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.hub.offline import saying_what_to_fetch
from teminal_hf.integrations.encoders import load_encoder
from teminal_hf.models.checkpoint import ANOTHER, check_place, checkpoint_path, first_line, read_weights
from teminal_hf.models.embed import COLLAPSED, ClapEncoder, collapse_similarity
from teminal_hf.models.encoder import Encoder, audio_embeds, text_embeds
from teminal_hf.models.fitness import processor_amiss
from teminal_hf.models.fusion import without_fusion
from teminal_hf.models.hearing import Hearing, hearing, is_fused

Level = Literal["ok", "warning", "problem"]

ORDER_ITEMS = 40  # a checkpoint of laion's size answers them, loading apart, in about ten seconds on two CPU cores
MAX_SCALE = 100.0  # where CLAP clamps it

_SAVE_BASES = "save the base's beside the weights: `ClapProcessor.from_pretrained(BASE).save_pretrained(FOLDER)`"
_FETCH = "HF_HUB_OFFLINE forbids asking the Hub; fetch it once, online: hf download {}"
_SAVE_ANEW = 'save it anew, mended: `save_checkpoint(*load_clap("{}"), "FOLDER")`, both from teminal_hf'


@dataclass(frozen=True)
class Finding:
    """One thing found out. "problem": this package refuses it, or it cannot give sensible answers. "warning": plain
    transformers gets it wrong and this package does not, or the figures are poor. `fix` is empty where all is well."""

    level: Level
    what: str
    fix: str = ""


def diagnose(model_name: str, sounds: Sequence[str | Path] = ()) -> list[Finding]:
    """Examine a checkpoint (folder, Hub id or "clap-mini") and audio files that it is to hear.

    Nothing is raised for a bad checkpoint or a bad file: that is a finding. Ten seconds and more of the time are the
    order check, left out where weights or processor are not fit for it.
    """
    return list(_findings(model_name, sounds))


def _findings(name: str, sounds: Sequence[str | Path]) -> Iterator[Finding]:
    path = checkpoint_path(name)
    if (Path(path) / "modules.json").is_file():  # what sentence-transformers has saved
        yield from _of_another_kind(name, sounds)
        return
    try:
        check_place(name)
        with saying_what_to_fetch(str(path), f"hf download {name}"):
            config = AutoConfig.from_pretrained(path)
    except CheckpointError as error:
        yield Finding("problem", str(error), "name a checkpoint folder or a Hub id")
        return
    except (OSError, ValueError) as error:
        yield Finding("problem", f"{name} cannot be read: {first_line(error)}", "name a checkpoint folder or a Hub id")
        return
    if config.model_type != "clap":
        yield from _of_another_kind(name, sounds)
        return
    yield _fusion(is_fused(config))
    processor = yield from _processor(path, name)
    model = yield from _weights(path, name)
    if processor is not None and (amiss := processor_amiss(config, processor, path)):
        yield from (Finding("problem", what, _SAVE_BASES) for what in amiss)
        return
    if processor is not None:
        for sound in sounds:
            yield _sound(hearing(config, processor.feature_extractor), processor, sound)
        if model is not None:
            yield from _answers(name, ClapEncoder(model, processor))


def _of_another_kind(name: str, sounds: Sequence[str | Path]) -> Iterator[Finding]:
    """Of a model that is no CLAP, what any encoder can be asked."""
    try:
        encoder = load_encoder(name)
    except TeminalError as error:
        yield Finding("problem", str(error), "name a CLAP checkpoint, such as laion/clap-htsat-unfused")
        return
    longest = encoder.max_seconds
    window = "recordings of any length whole" if longest is None else f"up to {longest:g} s"
    kind, rate = type(encoder).__name__, encoder.sampling_rate
    yield Finding("ok", f"no CLAP, but opened as {kind}: hears {window}, at {rate} Hz")
    for sound in sounds:
        found = _read(sound, rate)
        if not isinstance(found, Finding):
            what, waveform = found
            found = Finding("ok", f"{what}; {_here(len(waveform) / rate, longest)}")
        yield found
    yield from _answers(name, encoder)


def _is_not_here(path: str | Path) -> bool:
    return is_offline_mode() and not Path(path).exists()


def _fusion(fused: bool) -> Finding:
    if not fused:
        return Finding("ok", "a CLAP checkpoint, not fused")
    what = (
        "a fused CLAP checkpoint: plain transformers mixes random crops of long audio, and of short audio treats one "
        "random recording of each batch so. This package opens it unfused, to recordings within its window the same to "
        "the last bit, and saves it with its fusion"
    )
    return Finding("warning", what, "in plain transformers pass is_longer=False for what fits the window")


def _processor(path: str | Path, name: str) -> Generator[Finding, None, ClapProcessor | None]:
    """What the stored processor does to audio; returns it, or None where there is none."""
    try:
        processor = ClapProcessor.from_pretrained(path)
    except (TeminalError, ImportError, MemoryError):
        raise
    except Exception as error:  # of any class, as in `load_clap`
        if _is_not_here(path):
            yield Finding("problem", f"the processor of {name} is not on this machine", _FETCH.format(name))
            return None
        what = f"the processor (extractor and tokenizer) cannot be read: {first_line(error)}"
        yield Finding("problem", what, _SAVE_BASES)
        return None
    extractor = processor.feature_extractor
    yield _padding(extractor, name)
    window, samples = f"{extractor.max_length_s} s at {extractor.sampling_rate} Hz", _plain_window(processor)
    if samples == extractor.nb_max_samples:
        yield Finding("ok", f"hears {window}; plain transformers crops what is longer at random")
    else:
        what = (
            f"the stored tokenizer has max_length={samples}, which plain transformers takes for audio too: instead of "
            f"{window} it hears {samples} samples ({1000 * samples / extractor.sampling_rate:.1f} ms) at random"
        )
        yield Finding("warning", what, _SAVE_ANEW.format(name))
    return processor


def _padding(extractor: ClapFeatureExtractor, name: str) -> Finding:
    stored = f'the stored processor has padding="{extractor.padding}"'
    if extractor.padding == "pad":
        return Finding("ok", f"{stored}: short clips are followed by silence, never repeated")
    what = f"{stored}: plain transformers repeats a short clip, so that A, B becomes A, B, A, B; this package pads"
    return Finding("warning", what, _SAVE_ANEW.format(name))


def _plain_window(processor: ClapProcessor) -> int:
    """Samples that plain `ClapProcessor` lets through. A tokenizer that was saved after it had truncated holds a
    `max_length`, and a processor hands its tokenizer's settings to the extractor as well."""
    return int(processor.tokenizer.init_kwargs.get("max_length") or processor.feature_extractor.nb_max_samples)


def _read(sound: str | Path, rate: int) -> tuple[str, Waveform] | Finding:
    """What is said of a file, and its waveform at `rate`; or what is wrong with it."""
    try:
        waveform = read_sound(sound, rate)
    except (DataError, NotFoundError) as error:
        return Finding("problem", str(error), "repair it, or leave it out")
    except OSError as error:
        return Finding("problem", f"{sound} cannot be read ({error.strerror})", "name a file that is there")
    with soundfile.SoundFile(sound) as file:
        stored = file.samplerate
    what = f"{sound}: {len(waveform) / rate:.3f} s at {stored} Hz"
    if stored != rate:
        what += f", which must be resampled to {rate} Hz (done here; plain transformers leaves it to you)"
    return what, waveform


def _here(seconds: float, window: float | None) -> str:
    """What is done here to a recording."""
    if window is None or seconds == window:
        return "heard as it is"
    if seconds > window:
        return f"`teminal rank` hears it through {math.ceil(seconds / window)} evenly spaced windows"
    return "padded with silence"


def _sound(heard: Hearing, processor: ClapProcessor, sound: str | Path) -> Finding:
    """Would plain transformers tile or crop this file, and what is done here instead?"""
    found = _read(sound, heard.sampling_rate)
    if isinstance(found, Finding):
        return found
    what, seconds = found[0], len(found[1]) / heard.sampling_rate
    here = _here(seconds, heard.seconds)
    spoilt = _spoilt(heard, seconds, _plain_window(processor) / heard.sampling_rate)
    if not spoilt:
        return Finding("ok", f"{what}; {here}")
    return Finding("warning", f"{what}; {spoilt}", f"here: {here}")


def _spoilt(heard: Hearing, seconds: float, window: float) -> str:
    """What plain transformers, through a window of `window` seconds, does to a recording that changes what is heard
    when; "" for nothing."""
    if seconds > window:
        lost = f"{1 - window / seconds:.0%}"
        if heard.random_crops > 1:
            return f"plain transformers mixes three random crops of it, of which each loses {lost}"
        return f"plain transformers crops it at random, another way at each call: {lost} is lost"
    if seconds < window and seconds <= heard.tiled_up_to:
        to_the_brim = heard.tiled_up_to == heard.seconds
        times = f"{window / seconds:.2f}" if to_the_brim else str(int(window / seconds + 1e-9))
        return f"plain transformers repeats it, {times} times"
    return ""


def _weights(path: str | Path, name: str) -> Generator[Finding, None, ClapModel | None]:
    """Are the weights there, as safetensors, all of them and finite? Returns the model where it can be asked."""
    try:
        model, amiss = read_weights(path)
    except (TeminalError, ImportError, MemoryError):
        raise
    except Exception as error:  # of any class, as in `load_clap`
        if _is_not_here(path):
            yield Finding("problem", f"the weights of {name} are not on this machine", _FETCH.format(name))
            return None
        what = f"no weights that can be read from safetensors: {first_line(error)}"
        fix = (
            "a pickle (pytorch_model.bin) is never read here, for it runs code. If you trust it: "
            f'`ClapModel.from_pretrained("{name}", use_safetensors=False).save_pretrained("FOLDER")`'
        )
        yield Finding("problem", what, fix)
        return None
    for what in amiss:
        yield Finding("problem", what, ANOTHER)
    if amiss:
        return None
    yield _scale(model)
    try:
        return without_fusion(model, name).eval()
    except CheckpointError as error:
        yield Finding("problem", str(error), "use another checkpoint")
        return None


def _scale(model: ClapModel) -> Finding:
    scale = model.logit_scale_a.exp().item()
    count = sum(parameter.numel() for parameter in model.parameters())
    what = f"{count / 1e6:.2f} M weights in safetensors, all finite; logit scale {scale:.1f}"
    if 1 <= scale <= MAX_SCALE * (1 + 1e-4):
        return Finding("ok", what)
    fix = "rankings stay as they are; for probabilities or training set it to a usual one, such as log(1 / 0.07)"
    return Finding("warning", f"{what}, outside of 1 to {MAX_SCALE:.0f}", fix)


def _answers(name: str, encoder: Encoder) -> Iterator[Finding]:
    captions = [PROMPT.format(spoken(label)) for label in soundbank.CLASSES]
    try:
        mean = collapse_similarity(torch.from_numpy(text_embeds(encoder, captions)))
        audio_embeds(encoder, [np.ones(RenderSettings.of(encoder).samples, np.float32)])
    except CheckpointError as error:
        yield Finding("problem", str(error), ANOTHER)
        return
    if mean > COLLAPSED:
        what = (
            f"the text tower has collapsed: {len(captions)} different captions get nearly one embedding (mean cosine "
            f"{mean:.3f}), as in laion/larger_clap_music (embeddings-benchmark/mteb#5069); no order check"
        )
        yield Finding("problem", what, "use another checkpoint, such as laion/clap-htsat-unfused")
        return
    yield Finding("ok", f"the text tower tells captions apart (mean cosine {mean:.2f} over {len(captions)} of them)")
    clips = sound_bank(2).in_folds(soundbank.FOLDS[-1:])
    evaluator = ZsteEvaluator(clips, RenderSettings.of(encoder), n_groups=ORDER_ITEMS, tasks=("3O", "3A"))
    yield order_finding(name, evaluator(encoder).results)


def order_finding(name: str, results: Mapping[str, Any]) -> Finding:
    """What `zste.score`'s tables of 3O and 3A mean, in words."""
    (low, high), chance = results["3O"]["ci95"], results["3O"]["chance"]
    if low > chance:
        verdict = "hears order"
    elif high < chance:
        verdict = "is wrong more often than guessing (a tie counts as wrong)"
    else:
        verdict = "cannot tell order from guessing"
    what = (
        f"order check on the synthetic sound bank: {verdict}. Which came first (3O)? {_figures(results['3O'])}. "
        f"Before, after or while (3A)? {_figures(results['3A'])}"
    )
    if low > chance:
        return Finding("ok", f"{what}. Real recordings are another matter: `teminal evaluate {name} --data_dir ESC50`")
    fix = (
        f"post-train it: `teminal train stage_a --model {name}`, then stage_b; what it knows of real recordings, "
        f"`teminal evaluate {name} --data_dir ESC50` says"
    )
    return Finding("warning", what, fix)


def _figures(row: Mapping[str, Any]) -> str:
    (low, high), n = row["ci95"], row["n"]
    share = f"{row['accuracy']:.0%}, 95 % interval {low:.0%} to {high:.0%}, chance {row['chance']:.0%}"
    return f"{round(row['accuracy'] * n)} of {n} right ({share})"
