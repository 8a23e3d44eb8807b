"""Tasks of `mteb` from what `teminal data export-mteb` wrote, and an `Encoder` as a model for it.

    import mteb
    result = mteb.evaluate(mteb_model(load_encoder("clap-mini")), tasks(folder))

Needs the extra: `pip install "teminal-hf[mteb]"`; neither torchcodec nor torchaudio, which mteb's own loading of audio
and its own CLAP wrapper need.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard

from teminal_hf.audio.waveform import Waveform, resample
from teminal_hf.clips.audio_column import undecoded
from teminal_hf.errors import MissingExtraError, NotFoundError
from teminal_hf.hub.cards import CITATION
from teminal_hf.integrations.mteb_export import SECONDS, SPLIT, VIEWS
from teminal_hf.models.encoder import Encoder, audio_embeds, identity, text_embeds

try:
    from mteb import AbsTask, TaskMetadata
    from mteb._evaluators.retrieval_metrics import paired_accuracy
    from mteb.abstasks import AbsTaskRetrieval, AbsTaskZeroShotClassification
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ScoringFunction
except ImportError as error:
    raise MissingExtraError(f'mteb is not there ({error}): pip install "teminal-hf[mteb]"') from error

_ABOUT = {
    "1": "Which single sound is heard? One clip, padded with silence.",
    "3": "Before, after or while? Two sounds in sequence (query 1) and overlaid (query 2), three captions.",
    "3O": "Which comes first? Two sounds in one order (query 1) and in the other (query 2), the same two captions.",
    "4": "Two sounds in sequence (query 1) and overlaid (query 2); as many captions as classes, the other relations of "
    "the same two sounds among them.",
    "5": "Two sounds in sequence: which is the first (query 1), which the second (query 2)?",
    "N": 'Negation: one sound alone (query 1) and two at once (query 2), "X without Y" and "X and Y".',
    "D": "Duration: a long sound and a short one (query 1) and the other way round (query 2), the same two captions.",
}
_ESC50_CITATION = """
@inproceedings{piczak2015dataset,
  title     = {{ESC}: Dataset for Environmental Sound Classification},
  author    = {Piczak, Karol J.},
  booktitle = {Proceedings of the 23rd ACM International Conference on Multimedia},
  pages     = {1015--1018},
  year      = {2015},
  doi       = {10.1145/2733373.2806390}
}
"""


class _SingleSound(AbsTaskZeroShotClassification):
    """ZSTE task 1."""

    input_column_name = "audio"
    label_column_name = "label"

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        self.dataset = {SPLIT: _playable(_read(self.metadata, "1"))}
        self.data_loaded = True

    def get_candidate_labels(self) -> list[str]:
        return _read(self.metadata, "1-labels")["labels"][:]


class _Reranking(AbsTaskRetrieval):
    """A ZSTE task of two queries about each group; `accuracy_q1` and `accuracy_q2` are those of one of the two."""

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """As mteb loads such a task, but for the audio: mteb would decode it by torchcodec."""
        (subset,) = self.hf_subsets
        parts = {
            part: _read(self.metadata, f"{subset}-{part}") for part in ("corpus", "queries", "qrels", "top_ranked")
        }
        data = RetrievalSplitData(
            corpus=parts["corpus"],
            queries=_playable(parts["queries"]),
            relevant_docs={row["query-id"]: {row["corpus-id"]: row["score"]} for row in parts["qrels"]},
            top_ranked={row["query-id"]: row["corpus-ids"] for row in parts["top_ranked"]},
        )
        self.dataset = {subset: {SPLIT: data}}
        self.data_loaded = True

    def task_specific_scores(
        self,
        scores: dict[str, dict[str, float]],
        qrels: Mapping[str, Mapping[str, int]],
        results: dict[str, dict[str, float]],
        hf_split: str,
        hf_subset: str,
    ) -> dict[str, float]:
        found = {"paired_accuracy": paired_accuracy(qrels, results, scores)}
        for number in ("q1", "q2"):
            right = [score["recall_1"] for query, score in scores.items() if query.endswith(number)]
            found[f"accuracy_{number}"] = sum(right) / len(right)
        return found


def tasks(folder: str | Path) -> list[AbsTask]:
    """The tasks of an exported folder: ZSTE 1, 3, 3O, 4, 5, N and D (see `mteb_export` for their pairs of queries).

    A task's name ends in the first digits of a hash of the folder's content: mteb keeps results under names alone, and
    would answer for one export with the figures of another.

    Raises:
        NotFoundError: the folder holds no export.
    """
    path = Path(folder).resolve() / "README.md"
    facts = DatasetCard.load(path).data.to_dict() if path.is_file() else {}
    if "zste" not in facts:
        raise NotFoundError(f"{folder} holds no export; write one: teminal data export-mteb --output_dir {folder}")
    return [_task(subset, path.parent, facts) for subset in ("1", *VIEWS)]


def _task(subset: str, folder: Path, facts: Mapping[str, Any]) -> AbsTask:
    revision, is_single, licence = facts["zste"]["revision"], subset == "1", facts["license"]
    location: Any = {"path": str(folder), "revision": revision}
    name = f"ZSTE{subset}-{revision[:8]}"
    metadata = TaskMetadata(
        name=name,
        description=f"ZSTE (zero-shot temporal evaluation) task {subset}. {_ABOUT[subset]} Recordings of {SECONDS} s.",
        reference="https://arxiv.org/abs/2408.09269",
        dataset=location | {"name": "1"} if is_single else location,
        type="AudioZeroshotClassification" if is_single else "Any2AnyReranking",
        category="a2t",
        modalities=["audio", "text"],
        eval_splits=[SPLIT],
        eval_langs=["eng-Latn"] if is_single else {subset: ["eng-Latn"]},
        main_score="accuracy" if is_single else "paired_accuracy",
        domains=["AudioScene"],
        task_subtypes=["Environment Sound Classification" if is_single else "Environment Sound Reranking"],
        license="not specified" if licence == "unknown" else licence,
        annotations_creators="derived",
        dialect=[],
        sample_creation="created",
        bibtex_citation=CITATION + (_ESC50_CITATION if licence == "cc-by-nc-3.0" else ""),
    )
    # A class for each: mteb drops the metadata of an instance when it unloads the task's data.
    return type(name, (_SingleSound if is_single else _Reranking,), {"metadata": metadata})()


def _read(metadata: TaskMetadata, config: str) -> Dataset:
    return load_dataset(metadata.dataset["path"], config, split=SPLIT)


def _playable(dataset: Dataset) -> Dataset:
    """With audio cells as mteb's models take them, {"array": (samples,) float32, "sampling_rate": Hz}, on access."""
    return undecoded(dataset, "audio").with_transform(_decode)


def _decode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    cells = [soundfile.read(io.BytesIO(cell["bytes"]), dtype="float32") for cell in batch.get("audio", ())]
    return batch | ({"audio": [{"array": a, "sampling_rate": rate} for a, rate in cells]} if cells else {})


class _MtebModel(AbsEncoder):
    def __init__(self, encoder: Encoder, name: str, revision: str) -> None:
        self.encoder = encoder
        facts = {"name": name, "revision": revision, "modalities": ["audio", "text"]}
        facts |= {"framework": ["PyTorch"], "similarity_fn_name": ScoringFunction.COSINE}
        self.mteb_model_meta = ModelMeta.create_empty(facts)

    def encode(self, inputs: Any, **kwargs: Any) -> Any:
        """Embeddings of length 1 (n, D) of a loader's recordings or, if it has none, of its texts."""
        if "audio" in inputs.dataset.features:
            return np.concatenate([audio_embeds(self.encoder, self._waveforms(batch["audio"])) for batch in inputs])
        return text_embeds(self.encoder, [text for batch in inputs for text in batch["text"]])

    def _waveforms(self, cells: Sequence[Mapping[str, Any]]) -> list[Waveform]:
        return [resample(cell["array"], cell["sampling_rate"], self.encoder.sampling_rate) for cell in cells]


def mteb_model(encoder: Encoder, name: str = "local/model", revision: str | None = None) -> AbsEncoder:
    """A model for `mteb.evaluate`. It hears whole recordings, resampled by soxr if need be, and no longer ones
    than its window.

    Args:
        name: "organisation/model", under which mteb keeps the results.
        revision: of the model there (default: of its weights, see `identity`).

    Raises:
        ConfigError: no revision, and no weights to take it from.
    """
    return _MtebModel(encoder, name, revision or identity(encoder)[:16])
