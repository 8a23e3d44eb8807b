"""`teminal data preview`: what is heard and what is seen is the group that was asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import load_dataset
from matplotlib.figure import Figure
from transformers.audio_utils import hertz_to_mel

from support.clips import tone
from teminal_hf.commands import cli
from teminal_hf.tools.preview import PICTURE, log_mel

RATE = 16_000
FLAGS = ["--clips_per_class", "2", "--sampling_rate", str(RATE)]


def load(stage: str, index: int) -> dict[str, Any]:
    rows = load_dataset(
        "teminal/esc50-temporal", stage, split="train", clips_per_class=2, n_groups=40, sampling_rate=RATE
    )
    return rows[index]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    original = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self) or original(self, *a, **k))
    return figures


@pytest.mark.parametrize(
    ("stage", "index", "views"),
    [
        ("stage_a", 0, ("single", "double")),
        ("stage_b", 7, ("single", "double", "forward", "reversed", "overlay")),
        ("zste", 0, ("clip",)),
        ("zste", 13, ("nested",)),
        ("zste", 15, ("forward", "reversed")),
        ("zste", 5, ("forward",)),
    ],
)
def test_every_view_is_heard_and_seen(
    stage: str,
    index: int,
    views: tuple[str, ...],
    tmp_path: Path,
    drawn: list[Figure],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "out"
    cli.main(["data", "preview", "--stage", stage, "--index", str(index), "--output_dir", str(folder), *FLAGS])
    row = load(stage, index)
    said = capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {PICTURE, *(f"{view}.wav" for view in views)}
    (figure,) = drawn
    panels = figure.axes[: len(views)]
    for i, (view, panel) in enumerate(zip(views, panels, strict=True)):
        sound, rate = soundfile.read(folder / f"{view}.wav", dtype="float32")
        assert rate == RATE and soundfile.info(folder / f"{view}.wav").subtype == "PCM_16"
        truth = row["audio"][i] if stage == "zste" else row[view]
        np.testing.assert_allclose(sound, truth["array"], atol=1 / 32767)
        right = row["candidates"][i if row["task"] == "G" else row["references"][0]] if stage == "zste" else None
        caption = right or row[f"{view}_caption"]
        assert f"{view}.wav: {caption}" in said
        heading = f"double ({row['double_view']})" if view == "double" else view
        assert panel.get_title(loc="left").startswith(f"{heading}: “{caption}")
        assert panel.get_xlim() == (0, 10)
    assert panels[-1].get_xlabel() == "time, s"
    title = figure.get_suptitle()
    assert all(str(row[name]) in title for name in ("group_id", "clip_a", "clip_b", "label_a", "label_b"))
    assert stage != "zste" or f"task {row['task']}" in title
    assert (folder / PICTURE).read_bytes().startswith(b"\x89PNG") and str(folder / PICTURE) in said


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_spectrogram_of_a_tone(rate: int) -> None:
    """1 kHz for the first of two seconds: where it is, when it ends, how loud."""
    sound = np.concatenate([tone(1000, 1.0, rate), np.zeros(rate, np.float32)])
    spectrogram = log_mel(sound, rate)
    assert spectrogram.shape == (64, len(sound) // (rate // 100) + 1)
    bins_a_mel = 65 / hertz_to_mel(rate / 2, "slaney")  # 64 triangles, evenly spaced in mel
    assert abs(spectrogram[:, 50].argmax() - (bins_a_mel * hertz_to_mel(1000, "slaney") - 1)) < 1
    level = spectrogram.max(axis=0)
    assert (level[5:95] > level.max() - 1).all() and (level[105:] == -100).all()


def test_a_numbered_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in ("001", "002"):
        cli.main(["data", "preview", "--stage", "stage_a", *FLAGS])
        assert (tmp_path / "runs" / f"preview-{number}" / PICTURE).is_file()


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for more, message in (
        (["--index", "-1"], "index must be at least 0, got -1"),
        (["--stage", "zste", "--index", "100000"], r"there is no row 100000: these clips give 1728 of zste"),
        (["--data_dir", "nowhere"], "nowhere is no ESC-50 folder"),
    ):
        with pytest.raises(SystemExit, match=f"^error: {message}"):
            cli.main(["data", "preview", *FLAGS, *more])
    assert not (tmp_path / "runs").exists()
