"""A user's own audio and captions as training rows: the plain pairs of ordinary contrastive fine-tuning."""

from typing import Any

import datasets
import numpy as np
from torch.utils.data import Dataset
from transformers import ClapFeatureExtractor

from teminal_hf.audio import BadClipError
from teminal_hf.sources import need_columns, read_audio_value


class PlainPairs(Dataset[dict[str, Any]]):
    """Rows with one view, `forward`, of a `datasets` data set with an audio and a text column.

    A recording longer than the model's window is heard from its start; a shorter one is padded with silence.

    Raises:
        ValueError: a column is missing (the message lists those present), or fewer than two pairs.
    """

    def __init__(
        self, pairs: datasets.Dataset, audio_column: str, text_column: str, extractor: ClapFeatureExtractor
    ) -> None:
        need_columns({audio_column, text_column}, pairs.column_names, "the data set")
        if len(pairs) < 2:
            raise ValueError(f"contrastive training needs at least two pairs, the data set has {len(pairs)}")
        if isinstance(pairs.features[audio_column], datasets.Audio):
            # Decoding is ours: `datasets` would need torchcodec and ffmpeg (huggingface/datasets#7707).
            pairs = pairs.cast_column(audio_column, datasets.Audio(decode=False))
        self.pairs, self.audio_column, self.text_column = pairs, audio_column, text_column
        self.sampling_rate, self.samples = extractor.sampling_rate, extractor.nb_max_samples

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.pairs[index]
        try:
            waveform = read_audio_value(row[self.audio_column], self.sampling_rate)[: self.samples]
        except BadClipError as error:
            raise BadClipError(f"pair {index} ({row[self.text_column]!r}) {error}") from error
        array = np.pad(waveform, (0, self.samples - len(waveform)))
        audio = {"array": array, "sampling_rate": self.sampling_rate}
        return {"forward": audio, "forward_caption": row[self.text_column]}
