"""Is a processor the one of its model? What is not can be loaded, and gives figures that mean nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import ClapConfig, ClapFeatureExtractor, ClapProcessor

from teminal_hf.audio.waveform import MAX_RATE, MIN_RATE

_NEEDED = {"feature_size", "sampling_rate", "hop_length", "fft_window_size", "frequency_min", "frequency_max"}


def processor_amiss(config: ClapConfig, processor: ClapProcessor, path: str | Path) -> list[str]:
    """What is wrong with a processor that was loaded from `path`, for a model of this configuration."""
    stored, _ = ClapFeatureExtractor.get_feature_extractor_dict(path)
    if missing := sorted(_NEEDED - set(stored)):  # defaults of transformers would stand in, whatever the model heard
        return [f"the feature extractor's file lacks {', '.join(missing)}"]
    return [*_extractor_amiss(config.audio_config, processor.feature_extractor), *_tokenizer_amiss(config, processor)]


def _extractor_amiss(config: Any, extractor: ClapFeatureExtractor) -> Iterator[str]:
    numbers = {name: getattr(extractor, name) for name in ("hop_length", "fft_window_size", "max_length_s")}
    rate = extractor.sampling_rate
    if not MIN_RATE <= rate <= MAX_RATE:
        yield f"the feature extractor has sampling_rate {rate} ({MIN_RATE} to {MAX_RATE} Hz are possible)"
        return
    if wrong := [f"{name} {value}" for name, value in numbers.items() if not value > 0]:
        yield f"the feature extractor has {', '.join(wrong)}, which must be more than 0"
        return
    if extractor.frequency_max > rate / 2:
        yield f"the feature extractor has frequency_max {extractor.frequency_max} Hz, and hears {rate / 2:.0f} at most"
    if (extractor.truncation == "fusion") != bool(config.enable_fusion):
        kind = "a fused model's" if extractor.truncation == "fusion" else "an unfused model's"
        yield (
            f"the feature extractor has truncation={extractor.truncation!r}, {kind}, and the model has enable_fusion="
            f"{bool(config.enable_fusion)}: they hear other filters"
        )
    bands, wanted = extractor.feature_size, config.num_mel_bins
    if bands != wanted:
        yield f"the feature extractor has feature_size {bands}, the model num_mel_bins {wanted}"
    frames = int(extractor.max_length_s * rate) // extractor.hop_length + 1
    room = config.spec_size * (config.spec_size // wanted)
    if frames > room:
        made_of = "max_length_s, sampling_rate, hop_length"
        yield f"the feature extractor gives {frames} frames ({made_of}), the model takes {room}"


def _tokenizer_amiss(config: Any, processor: ClapProcessor) -> Iterator[str]:
    highest, known = max(processor.tokenizer.get_vocab().values(), default=0), config.text_config.vocab_size
    if highest >= known:
        yield f"the tokenizer has numbers up to {highest}, the model {known} tokens"
