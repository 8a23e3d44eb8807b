"""The folder that is written for mteb, and the command that writes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, load_dataset

from support.mteb_folder import GROUPS, RATE, SEED, bank, header, questions, read, samples, write
from teminal_hf import ClipTable, Renderer, RenderSettings
from teminal_hf.commands import cli
from teminal_hf.data.captions import spoken
from teminal_hf.data.rendering import long_first
from teminal_hf.data.zste_items import plan_zste
from teminal_hf.integrations.mteb_export import VIEWS


@pytest.fixture(scope="module")
def clips() -> ClipTable:
    return bank()


@pytest.fixture(scope="module")
def folder(clips: ClipTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(clips, tmp_path_factory.mktemp("mteb") / "export")


def test_the_questions_are_zstes(folder: Path, clips: ClipTable) -> None:
    """Candidates, their order, and the truth are those of `plan_zste`; the second query of 3O has the other truth."""
    asked = {subset: questions(folder, subset) for subset in VIEWS}
    seen = 0
    for item in plan_zste(clips, n_groups=GROUPS, seed=SEED, tasks=("3A", "3B", "3O", "4A", "4B", "5A", "N", "D")):
        first, second = f"{item.group_id:05d}_q1", f"{item.group_id:05d}_q2"
        if item.task == "5A":
            half = len(item.candidates) // 2
            assert asked["5"][first] == (list(item.candidates[:half]), item.candidates[item.right[0]])
            assert asked["5"][second] == (list(item.candidates[half:]), item.candidates[item.right[1]])
            continue
        if item.task == "N":  # each group's recordings both ask what ZSTE asks of one of them
            a, b = (spoken(clips.label(clip)) for clip in (item.clip_a, item.clip_b))
            assert asked["N"][first] == ([f"{a} without {b}", f"{a} and {b}"], f"{a} without {b}")
            assert asked["N"][second] == ([f"{a} without {b}", f"{a} and {b}"], f"{a} and {b}")
            continue
        query = second if item.task.endswith("B") else first
        subset = item.task.removesuffix("A").removesuffix("B")
        offered, right = asked[subset][query]
        assert (offered, right) == (list(item.candidates), item.candidates[item.right[0]])
        if item.task in ("3O", "D"):
            assert asked[item.task][second][0] == offered
            assert {right, asked[item.task][second][1]} == set(offered)
        seen += 1
    assert seen == 6 * GROUPS
    assert {subset: len(rows) for subset, rows in asked.items()} == dict.fromkeys(VIEWS, 2 * GROUPS)


def test_the_recordings_are_zstes_and_last_ten_seconds(folder: Path, clips: ClipTable) -> None:
    renderer = Renderer(clips, RenderSettings(RATE))
    groups = {item.group_id: item for item in plan_zste(clips, n_groups=GROUPS, seed=SEED, tasks=("1",))}
    heard = {"3": {"q1": "forward", "q2": "overlay"}, "3O": {"q1": "forward", "q2": "reversed"}}
    heard |= {"4": heard["3"], "5": {"q1": "forward", "q2": "forward"}, "N": {"q1": "single", "q2": "overlay"}}
    for subset, views in heard.items():
        rows = read(folder, f"{subset}-queries")
        assert len(rows) == 2 * GROUPS
        for row in rows:
            group, number = row["id"].split("_")
            item = groups[int(group)]
            assert (row["clip_a"], row["clip_b"]) == (item.clip_a, item.clip_b)
            sound = samples(row["audio"])
            expected = renderer.views(item.clip_a, item.clip_b, SEED, item.group_id, [views[number]])[views[number]]
            assert sound.shape == (10 * RATE,)
            assert np.abs(sound - expected).max() <= 0.51 / 2**15
    for row in read(folder, "D-queries"):
        group, number = row["id"].split("_")
        index = int(group) if number == "q1" else int(group) ^ 2
        expected = renderer.scene("duration", (row["clip_a"], row["clip_b"]), SEED, index)
        assert np.abs(samples(row["audio"]) - expected).max() <= 0.51 / 2**15
        heard_first = questions(folder, "D")[row["id"]][1].split(" before ")[0].split(" after ")[-1]
        assert heard_first.startswith("a long" if long_first(index) else "a short")
    prompts = [row["labels"] for row in read(folder, "1-labels")]
    for row, item in zip(read(folder, "1"), groups.values(), strict=True):
        assert prompts[row["label"]] == item.candidates[item.right[0]]
        assert sorted(prompts) == sorted(item.candidates)
        clip, sound = clips.waveform(row["clip"], RATE, trim=False), samples(row["audio"])
        assert row["clip"] == item.clip_a and sound.shape == (10 * RATE,)
        assert np.abs(sound[: len(clip)] - clip).max() <= 0.51 / 2**15 and not sound[len(clip) :].any()


def test_the_audio_column_is_one(folder: Path) -> None:
    """As the Hub's viewer, and mteb's own loading, want it."""
    for config in ("1", "3O-queries"):
        assert load_dataset(str(folder), config, split="test").features["audio"] == Audio(sampling_rate=RATE)


def test_the_same_seed_gives_the_same_files(folder: Path, clips: ClipTable, tmp_path: Path) -> None:
    revisions = []
    for seed in (SEED, SEED + 1):
        revisions.append(header(write(clips, tmp_path / str(seed), seed=seed))["zste"]["revision"])
    assert revisions[0] == header(folder)["zste"]["revision"] != revisions[1]


def test_another_export_of_the_same_name_is_not_taken_for_this_one(
    folder: Path, clips: ClipTable, tmp_path: Path
) -> None:
    """`datasets` keeps what it loads under the folder's name and the README's header."""
    first = read(folder, "3O-queries")
    other = read(write(clips, tmp_path / folder.name, seed=SEED + 1), "3O-queries")
    assert [row["clip_a"] for row in first] != [row["clip_a"] for row in other]


def test_a_failure_leaves_nothing(clips: ClipTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **keywords: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(soundfile, "write", fails)
    with pytest.raises(OSError, match="disk full"):
        write(clips, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(clips: ClipTable, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already and not an empty folder; name another one"):
        write(clips, tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    write(clips, empty, n_groups=2)
    assert (empty / "README.md").is_file()


def run(*arguments: str) -> None:
    cli.main(["data", "export-mteb", *arguments])


def test_the_command_carries_licence_and_credits(
    esc50: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (esc50 / "LICENSE").write_text("clip 1-100: somebody")
    out = tmp_path / "out"
    run("--output_dir", str(out), "--data_dir", str(esc50), "--groups", "2", "--sampling_rate", str(RATE))
    assert "2 groups" in capsys.readouterr().out
    card = " ".join((out / "README.md").read_text(encoding="utf-8").split())
    assert header(out)["license"] == "cc-by-nc-3.0"
    assert header(out)["zste"]["folds"] == [5]
    for said in (
        "K. J. Piczak",
        "CC BY-NC 3.0",
        "not for commercial use",
        "named in `LICENSE`",
        "made of ESC-50, fold 5",
    ):
        assert said in card
    assert str(tmp_path) not in card
    assert (out / "LICENSE").read_text() == "clip 1-100: somebody"
    assert {row["clip_a"].split("-")[0] for row in read(out, "3-queries")} == {"5"}


def test_the_command_on_the_sound_bank_and_on_clips_of_unknown_licence(clips: ClipTable, tmp_path: Path) -> None:
    run("--output_dir", str(tmp_path / "a"), "--clips_per_class", "2", "--groups", "2", "--sampling_rate", str(RATE))
    assert header(tmp_path / "a")["license"] == "apache-2.0"
    assert "Apache-2.0: the clips are of the sound bank" in (tmp_path / "a" / "README.md").read_text()
    write(clips, tmp_path / "b", source="me/birds", licence=None, n_groups=2)
    assert header(tmp_path / "b")["license"] == "unknown"
    assert "made of the clips of me/birds: their licence applies" in (tmp_path / "b" / "README.md").read_text()


def test_the_command_looks_at_the_folder_first(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"^error: .*name another one"):
        run("--output_dir", str(tmp_path), "--data_dir", "no such folder")
