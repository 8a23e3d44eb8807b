"""Evaluation: figures are those of a straightforward computation, twice the same; ranking hears all of a file."""

import copy
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from teminal_hf.clips.sources import sound_bank
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.errors import BadClipError, ConfigError, DataError, NotFoundError
from teminal_hf.evaluation.embedder import Embedder
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.ranking import rank
from teminal_hf.evaluation.report import results_table
from teminal_hf.evaluation.zste import score
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.embed import ClapEncoder, embed_audio, embed_text, warn_if_collapsed
from teminal_hf.models.towers import SplitPoint

TASKS = ("1", "2A", "3A", "3O", "5A", "G")


@pytest.fixture(scope="module")
def mini():
    return ClapEncoder(*load_clap("clap-mini"))


@pytest.fixture(scope="module")
def evaluator(mini):
    return ZsteEvaluator(sound_bank(2).in_folds([4]).usable(16_000), RenderSettings.of(mini), n_groups=6, tasks=TASKS)


def test_recordings_of_another_rate_than_the_encoders_are_refused(mini) -> None:
    clips = sound_bank(2).in_folds([4]).usable(8_000)
    apart = ZsteEvaluator(clips, RenderSettings(sampling_rate=8_000), n_groups=2, tasks=["3O"])
    with pytest.raises(
        ConfigError, match=r"composed at 8000 Hz, and this model hears 16000 Hz; give RenderSettings.of"
    ):
        apart(mini)


def test_what_is_no_waveform_and_no_list_of_captions_is_refused(mini) -> None:
    wave = np.sin(np.arange(4_000) / 5).astype(np.float32)
    given = [wave.astype(np.float64), torch.from_numpy(wave.copy()), wave[::-1]]
    found = embed_audio(mini.model, mini.processor, given)
    torch.testing.assert_close(found[0], found[1])
    for bad in ((wave * 32767).astype(np.int16), wave[None], wave[:0], np.full(9, np.nan, np.float32)):
        with pytest.raises(DataError, match=r"recording 1 must be mono, an array \(samples,\) of finite floats"):
            embed_audio(mini.model, mini.processor, [wave, bad])
    with pytest.raises(ConfigError, match="captions must be a list of strings, found the one string 'dog'"):
        embed_text(mini.model, mini.processor, "dog")


def test_captions_that_are_cut_are_said(mini, caplog: pytest.LogCaptureFixture) -> None:
    embed_text(mini.model, mini.processor, ["dog", "rain " * 70])
    assert "1 of 2 captions are longer than the 64 tokens that the model reads (the longest has" in caplog.text


def test_same_numbers_as_transformers_own_pipeline(mini, evaluator) -> None:
    """ClapProcessor and ClapModel.get_*_features, item by item, against the batched, deduplicated evaluation."""
    model, processor = mini.model, mini.processor
    extractor = processor.feature_extractor
    clips = evaluator.clips
    renderer = Renderer(clips, RenderSettings(extractor.sampling_rate, 10.0))
    scores = []
    for item in evaluator.items:
        sounds = []
        for view in item.views:
            if view == "clip":
                sounds.append(clips.waveform(item.clip_a, extractor.sampling_rate, trim=False))
            else:
                sounds.append(renderer.views(item.clip_a, item.clip_b, 0, item.group_id)[view])
        features = extractor(sounds, sampling_rate=extractor.sampling_rate, padding="pad", return_tensors="pt")
        tokens = processor.tokenizer(list(item.candidates), padding=True, return_tensors="pt")
        with torch.inference_mode():
            audio = model.get_audio_features(input_features=features["input_features"].float()).pooler_output
            text = model.get_text_features(**tokens).pooler_output
        scores.append((audio @ text.T).flatten().double().tolist())
    own = score(scores, [i.right for i in evaluator.items], [i.task for i in evaluator.items])
    report = evaluator(mini)
    for task in TASKS:
        assert report.results[task]["accuracy"] == own[task]["accuracy"], task


def test_two_evaluations_are_equal_and_the_cached_prefix_changes_nothing(
    mini, evaluator, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path))
    first, second = evaluator(mini), evaluator(mini)
    assert first == second
    assert evaluator(mini, SplitPoint(2, 1)).items == first.items
    monkeypatch.setattr(Embedder, "sounds", lambda *_: pytest.fail("rendered again"))
    assert evaluator(mini, SplitPoint(2, 1)).items == first.items
    other = copy.deepcopy(mini)
    with torch.no_grad():
        other.clap.audio_projection.linear2.weight.neg_()  # of the suffix: the same frozen prefix
    assert evaluator(other, SplitPoint(2, 1)).items != first.items


def test_padded_and_tiled_clips_are_different_recordings(mini, evaluator) -> None:
    item = evaluator.items[0]
    padded, tiled = (
        Renderer(evaluator.clips, RenderSettings(16_000, 10.0)).clip(item.clip_a, tiled=tiled)
        for tiled in (False, True)
    )
    n = len(evaluator.clips.waveform(item.clip_a, 16_000, trim=False))
    assert len(padded) == len(tiled) == 160_000
    np.testing.assert_array_equal(padded[:n], tiled[:n])
    np.testing.assert_array_equal(tiled[n : 2 * n], tiled[:n])
    assert not padded[n:].any()
    assert {"1", "1_tiled"} <= set(evaluator(mini).results)


def test_items_carry_their_scores_and_wording_is_apart(mini, evaluator) -> None:
    report = evaluator(mini)
    for task in TASKS:
        values = [right for name, _, right in report.items if name == task]
        assert len(values) == 6
        assert np.mean(values) == pytest.approx(report.results[task]["accuracy"])
    assert set(report.wording) == {"3A", "3O", "G"}
    assert set(report.wording["3O"]) == {"before", "after"}


def test_a_family_of_wordings_is_a_row_of_its_own(mini, evaluator) -> None:
    """As 3O asked with these captions by hand; all other rows stay."""
    apart = ZsteEvaluator(
        evaluator.clips, evaluator.settings, n_groups=6, tasks=(*TASKS, "8"), families=["start and end", "followed by"]
    )
    report = apart(mini)
    assert {task: report.results[task] for task in TASKS} == {task: evaluator(mini).results[task] for task in TASKS}
    text = {
        caption: embed_text(mini.model, mini.processor, [caption])[0]
        for item in apart.items
        for caption in item.candidates
    }
    renderer = Renderer(apart.clips, RenderSettings(16_000, 10.0))
    for row, family in (("8", ""), ("8 start and end", "start and end"), ("8 followed by", "followed by")):
        right = []
        for item in [item for item in apart.items if (item.task, item.family) == ("8", family)]:
            sound = renderer.views(item.clip_a, item.clip_b, 0, item.group_id)["forward"]
            audio = embed_audio(mini.model, mini.processor, [sound])[0]
            ours, other = (float(audio @ text[item.candidates[i]]) for i in (item.right[0], 1 - item.right[0]))
            right.append(float(ours > other))
        assert [value for name, _, value in report.items if name == row] == right
        assert (report.results[row]["n"], report.results[row]["chance"]) == (6, 0.5)
        assert report.results[row]["accuracy"] == pytest.approx(np.mean(right))
    table = results_table(report.results)
    rows = list(table.rows)
    assert rows[rows.index("8") :] == ["8", "G", "8 start and end", "8 followed by", "order_average"]
    assert 'in the wordings of the family "start and end"' in table.markdown()


def test_embed_text_keeps_the_order_of_its_captions(mini) -> None:
    captions = ["rain", "dog before rain and then some more words", "a", "rain while dog"]
    together = embed_text(mini.model, mini.processor, captions)
    alone = torch.cat([embed_text(mini.model, mini.processor, [caption]) for caption in captions])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_rank_averages_evenly_spaced_windows(mini, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sound = (0.1 * rng.standard_normal(25 * 16_000)).astype(np.float32)
    path = tmp_path / "long.wav"
    soundfile.write(path, sound, 16_000, subtype="FLOAT")
    captions = ["rain", "dog before rain"]
    ranking = rank(mini, path, captions)
    assert ranking.windows == 3
    starts = (0, 7.5, 15)  # 25 s in windows of 10 s
    parts = [dict(rank(mini, sound[int(s * 16_000) :][:160_000], captions).captions) for s in starts]
    for caption, similarity in ranking.captions:
        assert similarity == pytest.approx(np.mean([part[caption] for part in parts]), abs=1e-5)
    assert ranking.captions[0][1] >= ranking.captions[1][1]


def test_rank_pads_and_never_tiles(mini) -> None:
    short = (0.1 * np.random.default_rng(0).standard_normal(3 * 16_000)).astype(np.float32)
    padded = np.pad(short, (0, 7 * 16_000))
    assert rank(mini, short, ["rain"]) == rank(mini, padded, ["rain"])


@pytest.mark.parametrize(
    ("captions", "kind", "message"),
    [
        ([], DataError, "no caption to rank; give at least one, two to compare"),
        ("rain", ConfigError, "captions must be a list of strings, found the one string 'rain'; give ['rain']"),
        (["rain", ""], DataError, "caption 2 of 2 is empty; leave it out"),
        ([" \n", "rain"], DataError, "caption 1 of 2 is empty; leave it out"),
    ],
)
def test_rank_needs_captions(mini, captions: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        rank(mini, np.zeros(16_000, np.float32), captions)


def test_rank_names_the_sound_that_it_cannot_hear(mini, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"not audio")
    soundfile.write(tmp_path / "b.wav", np.zeros(0), 16_000)
    for name, kind, message in (
        ("a.wav", BadClipError, " cannot be decoded as audio ("),
        ("b.wav", BadClipError, " is empty (0 samples)"),
        ("none.wav", NotFoundError, "; give a wav, flac, ogg or mp3 file"),
        ("", NotFoundError, " is a folder; give one wav, flac, ogg or mp3 file"),
    ):
        for path in (tmp_path / name, str(tmp_path / name)):
            with pytest.raises(kind) as error:
                rank(mini, path, ["rain"])
            assert f"{path}{message}" in str(error.value) and str(error.value).count(str(path)) == 1


def test_a_collapsed_text_tower_is_named(caplog: pytest.LogCaptureFixture) -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=-1)
    with caplog.at_level(logging.WARNING):
        warn_if_collapsed(spread)
        assert not caplog.records
        warn_if_collapsed(torch.nn.functional.normalize(torch.ones(8, 16) + 0.01 * spread, dim=-1))
    assert "it has collapsed" in caplog.text
