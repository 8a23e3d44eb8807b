"""Models of other packages as encoders: sentence-transformers, mteb, LAION's and Microsoft's CLAP, open_clip.

None of them is imported: an object that has the members used here will do. Those that repeat a short recording until
their window is full are given one that fills it, followed by silence, for repeating destroys order.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import DataLoader
from transformers import ClapProcessor

from teminal_hf.audio.waveform import Waveform
from teminal_hf.models.tokenizer import fit_to_towers

CLAP_RATE, CLAP_SECONDS = 48_000, 10.0


@dataclass(frozen=True)
class FunctionEncoder:
    """Two functions of yours, (n recordings) -> (n, D) and (n captions) -> (n, D), as an `Encoder`; see its members."""

    embed_audio: Callable[[Sequence[Waveform]], ArrayLike]
    embed_text: Callable[[Sequence[str]], ArrayLike]
    sampling_rate: int
    max_seconds: float | None = None
    logit_scale: float = 1.0


@dataclass(frozen=True)
class SentenceTransformerEncoder:
    """A `SentenceTransformer` that takes audio, such as one of a `ClapModel`. Rate and window are its processor's,
    which is mended: saved after captions were embedded, it would crop recordings to theirs (see `fit_to_towers`)."""

    model: Any

    def __post_init__(self) -> None:
        if isinstance(self.model[0].processor, ClapProcessor):
            fit_to_towers(self.model[0].processor)

    @property
    def _extractor(self) -> Any:
        processor = self.model[0].processor
        return getattr(processor, "feature_extractor", processor)

    @property
    def sampling_rate(self) -> int:
        return int(self._extractor.sampling_rate)

    @property
    def max_seconds(self) -> float | None:
        samples = getattr(self._extractor, "nb_max_samples", None)
        return None if samples is None else samples / self.sampling_rate

    @property
    def logit_scale(self) -> float:
        return 1.0

    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        return self._encode([_cell(w, self.sampling_rate) for w in _filled(waveforms, self)])

    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        return self._encode(list(captions))

    def _encode(self, inputs: list[Any]) -> NDArray[np.float32]:
        return np.asarray(self.model.encode(inputs, convert_to_numpy=True, show_progress_bar=False))


@dataclass(frozen=True)
class MtebEncoder:
    """An encoder of mteb (an `AbsEncoder`), which takes loaders of audio cells or of texts.

    Args:
        sampling_rate: of the recordings that it is given; it resamples them as it needs.
        max_seconds: where it crops, as mteb's own wrapper of CLAP does after 10 s; None: it hears any length.
    """

    model: Any
    sampling_rate: int = CLAP_RATE
    max_seconds: float | None = CLAP_SECONDS
    logit_scale: float = 1.0

    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        return self._encode("audio", [_cell(w, self.sampling_rate) for w in _filled(waveforms, self)])

    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        return self._encode("text", list(captions))

    def _encode(self, column: str, cells: list[Any]) -> NDArray[np.float32]:
        from mteb.types import PromptType

        loader: DataLoader = DataLoader(_Column(column, cells), batch_size=32, collate_fn=_column_of)
        side = PromptType.query if column == "audio" else PromptType.document
        found = self.model.encode(
            loader, task_metadata=_asked_of_mteb(), hf_split="test", hf_subset="default", prompt_type=side
        )
        return np.asarray(torch.as_tensor(found).float().cpu())


@dataclass(frozen=True)
class LaionClapEncoder:
    """A `CLAP_Module` of laion_clap, which rounds recordings to 16 bits itself."""

    model: Any
    sampling_rate: int = CLAP_RATE
    max_seconds: float = CLAP_SECONDS
    logit_scale: float = 1.0

    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        filled = np.stack(_filled(waveforms, self))
        return np.asarray(self.model.get_audio_embedding_from_data(x=filled, use_tensor=False))

    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        asked_for = list(captions) if len(captions) > 1 else [*captions, "sound"]  # a single one loses its batch there
        return np.asarray(self.model.get_text_embedding(asked_for, use_tensor=False))[: len(captions)]


@dataclass(frozen=True)
class MsClapEncoder:
    """A `CLAP` of msclap, which reads files alone: the recordings are written to a folder that is removed again."""

    model: Any

    @property
    def sampling_rate(self) -> int:
        return int(self.model.args.sampling_rate)

    @property
    def max_seconds(self) -> float:
        return float(self.model.args.duration)

    @property
    def logit_scale(self) -> float:
        return float(self.model.clap.logit_scale.detach().exp())

    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{i}.wav") for i in range(len(waveforms))]
            for path, waveform in zip(paths, _filled(waveforms, self), strict=True):
                soundfile.write(path, waveform, self.sampling_rate, subtype="FLOAT")
            return np.asarray(torch.as_tensor(self.model.get_audio_embeddings(paths)).cpu())

    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(torch.as_tensor(self.model.get_text_embeddings(list(captions))).cpu())


@dataclass(frozen=True)
class OpenClipEncoder:
    """A model of open_clip that has `encode_audio` and `encode_text`, such as its `CLAP` (open_clip 4).

    Args:
        preprocess: (tensor (1, samples), rate) -> a dict of tensors and flags of one recording, as
            `create_model_and_transforms` gives it.
        tokenizer: captions -> tensor, as `get_tokenizer` gives it.
        max_seconds: its window, which is filled up; None: the model hears any length, and nothing is added.
    """

    model: Any
    preprocess: Callable[[tuple[torch.Tensor, int]], dict[str, Any]]
    tokenizer: Callable[[list[str]], torch.Tensor]
    sampling_rate: int = CLAP_RATE
    max_seconds: float | None = CLAP_SECONDS

    @property
    def logit_scale(self) -> float:
        return float(self.model.logit_scale.detach().exp())

    @torch.inference_mode()
    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        embeds = []
        for waveform in _filled(waveforms, self):  # one by one: how a batch is made differs from tower to tower
            row = self.preprocess((torch.from_numpy(waveform)[None], self.sampling_rate))
            embeds.append(self.model.encode_audio({name: torch.as_tensor(each)[None] for name, each in row.items()}))
        return np.asarray(torch.cat(embeds).float().cpu())

    @torch.inference_mode()
    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(self.model.encode_text(self.tokenizer(list(captions))).float().cpu())


class _Column(torch.utils.data.Dataset):
    """What loaders of mteb are made of, as far as encoders look at it: rows, and the names of their columns."""

    def __init__(self, column: str, cells: list[Any]) -> None:
        self.features, self._cells = {column: None}, cells

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, row: int) -> dict[str, Any]:
        (column,) = self.features
        return {column: self._cells[row]}


def _column_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {column: [row[column] for row in rows] for column in rows[0]}


def _asked_of_mteb() -> Any:
    """What an encoder of mteb may want to know of its task: recordings are asked with captions."""
    from mteb import TaskMetadata

    return TaskMetadata(
        name="ZSTE",
        description="Recordings and captions, compared by ZSTE (zero-shot temporal evaluation).",
        dataset={"path": "zste", "revision": "1"},
        type="Any2AnyRetrieval",
        category="a2t",
        modalities=["audio", "text"],
        eval_langs=["eng-Latn"],
        main_score="accuracy",
    )


def _cell(waveform: Waveform, sampling_rate: int) -> dict[str, Any]:
    return {"array": waveform, "sampling_rate": sampling_rate}


def _filled(waveforms: Sequence[Waveform], encoder: Any) -> list[Waveform]:
    """Recordings followed by silence until they fill the encoder's window, if it has one."""
    if encoder.max_seconds is None:
        return list(waveforms)
    samples = round(encoder.max_seconds * encoder.sampling_rate)
    return [np.pad(waveform, (0, max(0, samples - len(waveform)))) for waveform in waveforms]
