"""The frozen layers of a model, and where on disk their output is kept."""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
import transformers
from torch import Tensor
from transformers import ClapModel, ClapProcessor
from xxhash import xxh3_128

from teminal_hf.audio import log_mel
from teminal_hf.audio.log_mel import LogMel, device_of_features
from teminal_hf.errors import ConfigError
from teminal_hf.models import split
from teminal_hf.models.split import SplitPoint, audio_prefix, prefix_modules, text_prefix
from teminal_hf.models.tokenizer import tokenize
from teminal_hf.storage.cache import cache_root, code_id, digest, entry_folder, need_space
from teminal_hf.storage.tensor_store import TensorStore

logger = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
CAPTIONS = 128  # at a time

# The code that the stores' content depends on; what is heard, and the ids that are read, are the callers' to hash.
COMPUTED_BY = (sys.modules[__name__], log_mel, split)

# What a configuration says of where it came from, not of what it computes.
_ORIGIN = ("_name_or_path", "architectures", "dtype", "transformers_version")


@dataclass
class FrozenPrefix:
    """What lies before `split_point` in `clap`, and the stores of its output.

    The key of a store holds all that its content depends on: the frozen weights (every stage and seed that starts from
    one base shares them), configuration, split point, log-mel or token ids, precision, device, the code that computes
    and the versions of the packages that it computes with. Autocast and TF32, where they are on, are on here too, and
    part of the key.

    Args:
        clap: on the device that is to compute.
        dtype: of the stores: "float16", "bfloat16" or "float32".
        features_on_device: log-mels are computed here, on the model's device, and not by the workers that render.
            None: where that is a GPU. (On a CPU either gives the same bits.)

    Raises:
        ConfigError: unknown dtype.
    """

    clap: ClapModel
    split_point: SplitPoint
    processor: ClapProcessor
    dtype: str
    features_on_device: bool | None = None

    def __post_init__(self) -> None:
        device = device_of_features(self.clap.device)
        if self.features_on_device is None:
            self.features_on_device = device.type != "cpu"
        self._log_mel = LogMel.from_extractor(self.processor.feature_extractor)
        if self.features_on_device:
            self._log_mel.to(device)
        if self.dtype not in DTYPES:
            raise ConfigError(f"unknown cache_dtype {self.dtype!r}; choose of {', '.join(DTYPES)}")

    def recordings(self, n_rows: int, n_views: int, recordings_id: str) -> TensorStore:
        """The store of rows of `n_views` recordings each; `recordings_id` is a hash of all that is to be heard."""
        transform = self._log_mel
        blank = torch.zeros(1, 1, 1, transform.n_frames, transform.n_mels)
        shape = (n_views, *self.audio(blank).shape[2:])
        settings = (transform.sampling_rate, transform.n_samples, transform.hop_length, transform.n_fft)
        heard = [settings, _content(transform.buffers()), transform.window.device.type]
        key = self._key("audio", heard, recordings_id, n_rows, n_views)
        folder = entry_folder("prefix", key, f"{n_rows} x {n_views} recordings, {self.dtype}")
        return TensorStore(folder, n_rows, shape, DTYPES[self.dtype])

    def captions(self, captions: Sequence[str]) -> tuple[TensorStore, Tensor]:
        """The store of these captions' hidden states, and their token ids and attention mask, (n, 2, L), padded to the
        longest of all."""
        tokens = tokenize(self.processor, captions)
        both = torch.stack([tokens["input_ids"], tokens["attention_mask"]], dim=1)
        key = self._key("text", list(both.shape), _content([both]))
        folder = entry_folder("prefix", key, f"{len(captions)} captions, {self.dtype}")
        shape = (both.shape[-1], self.clap.text_model.config.hidden_size)
        return TensorStore(folder, len(captions), shape, DTYPES[self.dtype], shard_rows=8 * CAPTIONS), both

    def fill_recordings(self, store: TensorStore, sounds: Any, num_workers: int = 0, *, together: bool = True) -> None:
        """Compute what is missing; `sounds[i]` are the waveforms of row i, (n_views, samples)."""
        batch = max(1, self._chunk // store.row_shape[0])
        desc = "recordings through the frozen prefix"
        here = self.features_on_device
        rows, compute = (sounds, self._heard) if here else (_Features(sounds, self._log_mel), self.audio)
        store.fill(rows, compute, batch_size=batch, num_workers=num_workers, desc=desc, together=together)

    def fill_captions(self, store: TensorStore, ids_and_mask: Tensor, *, together: bool = True) -> None:
        """Compute what is missing."""
        desc = "captions through the frozen prefix"
        store.fill(ids_and_mask, self.text, batch_size=CAPTIONS, desc=desc, together=together)

    def _heard(self, waveforms: Tensor) -> Tensor:
        """Waveforms (n, K, T) -> tokens (n, K, L, C)."""
        features = self._log_mel(waveforms.flatten(0, 1).to(self._log_mel.window.device))
        return self.audio(features.unflatten(0, waveforms.shape[:2]))

    @torch.inference_mode()
    def audio(self, features: Tensor) -> Tensor:
        """Log-mel (n, K, 1, frames, mels) -> tokens (n, K, L, C)."""
        flat = features.flatten(0, 1).to(self.clap.device)
        with _eval_mode(self.clap):
            tokens = [audio_prefix(self.clap, self.split_point, chunk) for chunk in flat.split(self._chunk)]
        return torch.cat(tokens).unflatten(0, features.shape[:2])

    @torch.inference_mode()
    def text(self, ids_and_mask: Tensor) -> Tensor:
        """Token ids and mask (n, 2, L) -> hidden states (n, L, H)."""
        ids, mask = ids_and_mask.to(self.clap.device).unbind(dim=1)
        with _eval_mode(self.clap):
            return text_prefix(self.clap, self.split_point, ids, mask)

    @property
    def _chunk(self) -> int:
        return split.recordings_at_once(self.clap.device)

    def _key(self, tower: str, *parts: Any) -> str:
        trained = {"audio": self.split_point.audio_blocks, "text": self.split_point.text_layers}[tower]
        config = self.clap.config.to_dict()[f"{tower}_config"]
        config = {name: value for name, value in config.items() if name not in _ORIGIN}
        device = self.clap.device.type
        autocast = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""
        versions = [str(package.__version__) for package in (torch, transformers, numpy)]
        how = [device, autocast, float32_precision(), self.dtype, code_id(*COMPUTED_BY), *versions]
        modules = prefix_modules(self.clap, self.split_point)[tower]
        names = [list(module.state_dict()) for module in modules]
        weights = _content(tensor for module in modules for tensor in module.state_dict().values())
        return digest(tower, trained, names, weights, config, how, *parts)


class _Features:
    """Log-mels of each row of waveforms, (n_views, 1, frames, mels), computed by whoever asks."""

    def __init__(self, sounds: Any, log_mel: LogMel) -> None:
        self._sounds, self._log_mel = sounds, log_mel

    def __getitem__(self, row: int) -> Tensor:
        return self._log_mel(self._sounds[row])


def float32_precision() -> list[str]:
    """How products and convolutions of float32 are rounded (TF32, bfloat16): whether by torch's older settings or by
    those of 2.9, which make it an error to read the older ones."""
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):
        return [torch.get_float32_matmul_precision(), str(backends.cudnn.allow_tf32)]
    places = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [place.fp32_precision for place in places]


def _content(tensors: Iterable[Tensor]) -> str:
    """Hash of the tensors' bytes, in order."""
    hashed = xxh3_128()
    for tensor in tensors:
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


@contextmanager
def _eval_mode(clap: ClapModel) -> Iterator[None]:
    """No dropout, and no batch statistics that drift; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in clap.modules()]
    clap.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def announce(*stores: TensorStore) -> None:
    """Say what the stores take and what of it is there; raise an OSError where the rest does not fit on the disk."""
    total, missing = (sum(amounts) for amounts in zip(*((s.n_bytes, s.missing_bytes) for s in stores), strict=True))
    what = f"frozen prefix, {total / 2**20:.0f} MiB"
    if missing:
        free = need_space(missing, what)
        logger.info(
            "%s: %.0f MiB to compute into %s (%.1f GiB free)", what, missing / 2**20, cache_root(), free / 2**30
        )
    else:
        logger.info("%s: found in %s", what, cache_root())
