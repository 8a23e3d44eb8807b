"""One embedder for every engine: a batch of columns in, their embeddings out."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Features, List, Value

from teminal_hf.audio.waveform import Waveform, trim_bounds
from teminal_hf.clips.audio_column import from_base, need_columns, read_audio_value
from teminal_hf.errors import BadClipError, CheckpointError, ConfigError, DataError, MissingExtraError
from teminal_hf.evaluation.ranking import window_embeds
from teminal_hf.integrations.encoders import load_encoder
from teminal_hf.models.encoder import Encoder, identity, text_embeds

_MOST = 2.0**31  # of samples: nothing is stored so that its full scale is beyond that of 32-bit integers
_KEPT = 2  # models in a process: one, and another that is asked in turns with it
_PROCESS = os.getpid()  # in which this module was imported
_loaded: dict[tuple[str, str, str], Encoder] = {}  # by name, device and hash


class BatchEmbedder:
    """`embedder(batch)` -> columns of the same length: unchanged in `datasets.map(batched=True)`, in Ray Data's
    `map_batches` and in a loop.

    It is pickled without weights, by its name and its settings, and each process loads the model once. A row that
    cannot be heard or read has None for an embedding and says why in `reason`; nothing else comes of it.

    What it adds: `embedding`, the mean of the windows' embeddings of length 1 (itself of length 1 where there is one
    window, see `rank`), and `windows`, how many there were; `text_embedding` of length 1; `model`, a hash of the
    weights and of how they hear; `reason`, "" where there is none. Embeddings are of float32, and equal to those of
    `embed_audio` up to the rounding of batches (1e-5), whatever the batch and the engine.

    Args:
        model: a checkpoint that `load_encoder` opens. It is opened here and now, to know its hash.
        audio_column: cells as `datasets` and Ray give them: {"bytes", "path"}, {"array", "sampling_rate"}, bytes, the
            path of a file, or a decoded `Audio`. None: no recordings.
        text_column: of captions. None: no captions.
        keep: columns that are given back as they come; `datasets.map` keeps all by itself, Ray Data none.
        base: the folder that relative paths start from (default: the one where the process runs).
        samples: the type of arrays that came as lists, such as "int32" (default: floats, or 16-bit integers).
        threads: torch's while it embeds (default: one in a forked worker, which does not survive its parent's; else as
            they are).
        device: where the model is put.

    Raises:
        ConfigError: neither column, or one that is kept under a name of those that are added.
        others: as of `load_encoder`.
    """

    def __init__(
        self,
        model: str,
        *,
        audio_column: str | None = "audio",
        text_column: str | None = None,
        keep: Sequence[str] = (),
        base: str | Path | None = None,
        samples: str | None = None,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        if audio_column is None and text_column is None:
            raise ConfigError("there is nothing to embed: name an audio_column, a text_column, or both")
        self.model, self.audio_column, self.text_column = str(model), audio_column, text_column
        self.keep, self.base, self.samples = tuple(keep), None if base is None else Path(base), samples
        self.threads, self.device = threads, str(device)
        if taken := sorted({*self.keep} & {*self.features}):
            raise ConfigError(f"keep names {', '.join(taken)}, which the embedder adds itself; rename yours first")
        encoder = self._load()
        self.model_hash = identity(encoder)
        self._remember(encoder)

    @property
    def features(self) -> Features:
        """Of the columns that are added. `datasets.map` needs them (`features=`) where its first thousand rows might
        all be bad: what it has seen none of has no type."""
        embedding, added = List(Value("float32")), dict[str, Any]()
        if self.audio_column is not None:
            added |= {"embedding": embedding, "windows": Value("int32")}
        if self.text_column is not None:
            added["text_embedding"] = embedding
        return Features(added | {"model": Value("string"), "reason": Value("string")})

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Columns, each as long as those of `batch`.

        Raises:
            DataError: a column is missing.
            MissingExtraError: a column that `datasets` decodes, without torchcodec.
            CheckpointError: the checkpoint is no more what it was when this embedder was made.
        """
        columns = [name for name in (self.audio_column, self.text_column) if name is not None]
        need_columns([*columns, *self.keep], batch.keys(), "the batch")
        cells = {name: _cells(batch, name) for name in columns}
        encoder, out = self._encoder(), {name: batch[name] for name in self.keep}
        reasons: list[list[str]] = [[] for _ in cells[columns[0]]]
        with _threads(self.threads):
            if self.audio_column is not None:
                out |= self._recordings(encoder, cells[self.audio_column], reasons)
            if self.text_column is not None:
                out["text_embedding"] = self._captions(encoder, cells[self.text_column], reasons)
        out["model"] = [self.model_hash] * len(reasons)
        out["reason"] = ["; ".join(each) for each in reasons]
        return out

    def _recordings(self, encoder: Encoder, cells: Sequence[Any], reasons: list[list[str]]) -> dict[str, list[Any]]:
        embeds: list[Any] = [None] * len(cells)
        windows: list[int | None] = [None] * len(cells)
        heard: list[int] = []

        def sounds() -> Iterator[Waveform]:
            for row, cell in enumerate(cells):
                try:
                    waveform = self._read(cell, encoder.sampling_rate)
                except (DataError, OSError) as error:
                    reasons[row].append(f"{self.audio_column} {error}")
                    continue
                heard.append(row)
                yield waveform

        for n, (spans, rows) in enumerate(window_embeds(encoder, sounds())):
            embeds[heard[n]], windows[heard[n]] = _float32(rows.mean(axis=0)), len(spans)
        return {"embedding": embeds, "windows": windows}

    def _read(self, cell: Any, sampling_rate: int) -> Waveform:
        if hasattr(cell, "get_all_samples"):  # torchcodec's decoder, as `datasets` wraps it
            cell = {"array": cell["array"], "sampling_rate": cell["sampling_rate"]}
        waveform = read_audio_value(from_base(cell, self.base), sampling_rate, self.samples)
        if (peak := np.abs(waveform).max(initial=0.0)) > _MOST:
            raise BadClipError(f"has samples up to {peak:.1e}, and full scale is 1")
        trim_bounds(waveform, sampling_rate)  # refuses what holds nothing to hear
        return waveform

    def _captions(self, encoder: Encoder, cells: Sequence[Any], reasons: list[list[str]]) -> list[Any]:
        embeds: list[Any] = [None] * len(cells)
        said = [row for row, cell in enumerate(cells) if isinstance(cell, str) and cell.strip()]
        for row in {*range(len(cells))} - {*said}:
            found = "is empty" if cells[row] is None or isinstance(cells[row], str) else "holds no text"
            reasons[row].append(f"{self.text_column} {found}")
        if said:
            for row, embed in zip(said, text_embeds(encoder, [cells[row] for row in said]), strict=True):
                embeds[row] = _float32(embed)
        return embeds

    def _load(self) -> Encoder:
        encoder: Any = load_encoder(self.model)
        if self.device != "cpu":
            encoder.model.to(self.device)
        return encoder

    def _encoder(self) -> Encoder:
        key = (self.model, self.device, self.model_hash)
        if key not in _loaded:
            encoder = self._load()
            if (found := identity(encoder)) != self.model_hash:
                raise CheckpointError(
                    f"{self.model} is not what it was when this embedder was made (hash {self.model_hash}, now "
                    f"{found}); make the embedder again"
                )
            self._remember(encoder)
        return _loaded[key]

    def _remember(self, encoder: Encoder) -> None:
        while len(_loaded) >= _KEPT:
            del _loaded[next(iter(_loaded))]
        _loaded[self.model, self.device, self.model_hash] = encoder


def _float32(embed: Any) -> list[np.float32]:
    """A list of numpy's floats: of arrays Ray makes tensors in some blocks and lists in others, of Python's floats 64
    bits."""
    return list(embed.astype(np.float32))


def _cells(batch: Mapping[str, Sequence[Any]], column: str) -> Sequence[Any]:
    try:
        return batch[column]
    except ImportError as error:
        raise MissingExtraError(
            f"column {column!r} is decoded by `datasets`, which needs torchcodec; this package decodes itself: "
            f'dataset.cast_column("{column}", Audio(decode=False))'
        ) from error


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """As many threads of torch in this block; OpenMP's pool is lost in a fork, and waiting for it would last for
    ever."""
    before = torch.get_num_threads()
    wanted = n if n is not None else before if os.getpid() == _PROCESS else 1
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
