"""Resampling: by torchaudio, on the training device, where it can be imported; else by soxr.

torchaudio is optional, and looked for at the first resampling. Both filters are linear in phase and keep every sound in
its place; what either makes has the same number of samples.
"""

import importlib.util
import logging
import threading
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

import numpy as np
import soxr
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

logger = logging.getLogger(__name__)

# torchaudio's own example of a filter of the quality of resampy's "kaiser_best": it passes 0.88 of the lower Nyquist
# frequency and stops at 1.02 of it, by more than 140 dB.
_KAISER = {
    "resampling_method": "sinc_interp_kaiser",
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "beta": 14.769656459379492,
}
# torchaudio keeps a filter for each phase, for the ratio p / q p filters of q weights and more: 160 of 283 from 44.1 to
# 48 kHz, but 48 000 of 44 237 (17 GB) from 44.101. Such rates are soxr's.
_MAX_PHASES_BY_STEP = 2**20

_lock = threading.Lock()


def resampler() -> str:
    """What resamples here, with its version and device: part of the key of all that is kept and was resampled."""
    torchaudio, by_soxr = _torchaudio(), f"soxr {soxr.__libsoxr_version__}"
    if torchaudio is None:
        return by_soxr
    return f"torchaudio {torchaudio.__version__} on {_device().type}, odd rates {by_soxr}"


def resample(waveform: NDArray[np.float32], rate: int, sampling_rate: int) -> NDArray[np.float32]:
    """Mono float32 (samples,) from `rate` to `sampling_rate` Hz; deterministic on one device."""
    ratio = Fraction(sampling_rate) / Fraction(rate)
    if _torchaudio() is None or ratio.numerator * ratio.denominator > _MAX_PHASES_BY_STEP:
        return resample_by_soxr(waveform, rate, sampling_rate)
    device = _device()
    # Unless told otherwise cuDNN rounds single precision to the ten bits of TF32; double it leaves alone.
    dtype = torch.float64 if device.type == "cuda" else torch.float32
    # torchaudio rounds the number of samples up and, counting in float32, falls short of it in recordings of minutes;
    # soxr rounds it to the nearest. A little silence more at the end, and the cut is exact.
    samples = int(len(waveform) * ratio + Fraction(1, 2))
    padded = torch.from_numpy(np.pad(waveform, (0, ratio.denominator + len(waveform) // 2**22)))
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        resampled = _filter(ratio, device, dtype)(padded.to(device, dtype))[:samples]
    return resampled.to("cpu", torch.float32).numpy()


def resample_by_soxr(waveform: NDArray[np.float32], rate: int, sampling_rate: int) -> NDArray[np.float32]:
    """As `resample`, by soxr in any case: ratios that are drawn have no filter worth keeping."""
    return soxr.resample(waveform, rate, sampling_rate)


@cache
def _torchaudio() -> Any:
    """The module, or None. PyPI's wheels link CUDA: beside a torch without it they are installed and not importable
    (nor is transformers 5.23 then, which imports any torchaudio it finds; versions that do not, leave it to us)."""
    if importlib.util.find_spec("torchaudio") is None:
        return None
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:
        logger.info("torchaudio is installed and cannot be imported (%s): soxr resamples", error)
        return None
    return torchaudio


@lru_cache(maxsize=8)
def _filter(ratio: Fraction, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    filters = _torchaudio().transforms.Resample(ratio.denominator, ratio.numerator, dtype=torch.float64, **_KAISER)
    return filters.to(device, dtype)


def _device() -> torch.device:
    if get_worker_info() is not None:  # a data loader's worker: CUDA does not survive the fork
        return torch.device("cpu")
    with _lock:  # clips are decoded by several threads, and the state is not made for two that create it at once
        return PartialState().device
