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
from torch import Tensor, nn
from xxhash import xxh3_128

from teminal_hf.audio import features, log_mel
from teminal_hf.audio.features import Features, features_of
from teminal_hf.audio.log_mel import device_of_features
from teminal_hf.errors import ConfigError
from teminal_hf.models import split, towers
from teminal_hf.models.split import TrainedModel, towers_of
from teminal_hf.models.tokenizer import tokenize
from teminal_hf.models.towers import SplitPoint
from teminal_hf.storage.cache import cache_root, code_id, digest, entry_folder, need_space
from teminal_hf.storage.tensor_store import TensorStore

logger = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
CAPTIONS = 128  # at a time

# The code that the stores' content depends on; what is heard, and the ids that are read, are the callers' to hash.
COMPUTED_BY = (sys.modules[__name__], features, log_mel, split, towers)  # and the towers of the architecture

# What a configuration says of where it came from, not of what it computes.
_ORIGIN = ("_name_or_path", "architectures", "dtype", "transformers_version")


@dataclass
class FrozenPrefix:
    """What lies before `split_point` in `model`, and the stores of its output.

    The key of a store holds all that its content depends on: the frozen weights (every stage and seed that starts from
    one base shares them), configuration, split point, log-mel or token ids, precision, device, the code that computes
    and the versions of the packages that it computes with. Autocast and TF32, where they are on, are on here too, and
    part of the key.

    Args:
        model: on the device that is to compute.
        dtype: of the stores: "float16", "bfloat16" or "float32".
        features_on_device: log-mels are computed here, on the model's device, and not by the workers that render.
            None: where that is a GPU. (On a CPU either gives the same bits.)

    Raises:
        ConfigError: unknown dtype.
    """

    model: TrainedModel
    split_point: SplitPoint
    processor: Any
    dtype: str
    features_on_device: bool | None = None

    def __post_init__(self) -> None:
        device = device_of_features(self.model.device)
        if self.features_on_device is None:
            self.features_on_device = device.type != "cpu"
        self._hear = features_of(self.processor.feature_extractor)
        if self.features_on_device:
            self._hear.to(device)
        if self.dtype not in DTYPES:
            raise ConfigError(f"unknown cache_dtype {self.dtype!r}; choose of {', '.join(DTYPES)}")

    def recordings(self, n_rows: int, n_views: int, recordings_id: str) -> TensorStore:
        """The store of rows of `n_views` recordings each; `recordings_id` is a hash of all that is to be heard."""
        silence = features_of(self.processor.feature_extractor)(torch.zeros(1, self._hear.n_samples))
        shape = (n_views, *self.audio(silence[None]).shape[2:])
        heard = [repr(self._hear), _content(self._hear.buffers()), self._hear.device.type]
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
        shape = (both.shape[-1], self.model.text_model.config.hidden_size)
        return TensorStore(folder, len(captions), shape, DTYPES[self.dtype], shard_rows=8 * CAPTIONS), both

    def fill_recordings(self, store: TensorStore, sounds: Any, num_workers: int = 0, *, together: bool = True) -> None:
        """Compute what is missing; `sounds[i]` are the waveforms of row i, (n_views, samples)."""
        batch = max(1, self._chunk // store.row_shape[0])
        desc = "recordings through the frozen prefix"
        here = self.features_on_device
        rows, compute = (sounds, self._heard) if here else (_Features(sounds, self._hear), self.audio)
        store.fill(rows, compute, batch_size=batch, num_workers=num_workers, desc=desc, together=together)

    def fill_captions(self, store: TensorStore, ids_and_mask: Tensor, *, together: bool = True) -> None:
        """Compute what is missing."""
        desc = "captions through the frozen prefix"
        store.fill(ids_and_mask, self.text, batch_size=CAPTIONS, desc=desc, together=together)

    def _heard(self, waveforms: Tensor) -> Tensor:
        """Waveforms (n, K, T) -> tokens (n, K, L, C)."""
        features = self._hear(waveforms.flatten(0, 1).to(self._hear.device))
        return self.audio(features.unflatten(0, waveforms.shape[:2]))

    @torch.inference_mode()
    def audio(self, features: Tensor) -> Tensor:
        """Features (n, K, 1, ...) -> tokens (n, K, L, C)."""
        flat = features.flatten(0, 1).to(self.model.device)
        with _eval_mode(self.model):
            tokens = [towers_of(self.model).audio_prefix(self.split_point, chunk) for chunk in flat.split(self._chunk)]
        return torch.cat(tokens).unflatten(0, features.shape[:2])

    @torch.inference_mode()
    def text(self, ids_and_mask: Tensor) -> Tensor:
        """Token ids and mask (n, 2, L) -> hidden states (n, L, H)."""
        ids, mask = ids_and_mask.to(self.model.device).unbind(dim=1)
        with _eval_mode(self.model):
            return towers_of(self.model).text_prefix(self.split_point, ids, mask)

    @property
    def _chunk(self) -> int:
        return split.recordings_at_once(self.model.device)

    def _key(self, tower: str, *parts: Any) -> str:
        trained = {"audio": self.split_point.audio_blocks, "text": self.split_point.text_layers}[tower]
        config = self.model.config.to_dict()[f"{tower}_config"]
        config = {name: value for name, value in config.items() if name not in _ORIGIN}
        device, ours = self.model.device.type, towers_of(self.model)
        autocast = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""
        versions = [str(package.__version__) for package in (torch, transformers, numpy)]
        code = code_id(*COMPUTED_BY, sys.modules[type(ours).__module__])
        how = [device, autocast, float32_precision(), self.dtype, code, *versions]
        modules = ours.prefix_modules(self.split_point)[tower]
        names = [list(module.state_dict()) for module in modules]
        weights = _content(tensor for module in modules for tensor in module.state_dict().values())
        return digest(tower, trained, names, weights, config, how, *parts)


class _Features:
    """Log-mels of each row of waveforms, (n_views, 1, frames, mels), computed by whoever asks."""

    def __init__(self, sounds: Any, hear: Features) -> None:
        self._sounds, self._hear = sounds, hear

    def __getitem__(self, row: int) -> Tensor:
        return self._hear(self._sounds[row])


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
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """No dropout, and no batch statistics that drift; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
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
