"""A user's own audio and captions as training rows: the plain pairs of ordinary contrastive fine-tuning."""

import sys
from typing import Any

import datasets
import numpy as np
from accelerate import PartialState
from torch.utils.data import Dataset
from transformers import ClapFeatureExtractor

from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.audio_column import need_columns, read_audio_value, row_origins, undecoded
from teminal_hf.clips.store import open_store
from teminal_hf.clips.table import screen
from teminal_hf.errors import BadClipError, DataError
from teminal_hf.storage.cache import code_id, digest


class CaptionPairs(Dataset[dict[str, Any]]):
    """Rows with one view, `forward`, of a `datasets` data set with an audio and a text column.

    A recording longer than the model's window is heard from its start; a shorter one is padded with silence. Recordings
    are decoded once and kept on disk in 16 bits. Pairs
    whose recording cannot be used (unreadable, silent, too short) are named in a warning and left out.

    Raises:
        DataError: a column is missing (the message lists those present), captions that are no text, more than 5 % bad
            recordings, or fewer than two pairs.
    """

    def __init__(
        self, pairs: datasets.Dataset, audio_column: str, text_column: str, extractor: ClapFeatureExtractor
    ) -> None:
        need_columns({audio_column, text_column}, pairs.column_names, "the data set")
        if len(pairs) < 2:
            raise DataError(f"contrastive training needs at least two pairs, the data set has {len(pairs)}")
        self.pairs, self.audio_column, self.text_column = undecoded(pairs, audio_column), audio_column, text_column
        self.sampling_rate, self.samples = extractor.sampling_rate, extractor.nb_max_samples
        wrong = next((i for i, text in enumerate(pairs[text_column][:]) if not isinstance(text, str) or not text), None)
        if wrong is not None:
            raise DataError(f"column {text_column!r} must hold one caption a row; row {wrong} holds none or several")
        origins = [f"{origin}, at most {self.samples} samples" for origin in row_origins(self.pairs, audio_column)]
        what = f"{len(pairs)} recordings of pairs at {self.sampling_rate} Hz"
        with PartialState().local_main_process_first():  # the others read what it has decoded
            self._store = open_store(what, origins, self.sampling_rate, self._read)
        self._rows = screen(len(pairs), self._check)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        waveform = self._store.waveform(row, trim=False)
        array = np.pad(waveform, (0, self.samples - len(waveform)))
        audio = {"array": array, "sampling_rate": self.sampling_rate}
        return {"forward": audio, "forward_caption": self.pairs[row][self.text_column]}

    @property
    def manifest(self) -> list[dict[str, str]]:
        """The rows without audio."""
        captions = self.pairs[self.text_column][:]
        return [{"forward_caption": captions[row]} for row in self._rows]

    @property
    def recordings_id(self) -> str:
        """Hash of all that the audio depends on."""
        content = [self._store.content(row) for row in self._rows]
        return digest(content, self.sampling_rate, self.samples, code_id(sys.modules[__name__]))

    def _read(self, row: int) -> Waveform:
        return read_audio_value(self.pairs[row][self.audio_column], self.sampling_rate)[: self.samples]

    def _check(self, row: int) -> None:
        try:
            self._store.content(row)
        except BadClipError as error:
            raise BadClipError(f"pair {row} {error}") from error
