"""One embedder in a loop, in `datasets` and in the real Ray: the same numbers, and a reason in the place of a crash.

Without ray that test is skipped, or fails if TEMINAL_REQUIRE_ALL=1.
"""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Audio, Dataset, Features
from transformers import ClapModel, ClapProcessor

from support.clips import tone
from support.needs import missing
from support.tiny import RATE, tiny_clap, tiny_encoder, tiny_processor
from teminal_hf import BatchEmbedder, rank
from teminal_hf.audio.sound_file import read_sound
from teminal_hf.errors import CheckpointError, ConfigError, DataError, MissingExtraError, NotFoundError
from teminal_hf.integrations import batch_embedder
from teminal_hf.models.encoder import identity

SECONDS = (0.4, 1.0, 3.7, 0.7, 2.2)  # the model hears 1 s at a time
CAPTIONS = ["dog before rain", "rain", "wind while cow", "rain before dog", "clock tick"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("embedder") / "model"
    save(folder, tiny_clap())
    return str(folder)


def save(folder: Path, clap: ClapModel) -> None:
    clap.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    import soundfile

    folder = tmp_path_factory.mktemp("embedder-sounds")
    for n, seconds in enumerate(SECONDS):
        soundfile.write(folder / f"{n}.wav", tone(300 * (n + 1), seconds, 16_000), 16_000)
    return [str(folder / f"{n}.wav") for n in range(len(SECONDS))]


def rows_of(out: dict[str, Any], column: str = "embedding") -> np.ndarray:
    return np.array(out[column], dtype=np.float64)


def test_recordings_are_embedded_as_rank_hears_them(model: str, sounds: list[str]) -> None:
    out = BatchEmbedder(model)({"audio": sounds})
    encoder, embeds = tiny_encoder(), rows_of(out)
    assert out["reason"] == [""] * 5 and out["windows"] == [1, 1, 4, 1, 3]
    assert set(out["model"]) == {identity(tiny_encoder())}
    for sound, embed in zip(sounds, embeds, strict=True):
        similarity = dict(rank(encoder, sound, CAPTIONS).captions)
        text = encoder.embed_text(CAPTIONS)
        assert embed @ text.T == pytest.approx([similarity[caption] for caption in CAPTIONS], abs=1e-5)
    short = [read_sound(sounds[n], RATE) for n in (0, 1, 3)]
    np.testing.assert_allclose(embeds[[0, 1, 3]], encoder.embed_audio(short), atol=1e-5)


def test_the_model_hears_what_transformers_alone_makes_of_it(model: str, sounds: list[str]) -> None:
    processor, plain = ClapProcessor.from_pretrained(model), ClapModel.from_pretrained(model).eval()
    waveform = read_sound(sounds[0], RATE)
    features = processor.feature_extractor(waveform, sampling_rate=RATE, padding="pad", return_tensors="pt")
    with torch.no_grad():
        truth = plain.get_audio_features(input_features=features["input_features"]).pooler_output[0]
    ours = rows_of(BatchEmbedder(model)({"audio": sounds[:1]}))[0]
    np.testing.assert_allclose(ours, torch.nn.functional.normalize(truth, dim=-1).numpy(), atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_batch_does_not_matter(model: str, sounds: list[str], size: int) -> None:
    embedder = BatchEmbedder(model, text_column="text")
    whole = embedder({"audio": sounds, "text": CAPTIONS})
    parts = [
        embedder({"audio": sounds[n : n + size], "text": CAPTIONS[n : n + size]}) for n in range(0, len(sounds), size)
    ]
    for column in ("embedding", "text_embedding"):
        joined = np.concatenate([rows_of(part, column) for part in parts])
        np.testing.assert_allclose(joined, rows_of(whole, column), atol=1e-5)
    np.testing.assert_allclose(rows_of(whole, "text_embedding"), tiny_encoder().embed_text(CAPTIONS), atol=1e-5)


class Decoder:
    """As `datasets` wraps torchcodec's."""

    def __init__(self, array: np.ndarray, rate: int) -> None:
        self._cell = {"array": array, "sampling_rate": rate}

    def __getitem__(self, name: str) -> Any:
        return self._cell[name]

    def get_all_samples(self) -> None: ...


def test_every_kind_of_cell_is_one_sound(model: str, sounds: list[str]) -> None:
    path, array = Path(sounds[1]), read_sound(sounds[1], 16_000)
    content, integers = path.read_bytes(), np.round(array * 2**15).astype(int).tolist()
    cells = [str(path), content, {"bytes": content, "path": None}, {"bytes": None, "path": str(path)}]
    cells += [{"array": array, "sampling_rate": 16_000}, {"array": array.tolist(), "sampling_rate": 16_000}]
    cells += [Decoder(array[None], 16_000), {"array": integers, "sampling_rate": 16_000}]
    embeds = rows_of(BatchEmbedder(model)({"audio": cells}))
    np.testing.assert_allclose(embeds, np.broadcast_to(embeds[0], embeds.shape), atol=1e-5)
    relative = BatchEmbedder(model, base=path.parent)
    cells = [path.name, {"bytes": None, "path": path.name}]
    np.testing.assert_allclose(rows_of(relative({"audio": cells})), embeds[:2], atol=1e-5)
    large = [{"array": (array.astype(float) * 2**31).astype(int).tolist(), "sampling_rate": 16_000}]
    np.testing.assert_allclose(rows_of(BatchEmbedder(model, samples="int32")({"audio": large})), embeds[:1], atol=1e-5)
    assert "full scale is not known" in BatchEmbedder(model)({"audio": large})["reason"][0]


def test_a_bad_row_says_why_and_leaves_the_others_alone(model: str, sounds: list[str], tmp_path: Path) -> None:
    wave = tone(500, 1.0, RATE)
    bad: dict[str, Any] = {
        "has no audio": None,
        "there is no such file": str(tmp_path / "none.wav"),
        "cannot be decoded as audio": b"no sound",
        "is silent": {"array": np.zeros(RATE), "sampling_rate": RATE},
        "holds NaN": {"array": np.full(RATE, np.nan), "sampling_rate": RATE},
        "and full scale is 1": {"array": 1e30 * wave, "sampling_rate": RATE},
        "store the rate in Hz": {"array": wave, "sampling_rate": None},
        "File name too long": "x" * 5000,
        "is a int": 7,
    }
    embedder, good = BatchEmbedder(model, text_column="text"), {"array": wave, "sampling_rate": RATE}
    out = embedder({"audio": [*bad.values(), good, good], "text": ["rain"] * len(bad) + [" ", "rain"]})
    assert all(part in why for part, why in zip(bad, out["reason"], strict=False)), out["reason"]
    assert out["embedding"][:-2] == out["windows"][:-2] == [None] * len(bad)
    assert out["reason"][-2:] == ["text is empty", ""] and out["text_embedding"][-2] is None
    alone = embedder({"audio": [good], "text": ["rain"]})
    np.testing.assert_allclose(rows_of({"embedding": out["embedding"][-2:]}), rows_of(alone).repeat(2, 0), atol=1e-5)
    both = embedder({"audio": [None], "text": [3]})["reason"]
    assert both == ["audio has no audio: the cell is a NoneType; text holds no text"]


def table(sounds: list[str]) -> Dataset:
    """Encoded files as `Audio`, 40 rows, every fourth of them bad."""
    contents = [Path(sound).read_bytes() for sound in sounds]
    cells = [{"bytes": b"no" if n % 4 == 3 else contents[n % 5], "path": None} for n in range(40)]
    return Dataset.from_dict({"id": list(range(40)), "audio": cells}).cast_column("audio", Audio(decode=False))


@pytest.mark.parametrize("processes", [None, 2])
def test_datasets_maps_it(model: str, sounds: list[str], processes: int | None) -> None:
    rows, embedder = table(sounds), BatchEmbedder(model, keep=["id"])
    truth = embedder(rows[:])
    torch.randn(300, 300) @ torch.randn(300, 300)  # threads that a forked worker does not have
    mapped = rows.map(embedder, batched=True, batch_size=7, num_proc=processes, remove_columns=["audio"])
    assert mapped["id"][:] == list(range(40)) and mapped["reason"][:] == truth["reason"]
    good = [n for n in range(40) if n % 4 != 3]
    assert [n for n, embed in enumerate(mapped["embedding"]) if embed is not None] == good
    ours, theirs = ([column[n] for n in good] for column in (truth["embedding"], mapped["embedding"][:]))
    np.testing.assert_allclose(np.array(theirs, dtype=float), np.array(ours, dtype=float), atol=1e-5)
    assert mapped.features["embedding"] == embedder.features["embedding"]


def test_rows_that_are_all_bad_have_a_type(model: str) -> None:
    rows = Dataset.from_dict({"audio": [b"no"] * 3})
    embedder = BatchEmbedder(model)
    mapped = rows.map(embedder, batched=True, features=Features({**rows.features, **embedder.features}))
    assert mapped["embedding"][:] == [None] * 3 and all(mapped["reason"])


RAY = """
import json, sys
import ray
from teminal_hf import BatchEmbedder

model, sounds, temporary = sys.argv[1], sys.argv[2:-1], sys.argv[-1]
ray.init(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False, _temp_dir=temporary)
rows = ray.data.from_items([{"id": n, "audio": sounds[n] if n != 3 else "none.wav"} for n in range(5)])
embedder = BatchEmbedder(model, keep=["id"])
found = [rows.map_batches(embedder, batch_size=2).take_all()]
options = {"model": model, "keep": ["id"]}
found += [rows.map_batches(BatchEmbedder, fn_constructor_kwargs=options, batch_size=2, concurrency=1).take_all()]
ray.shutdown()
print(json.dumps(found))
"""


def test_ray_maps_it(model: str, sounds: list[str], tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        missing('Ray Data needs ray: pip install "teminal-hf[ray]"')
    import shutil
    import tempfile

    truth = BatchEmbedder(model)({"audio": [*sounds[:3], "none.wav", sounds[4]]})
    env = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    temporary = tempfile.mkdtemp(prefix="ray")  # of a short name: sockets lie in it
    try:
        done = subprocess.run(
            [sys.executable, "-c", RAY, model, *sounds, temporary], env=env, capture_output=True, text=True, timeout=300
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-4000:]
    for rows in json.loads(done.stdout.splitlines()[-1]):
        rows = sorted(rows, key=lambda row: row["id"])
        assert [row["id"] for row in rows] == list(range(5)) and rows[3]["embedding"] is None
        assert [row["reason"] for row in rows] == truth["reason"] and "no such file" in rows[3]["reason"]
        for n in (0, 1, 2, 4):
            np.testing.assert_allclose(rows[n]["embedding"], np.array(truth["embedding"][n], float), atol=1e-5)
            assert rows[n]["model"] == truth["model"][n]


def test_it_is_pickled_without_weights_and_opened_once(model: str, sounds: list[str], monkeypatch: Any) -> None:
    embedder = BatchEmbedder(model)
    pickled = pickle.dumps(embedder)
    assert len(pickled) < 1000
    opened: list[str] = []
    monkeypatch.setattr(batch_embedder, "_loaded", {})
    load = batch_embedder.load_encoder
    monkeypatch.setattr(batch_embedder, "load_encoder", lambda name: opened.append(name) or load(name))
    one, other = pickle.loads(pickled), pickle.loads(pickled)
    assert opened == []
    assert rows_of(one({"audio": sounds})).tolist() == rows_of(other({"audio": sounds})).tolist()
    assert opened == [model]


def test_a_checkpoint_that_has_changed_is_not_taken_for_the_one_before(
    tmp_path: Path, sounds: list[str], monkeypatch: Any
) -> None:
    save(tmp_path / "m", tiny_clap())
    before = BatchEmbedder(str(tmp_path / "m"))
    save(tmp_path / "m", tiny_clap(seed=1))
    after = BatchEmbedder(str(tmp_path / "m"))
    assert before.model_hash != after.model_hash
    one, other = (rows_of(embedder({"audio": sounds[:1]})) for embedder in (before, after))
    assert np.abs(one - other).max() > 1e-3
    monkeypatch.setattr(batch_embedder, "_loaded", {})  # as in a new process
    with pytest.raises(CheckpointError, match="is not what it was when this embedder was made"):
        before({"audio": sounds[:1]})


def test_threads_are_as_asked_and_then_as_before(model: str, sounds: list[str], monkeypatch: Any) -> None:
    seen: list[int] = []
    embed = batch_embedder.window_embeds
    monkeypatch.setattr(
        batch_embedder, "window_embeds", lambda *given: seen.append(torch.get_num_threads()) or embed(*given)
    )
    before = torch.get_num_threads()
    BatchEmbedder(model, threads=before + 1)({"audio": sounds[:1]})
    BatchEmbedder(model)({"audio": sounds[:1]})
    monkeypatch.setattr(batch_embedder, "_PROCESS", -1)  # as in a forked worker
    torch.set_num_threads(3)
    try:
        BatchEmbedder(model)({"audio": sounds[:1]})
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [before + 1, before, 1]


def test_what_cannot_be_embedded_is_said(model: str, sounds: list[str]) -> None:
    with pytest.raises(ConfigError, match="nothing to embed: name an audio_column, a text_column, or both"):
        BatchEmbedder(model, audio_column=None)
    with pytest.raises(ConfigError, match="keep names model, which the embedder adds itself"):
        BatchEmbedder(model, keep=["id", "model"])
    with pytest.raises(NotFoundError):
        BatchEmbedder("./nowhere")
    with pytest.raises(DataError, match="the batch has no column audio; present: sound"):
        BatchEmbedder(model)({"sound": sounds})
    out = BatchEmbedder(model, audio_column=None, text_column="text")({"text": CAPTIONS})
    assert sorted(out) == ["model", "reason", "text_embedding"]
    assert BatchEmbedder(model)({"audio": []}) == {"embedding": [], "windows": [], "model": [], "reason": []}


def test_a_column_that_would_be_decoded_without_torchcodec(model: str) -> None:
    class Lazy(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise ImportError("To support decoding audio data, please install 'torchcodec'.")

    with pytest.raises(MissingExtraError, match=r'cast_column\("audio", Audio\(decode=False\)\)'):
        BatchEmbedder(model)(Lazy(audio=[None]))
