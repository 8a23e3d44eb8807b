"""R0: what was known, against plain transformers; where its recordings, names and rows come from."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.clips import table, tone
from support.tiny import LABELS, RATE, tiny_encoder, tiny_processor
from teminal_hf.clips.sources import ClipSource
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.evaluation.bootstrap import paired_bootstrap
from teminal_hf.evaluation.embedder import Embedder
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.known import PROMPTS, KnownSounds, evaluation, further_clips
from teminal_hf.evaluation.report import compare_reports, comparison_table, to_json
from teminal_hf.models.stages import StagePolicy

SPLIT = StagePolicy().split_point
SETTINGS = RenderSettings.of(tiny_encoder())
NAMES = [label.replace("_", " ") for label in LABELS]


@pytest.fixture(scope="module")
def tones() -> ClipTable:
    """Two short clips of each of the tiny models' classes but the last, each with a little noise of its own."""
    rng = np.random.default_rng(0)
    labels = [label for label in LABELS[:-1] for _ in range(2)]
    sounds = [tone(200 * 1.6 ** LABELS.index(label), rng.uniform(0.2, 0.45), RATE) for label in labels]
    noisy = [sound + 0.05 * rng.standard_normal(len(sound)).astype(np.float32) for sound in sounds]
    return table({f"clip{i}": sound for i, sound in enumerate(noisy)}, labels).usable(RATE)


def by_transformers(clips: ClipTable, model: Any, names: list[str]) -> list[float]:
    """Of each clip the share of its ten questions that are answered rightly: one clip and one prompt at a time."""
    processor = tiny_processor()
    shares = []
    for clip, label in zip(clips.ids, clips.labels, strict=True):
        right = []
        for padding in ("pad", "repeatpad"):
            for prompt in PROMPTS:
                sound = clips.waveform(clip, RATE, trim=False)
                features = processor.feature_extractor(sound, sampling_rate=RATE, padding=padding, return_tensors="pt")
                tokens = processor.tokenizer([prompt.format(n) for n in names], padding=True, return_tensors="pt")
                with torch.no_grad():
                    audio = model.get_audio_features(input_features=features["input_features"].float()).pooler_output
                    text = model.get_text_features(**tokens).pooler_output
                right.append(names[int((audio @ text.T).argmax())] == label.replace("_", " "))
        shares.append(float(np.mean(right)))
    return shares


def test_the_same_as_plain_transformers(tones: ClipTable) -> None:
    for seed in (0, 1, 2):
        model = tiny_encoder(seed=seed)
        ours = KnownSounds(tones, SETTINGS, NAMES)(model)
        assert ours == pytest.approx(by_transformers(tones, model.clap, NAMES))
    assert len({*ours}) > 1 and max(ours) > 0


def test_the_cached_prefix_changes_nothing_and_is_read_back(
    tones: ClipTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path))
    clips, known = tones, KnownSounds(tones, SETTINGS, NAMES)
    whole = known(tiny_encoder())
    assert known(tiny_encoder(), SPLIT) == whole
    monkeypatch.setattr(Embedder, "sounds", lambda *_: pytest.fail("rendered again"))
    fewer = KnownSounds(clips, SETTINGS)  # other names, the same recordings
    assert len(fewer(tiny_encoder(), SPLIT)) == len(whole)
    other = tiny_encoder()
    with torch.no_grad():
        other.clap.audio_projection.linear2.weight.neg_()
    assert known(other, SPLIT) != whole


def test_rows_stand_first_and_compare_clip_by_clip(tones: ClipTable) -> None:
    zste = ZsteEvaluator(tones, SETTINGS, n_groups=6, tasks=("1", "3O"))
    both = evaluation(zste, {"elsewhere": tones}, NAMES, ["dog", "rain"])
    reports = [to_json(both(tiny_encoder(seed=seed))) for seed in (0, 1)]
    rows = compare_reports(reports[0], reports[1:])
    assert list(rows)[:4] == ["R0", "R0 elsewhere", "R0 left out", "R0 left out of all"]
    assert [rows[row]["n"] for row in list(rows)[:4]] == [6, 10, 4, 4]
    assert [rows[row]["chance"] for row in list(rows)[:4]] == [1 / 5, 1 / 6, 1 / 2, 1 / 5]
    assert set(reports[0]["items"]["R0"]["clips"]) == set(reports[0]["items"]["1"]["clips"])
    shares = [KnownSounds(tones, SETTINGS, NAMES)(tiny_encoder(seed=seed)) for seed in (1, 0)]
    truth = paired_bootstrap(*shares, tones.ids)
    assert {name: rows["R0 elsewhere"][name] for name in truth} == truth
    written = comparison_table({"after": rows}).markdown().splitlines()
    assert [line.split(" | ")[0] for line in written[2:7]] == [f"| {row}" for row in [*list(rows)[:4], "1"]]
    assert "- R0 elsewhere: R0 of the recordings of elsewhere" in written


def test_stores_are_asked_for_once(tones: ClipTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path))
    both = evaluation(ZsteEvaluator(tones, SETTINGS, tasks=("3O",)), {"elsewhere": tones}, NAMES)
    folders = [store.folder for store in both.stores(tiny_encoder(), SPLIT)]
    # ZSTE's recordings and captions, R0's recordings (the same as elsewhere's), captions of five names and of six
    assert len(folders) == len(set(folders)) == 5


def test_names_that_make_no_sense_are_refused(tones: ClipTable) -> None:
    for names, kind, message in (
        (["dog", "rain", "wind", "church bells"], DataError, "there are clips of clock_tick, which known_names"),
        (["dog"], ConfigError, "known_names needs two or more different names, got dog"),
        (["church bells", "church_bells"], ConfigError, "two or more different names, got church bells, church bells"),
    ):
        with pytest.raises(kind, match=re.escape(message)):
            KnownSounds(tones, SETTINGS, names)
    zste = ZsteEvaluator(tones, SETTINGS, tasks=("3O",))
    with pytest.raises(DataError, match="no test clip is of the classes left out"):
        evaluation(zste, left_out=["cow", "cat"])


def test_a_folder_goes_by_its_last_part(esc50: Path) -> None:
    found = further_clips([str(esc50)], ClipSource(source="soundbank"))
    assert list(found) == ["ESC-50"] and len(found["ESC-50"]) == 30
    (esc50 / "ESC-50").mkdir()
    with pytest.raises(ConfigError, match="known names ESC-50 twice"):
        further_clips([str(esc50), str(esc50 / "ESC-50")], ClipSource())
    with pytest.raises(DataError, match="there are clips of door_wood_knock, which known_names does not name"):
        further_clips([str(esc50)], ClipSource(), ["dog", "rain"])
