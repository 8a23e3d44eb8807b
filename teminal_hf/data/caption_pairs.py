"""A user's own audio and captions as training rows: the plain pairs of ordinary contrastive fine-tuning."""

import copy
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from accelerate import PartialState
from torch.utils.data import Dataset

from teminal_hf.audio.features import window_samples
from teminal_hf.audio.waveform import Waveform, trim_bounds
from teminal_hf.clips.audio_column import AudioColumn, need_columns
from teminal_hf.clips.labels import UNLABELLED
from teminal_hf.clips.store import open_store
from teminal_hf.clips.streams import RowStream
from teminal_hf.clips.table import screen
from teminal_hf.data.captions import caption_key
from teminal_hf.errors import BadClipError, DataError
from teminal_hf.storage.cache import code_id, digest

_NO_CAPTION = {"", "-", *UNLABELLED}
_WRITTEN_LIST = re.compile(r"\[\s*(['\"]).*\1\s*\]", re.DOTALL)

logger = logging.getLogger(__name__)


class CaptionPairs(Dataset[dict[str, Any]]):
    """Rows with one view, `forward`, of a `datasets` data set with an audio and a text column.

    A recording longer than the model's window is heard from its start; a shorter one is padded with silence. Recordings
    are decoded once and kept on disk in 16 bits. Pairs whose recording cannot be used (unreadable, silent, too short)
    are named in a warning and left out.

    A recording may have several captions. Of a list in its row one is said at a time, the first until `draw_captions`
    is called; several rows with the same sound stay rows. The recording's other captions are under `forward_also`: they
    are no negatives of one another.

    Args:
        pairs: the data set.
        audio_column: whatever `AudioColumn` reads; relative paths start from `base`.
        text_column: captions, or lists of them.
        extractor: of the model that is to hear them.
        base: a folder.
        audio_flag: of the command, that names another audio column.

    Raises:
        DataError: a column is missing (the message lists those present), captions that are no text, more than 5 % bad
            recordings, or fewer than two pairs.
    """

    def __init__(
        self,
        pairs: datasets.Dataset,
        audio_column: str,
        text_column: str,
        extractor: Any,
        *,
        base: Path | None = None,
        audio_flag: str = "--audio_column",
    ) -> None:
        flags = {audio_column: audio_flag, text_column: "--text_column"}
        need_columns(flags, pairs.column_names, "the data set", flags)
        if len(pairs) < 2:
            raise DataError(f"contrastive training needs at least two pairs, the data set has {len(pairs)}")
        cells = pairs[text_column][:] if pairs.format["type"] == "custom" else pairs.with_format(None)[text_column][:]
        captions = [_captions(cell, text_column, row) for row, cell in enumerate(cells)]
        if (row := next((row for row, several in enumerate(captions) if not several), None)) is not None:
            raise DataError(
                f"column {text_column!r} must hold a caption, or a list of them, in each row; row {row} holds none. "
                "Fill it in, or leave the row out by dataset.filter"
            )
        self._audio = AudioColumn(pairs, audio_column, base, audio_flag)
        self.sampling_rate, self.samples = extractor.sampling_rate, window_samples(extractor)
        origins = [f"{origin}, at most {self.samples} samples" for origin in self._audio.origins]
        what = f"{len(pairs)} recordings of pairs at {self.sampling_rate} Hz"
        with PartialState().local_main_process_first():  # the others read what it has decoded
            self._store = open_store(what, origins, self.sampling_rate, self._read)
        usable = screen(len(pairs), self._check)
        self._pairs = [(row, captions[row]) for row in usable]
        self._drawn = [0] * len(usable)
        self._captions_of: dict[str, dict[str, str]] = {}
        for row, several in self._pairs:
            of = self._captions_of.setdefault(self._store.content(row), {})
            for caption in several:
                of.setdefault(caption_key(caption), caption)
        self._width = max(map(len, self._captions_of.values()))
        if len(self._captions_of) < len(self.captions):
            logger.info("%d recordings with %d captions", len(self._captions_of), len(self.captions))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        waveform = self._store.waveform(self._pairs[index][0], trim=False)
        array = np.pad(waveform, (0, self.samples - len(waveform)))
        return {"forward": {"array": array, "sampling_rate": self.sampling_rate}} | self._words(index)

    def draw_captions(self, seed: int, epoch: int) -> bool:
        """Say another caption of each list, by turns from a random one on; returns whether there is any to choose."""
        starts = np.random.default_rng([seed, len(self)]).integers(2**31, size=len(self)).tolist()
        self._drawn = [(start + epoch) % len(of) for start, (_, of) in zip(starts, self._pairs, strict=True)]
        return any(len(of) > 1 for _, of in self._pairs)

    @property
    def captions(self) -> list[str]:
        """All that may be drawn."""
        return [caption for _, several in self._pairs for caption in several]

    @property
    def manifest(self) -> list[dict[str, Any]]:
        """The rows without audio."""
        return [self._words(index) for index in range(len(self))]

    @property
    def recordings_id(self) -> str:
        """Hash of all that the audio depends on."""
        content = [self._store.content(row) for row, _ in self._pairs]
        return digest(content, self.sampling_rate, self.samples, code_id(sys.modules[__name__]))

    def split(self, n: int, seed: int) -> tuple["CaptionPairs", "CaptionPairs"]:
        """All but about `n` pairs, and these. Pairs of one recording stay together.

        Raises:
            DataError: too few recordings.
        """
        recordings = list(self._captions_of)
        of = [self._store.content(row) for row, _ in self._pairs]
        apart: set[str] = set()
        for i in np.random.default_rng([seed, len(of)]).permutation(len(recordings)).tolist():
            if sum(content in apart for content in of) >= n:
                break
            apart.add(recordings[i])
        parts = []
        for inside in (False, True):
            part = copy.copy(self)
            part._pairs = [pair for pair, content in zip(self._pairs, of, strict=True) if (content in apart) == inside]
            part._drawn = [0] * len(part)
            parts.append(part)
        if len(parts[0]) < 2:
            raise DataError(
                f"{len(self)} pairs of {len(recordings)} recordings are too few to keep {n} apart for validation; set "
                "eval_strategy to no, or give more"
            )
        return parts[0], parts[1]

    def _words(self, index: int) -> dict[str, Any]:
        """Every row has as many captions beside its own, so that all batches are of one width; its own fills up."""
        row, several = self._pairs[index]
        caption = several[self._drawn[index]]
        captions = self._captions_of[self._store.content(row)]
        if self._width == 1:
            return {"forward_caption": caption}
        others = [text for key, text in captions.items() if key != caption_key(caption)]
        return {"forward_caption": caption, "forward_also": others + [caption] * (self._width - 1 - len(others))}

    def _read(self, row: int) -> Waveform:
        return self._audio.read(row, self.sampling_rate)[: self.samples]

    def _check(self, row: int) -> None:
        try:
            self._store.content(row)
        except BadClipError as error:
            raise BadClipError(f"pair {row} {error}") from error


@dataclass(frozen=True)
class CaptionStream:
    """Rows as `CaptionPairs` has, with the view `forward`, of recordings and captions that are read in passing.

    Nothing is kept: a recording is decoded each time that it comes. Of a list of captions one is said at a time, by
    turns from pass to pass. That several rows are of one recording is not known.

    Args:
        stream: recordings, and captions in `text_column`; "json.text" is the field `text` of the column `json`.
        extractor: of the model that is to hear them.
        seed: of the order of rows.
        buffer: rows of each reader among which the next one is drawn; 0 leaves them in order.
    """

    stream: RowStream
    text_column: str
    extractor: Any
    seed: int = 0
    buffer: int = 0

    def share(
        self, reader: int, readers: int, *, passing: int, skip: int = 0
    ) -> Iterator[dict[str, Any] | BadClipError]:
        """The pairs of one of `readers` in one pass, after the first `skip`; in the place of those that cannot be used
        what is wrong with them.

        Raises:
            DataError: captions that are no text.
        """
        rows = self.stream.share(reader, readers, seed=self.seed, passing=passing, buffer=self.buffer, skip=skip)
        for number, row in enumerate(rows, skip):
            name = self.stream.name(row) or f"{number} of reader {reader}"
            try:
                yield self._pair(row, passing, name)
            except BadClipError as error:
                yield BadClipError(f"pair {name!r} {error}")

    @property
    def order(self) -> dict[str, int]:
        """What the order of the rows depends on, beside the readers."""
        return {"seed": self.seed, "shuffle_buffer": self.buffer, "shards": self.stream.n_shards}

    def _pair(self, row: dict[str, Any], passing: int, name: str) -> dict[str, Any]:
        cell: Any = row
        for part in self.text_column.split("."):
            cell = cell.get(part) if isinstance(cell, dict) else None
        several = _captions(cell, self.text_column, name)
        if not several:
            raise BadClipError("has no caption")
        rate, samples = self.extractor.sampling_rate, window_samples(self.extractor)
        waveform = self.stream.waveform(row, rate)[:samples]
        trim_bounds(waveform, rate)  # silent, or too short
        turn = (int(digest(several), 16) + passing) % len(several)
        others = {"forward_also": several[:turn] + several[turn + 1 :]} if len(several) > 1 else {}
        audio = {"array": np.pad(waveform, (0, samples - len(waveform))), "sampling_rate": rate}
        return {"forward": audio, "forward_caption": several[turn]} | others


def _captions(cell: Any, column: str, row: int | str) -> list[str]:
    """The captions of a row, each once; blank ones, and what stands in a table for none, do not count."""
    several: Sequence[Any] = cell if isinstance(cell, list | tuple) else [cell]
    wrong = next((text for text in several if text is not None and not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(
            f"column {column!r} must hold captions; row {row} holds a {type(wrong).__name__}. Name yours by "
            "--text_column"
        )
    said = [text for text in several if text and text.strip().casefold() not in _NO_CAPTION]
    if listed := next((text for text in said if _WRITTEN_LIST.fullmatch(text.strip())), None):
        raise DataError(
            f"column {column!r} must hold captions; row {row} holds a list that is written out, {listed:.60}. Split it "
            "into a list, of which each pass says another one (json.loads or ast.literal_eval, in dataset.map)"
        )
    return list({caption_key(text): text for text in said}.values())
