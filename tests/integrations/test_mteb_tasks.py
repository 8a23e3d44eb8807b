"""What mteb itself makes of an exported folder. Without mteb these are skipped, or fail if TEMINAL_REQUIRE_ALL=1."""

import importlib
import importlib.util
import sys
import zlib
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Audio

import teminal_hf
from support.mteb_folder import GROUPS, RATE, SEED, bank, questions, read, samples, write
from support.needs import missing
from teminal_hf import ClipTable, FunctionEncoder, RenderSettings, ZsteEvaluator, load_encoder
from teminal_hf.data.zste_items import plan_zste
from teminal_hf.errors import ConfigError
from teminal_hf.evaluation.zste import score
from teminal_hf.integrations.mteb_export import VIEWS
from teminal_hf.models.encoder import audio_embeds

# mteb asks sklearn for macro averages, over classes that these few items may not hold.
pytestmark = pytest.mark.filterwarnings("ignore:(Precision|Recall) is ill-defined")
TASKS = ("1", "3", "3O", "4", "5", "N", "D")
ZSTE = ("1", "3A", "3B", "3O", "4A", "4B", "5A", "5B", "G")

Scores = dict[str, dict[str, float]]
Embed = Callable[[bytes | str], np.ndarray]


@pytest.fixture(scope="module")
def clips() -> ClipTable:
    return bank()


@pytest.fixture(scope="module")
def folder(clips: ClipTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(clips, tmp_path_factory.mktemp("mteb") / "export")


@pytest.fixture(scope="module")
def mteb_tasks() -> Any:
    try:
        from teminal_hf.integrations import mteb_tasks
    except ImportError as error:
        missing(str(error))
    return mteb_tasks


def evaluated(model: Any, tasks: list[Any]) -> Scores:
    """What mteb says, task for task."""
    import mteb

    results = mteb.evaluate(model, tasks, cache=None, show_progress_bar=False).task_results
    assert [result.task_name.split("-")[0] for result in results] == [f"ZSTE{name}" for name in TASKS]
    return {name: result.scores["test"][0] for name, result in zip(TASKS, results, strict=True)}


encoder = cache(lambda: load_encoder("clap-mini"))


@pytest.fixture(scope="module")
def scores(folder: Path, mteb_tasks: Any) -> Scores:
    """Of the embedded model."""
    return evaluated(mteb_tasks.mteb_model(encoder()), mteb_tasks.tasks(folder))


@cache
@torch.inference_mode()
def heard_by_clap(sound: bytes | str) -> np.ndarray:
    """Embedding of a recording's samples or of a caption, by `transformers` alone."""
    model, processor = encoder().model, encoder().processor
    if isinstance(sound, str):
        return model.get_text_features(**processor.tokenizer(sound, return_tensors="pt")).pooler_output[0].numpy()
    waveform = np.frombuffer(sound, np.float32)
    features = processor.feature_extractor(waveform, sampling_rate=RATE, return_tensors="pt")
    return model.get_audio_features(**features).pooler_output[0].numpy()


def check(said: Scores, folder: Path, clips: ClipTable, embed: Embed) -> None:
    """Against the ranks of the exported recordings and captions, and against ZSTE's own scores of the same items."""
    prompts = np.stack([embed(row["labels"]) for row in read(folder, "1-labels")])
    sounds: dict[str, np.ndarray] = {}
    for row in read(folder, "1"):
        sounds[f"clip {row['clip']}"] = embed(samples(row["audio"]).tobytes())
    right = [int((prompts @ sounds[f"clip {row['clip']}"]).argmax()) == row["label"] for row in read(folder, "1")]
    assert said["1"]["accuracy"] == said["1"]["main_score"] == pytest.approx(np.mean(right))
    for subset in VIEWS:
        asked = questions(folder, subset)
        for row in read(folder, f"{subset}-queries"):
            sounds[f"{subset} {row['id']}"] = embed(samples(row["audio"]).tobytes())
        hits = {
            query: max(offered, key=lambda caption: embed(caption) @ sounds[f"{subset} {query}"]) == truth
            for query, (offered, truth) in asked.items()
        }
        pairs = [hits[f"{group:05d}_q1"] and hits[f"{group:05d}_q2"] for group in range(GROUPS)]
        assert said[subset]["main_score"] == said[subset]["paired_accuracy"] == pytest.approx(np.mean(pairs))
        assert said[subset]["accuracy"] == pytest.approx(np.mean(list(hits.values())), abs=1e-5)  # mteb rounds it

    items = plan_zste(clips, n_groups=GROUPS, seed=SEED, tasks=(*ZSTE, "D"))
    predictions = []
    for item in items:
        keys = {"1": [f"clip {item.clip_a}"], "G": [f"3O {item.group_id:05d}_q{number}" for number in (1, 2)]}
        number = 2 if item.task in ("3B", "4B") else 1
        subset = item.task if item.task in ("3O", "D") else item.task[0]
        for_item = np.stack([sounds[key] for key in keys.get(item.task, [f"{subset} {item.group_id:05d}_q{number}"])])
        predictions.append((for_item @ np.stack([embed(caption) for caption in item.candidates]).T).ravel())
    result = score(predictions, [item.right for item in items], [item.task for item in items])
    figures = {task: row["accuracy"] for task, row in result.items() if isinstance(row, dict)}
    compare(said, figures | {"G text": result["G"]["text"]["accuracy"]})


def compare(said: Scores, figures: dict[str, float]) -> None:
    """mteb's scores with ZSTE's."""
    for task, (subset, name) in {
        "1": ("1", "accuracy"),
        "3A": ("3", "accuracy_q1"),
        "3B": ("3", "accuracy_q2"),
        "3O": ("3O", "accuracy_q1"),
        "G text": ("3O", "paired_accuracy"),
        "4A": ("4", "accuracy_q1"),
        "4B": ("4", "accuracy_q2"),
        "5A": ("5", "paired_accuracy"),
        "5B": ("5", "accuracy"),
        "D": ("D", "accuracy_q1"),
    }.items():
        assert said[subset][name] == pytest.approx(figures[task], abs=1e-5), task


def test_mteb_computes_what_the_embeddings_say(folder: Path, clips: ClipTable, scores: Scores) -> None:
    check(scores, folder, clips, heard_by_clap)


def test_a_model_that_hears_order(folder: Path, clips: ClipTable, mteb_tasks: Any) -> None:
    """The embedded base is as good as deaf to order. This one knows every third group, and of every third the first
    recording alone."""
    known: dict[bytes, set[str]] = {}
    prompts = [row["labels"] for row in read(folder, "1-labels")]
    for i, row in enumerate(read(folder, "1")):
        known.setdefault(samples(row["audio"]).tobytes(), set()).update([prompts[row["label"]]] if i % 3 else [])
    for subset in VIEWS:
        asked = questions(folder, subset)
        for row in read(folder, f"{subset}-queries"):
            group, number = row["id"].split("_q")
            knows = int(group) % 3 == 1 or (int(group) % 3 == 2 and number == "1")
            known.setdefault(samples(row["audio"]).tobytes(), set()).update([asked[row["id"]][1]] if knows else [])

    @cache
    def embed(sound: bytes | str) -> np.ndarray:
        content = sound.encode() if isinstance(sound, str) else sound
        vector = np.random.default_rng(zlib.crc32(content)).standard_normal(256)
        if not isinstance(sound, str):
            vector = 0.1 * vector + sum(embed(caption) for caption in sorted(known[sound]))
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def encode(inputs: Any, **_: Any) -> np.ndarray:
        if "audio" in inputs.dataset.features:
            return np.stack([embed(cell["array"].tobytes()) for batch in inputs for cell in batch["audio"]])
        return np.stack([embed(text) for batch in inputs for text in batch["text"]])

    model = mteb_tasks.mteb_model(encoder())
    model.encode = encode
    said = evaluated(model, mteb_tasks.tasks(folder))
    for subset in VIEWS:
        assert 0 < said[subset]["paired_accuracy"] < said[subset]["accuracy"] < 1, subset
    check(said, folder, clips, embed)


def test_mteb_agrees_with_zste(clips: ClipTable, scores: Scores) -> None:
    """The same items and recordings, but for 16 bits; no item is close enough to a tie for that to matter."""
    tasks = (*ZSTE, "D")
    settings = RenderSettings.of(encoder())
    zste = ZsteEvaluator(clips, settings, n_groups=GROUPS, seed=SEED, tasks=tasks)(encoder())
    compare(scores, zste.figures() | {"G text": zste.results["G"]["text"]["accuracy"]})


def test_mtebs_own_clap_wrapper_hears_the_same(
    folder: Path, scores: Scores, mteb_tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the embedded checkpoint's folder. It imports torchaudio, to resample, even where rates agree."""
    from mteb.models.model_implementations.clap_models import ClapZeroShotWrapper, clap_htsat_unfused

    if importlib.util.find_spec("torchaudio") is None:
        stand_in = ModuleType("torchaudio")
        stand_in.__spec__ = ModuleSpec("torchaudio", None)
        monkeypatch.setitem(sys.modules, "torchaudio", stand_in)
    checkpoint = Path(teminal_hf.__file__).parent / "models" / "clap_mini"
    model = ClapZeroShotWrapper(str(checkpoint), revision=None, device="cpu")
    model.mteb_model_meta = clap_htsat_unfused  # for the modalities and the similarity
    said = evaluated(model, mteb_tasks.tasks(folder))
    for name in TASKS:
        assert said[name]["main_score"] == scores[name]["main_score"], name
        assert said[name]["accuracy"] == scores[name]["accuracy"], name


def test_mtebs_own_loader_reads_the_folder(folder: Path, mteb_tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would without this package; the decoding of audio, torchcodec's, is stood in for."""
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    monkeypatch.setattr(Audio, "decode_example", lambda self, value, **_: {"array": samples(value)})
    for task in mteb_tasks.tasks(folder)[1:]:
        (subset,) = task.hf_subsets
        place = task.metadata.dataset
        loaded = RetrievalDatasetLoader(hf_repo=place["path"], revision=place["revision"], config=subset).load()
        task.load_data()
        ours = task.dataset[subset]["test"]
        assert loaded["relevant_docs"] == ours["relevant_docs"]
        assert loaded["top_ranked"] == ours["top_ranked"]
        assert list(loaded["corpus"]) == list(ours["corpus"])
        assert list(loaded["queries"]["id"]) == list(ours["queries"]["id"])
        assert np.array_equal(loaded["queries"][3]["audio"]["array"], ours["queries"][3]["audio"]["array"])


def test_the_tasks_say_what_they_are(folder: Path, clips: ClipTable, mteb_tasks: Any, tmp_path: Path) -> None:
    first, *others = mteb_tasks.tasks(folder)
    assert (first.metadata.type, first.metadata.main_score) == ("AudioZeroshotClassification", "accuracy")
    for task in others:
        assert (task.metadata.type, task.metadata.main_score) == ("Any2AnyReranking", "paired_accuracy")
    assert {task.metadata.category for task in (first, *others)} == {"a2t"}
    assert {task.metadata.license for task in (first, *others)} == {"apache-2.0"}
    assert "piczak" not in first.metadata.bibtex_citation
    other = mteb_tasks.tasks(write(clips, tmp_path / "b", licence="cc-by-nc-3.0", n_groups=2))[0]
    assert other.metadata.license == "cc-by-nc-3.0" and "piczak2015" in other.metadata.bibtex_citation


def test_mtebs_cache_tells_exports_and_weights_apart(
    folder: Path, clips: ClipTable, mteb_tasks: Any, tmp_path: Path
) -> None:
    """It keeps results under the names of task and model and the model's revision."""
    import mteb

    write(clips, tmp_path / "b", n_groups=2)
    model = load_encoder("clap-mini")
    cache = mteb.ResultCache(cache_path=tmp_path / "cache")
    ours, other = (mteb_tasks.tasks(place)[2] for place in (folder, tmp_path / "b"))
    results = [mteb.evaluate(mteb_tasks.mteb_model(model), task, cache=cache) for task in (ours, other)]
    assert results[0].task_results[0].task_name != results[1].task_results[0].task_name
    with torch.no_grad():
        model.clap.audio_projection.linear2.weight.neg_()
    changed = mteb.evaluate(mteb_tasks.mteb_model(model), ours, cache=cache)
    assert len(list((tmp_path / "cache").rglob("ZSTE3O-*.json"))) == 3
    assert changed.model_revision != results[0].model_revision


def test_a_recording_at_another_rate_is_resampled(mteb_tasks: Any) -> None:
    model = mteb_tasks.mteb_model(encoder())
    t = np.arange(480_000) / 48_000
    tone = (0.3 * np.sin(2 * np.pi * 500 * t)).astype(np.float32)
    cells = [{"array": tone, "sampling_rate": 48_000}, {"array": tone[::3], "sampling_rate": 16_000}]
    embeds = audio_embeds(encoder(), model._waveforms(cells))
    assert np.allclose(embeds[0], embeds[1], atol=1e-3) and embeds.shape[0] == 2


def test_a_model_without_weights_needs_a_revision(mteb_tasks: Any) -> None:
    silent = FunctionEncoder(lambda sounds: np.ones((len(sounds), 2)), lambda words: np.ones((len(words), 2)), 16_000)
    with pytest.raises(ConfigError, match="FunctionEncoder has no torch module as `model`"):
        mteb_tasks.mteb_model(silent)
    assert mteb_tasks.mteb_model(silent, revision="1").mteb_model_meta.revision == "1"


def test_a_folder_without_an_export_is_named(mteb_tasks: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no export; write one: teminal data export-mteb --output_dir"):
        mteb_tasks.tasks(tmp_path)


def test_without_mteb_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.delitem(sys.modules, "teminal_hf.integrations.mteb_tasks", raising=False)
    monkeypatch.delattr(teminal_hf, "mteb_tasks", raising=False)
    with pytest.raises(ImportError, match=r'pip install "teminal-hf\[mteb\]"'):
        importlib.import_module("teminal_hf.integrations.mteb_tasks")
