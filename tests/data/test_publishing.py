"""The published manifests on disk: rows and features, the clips that are only there when asked for, the card."""

import csv
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard

from support.clips import tone, write_esc50
from support.paths import GOLDEN as EXPECTED
from teminal_hf import __version__
from teminal_hf.commands import cli
from teminal_hf.data import publishing as manifests
from teminal_hf.data.builder import MANIFEST, STAGES
from teminal_hf.data.publishing import push_manifests, write_manifests

GOLDEN = EXPECTED / "dataset.md"
NAME = "teminal/esc50-temporal"
SPLITS = ("train", "validation", "test")
NOTICE = b"1-100-A-0.wav: http://freesound.org/people/somebody\r\n"


@pytest.fixture(scope="module")
def esc50_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_esc50(tmp_path_factory.mktemp("esc50"))
    (root / "LICENSE").write_bytes(NOTICE)
    return root


@pytest.fixture(scope="module")
def plain(esc50_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without clips."""
    folder = tmp_path_factory.mktemp("plain")
    write_manifests(folder, "tester/own", data_dir=str(esc50_once), n_groups=24, seed=3)
    return folder


@pytest.fixture(scope="module")
def with_clips(esc50_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_manifests(folder, NAME, with_clips=True, data_dir=str(esc50_once), n_groups=24)
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def files_of(config: str, splits: tuple[str, ...] = SPLITS) -> set[str]:
    return {f"{config}/{split}-00000-of-00001.parquet" for split in splits}


# Rows


@pytest.mark.parametrize("stage", STAGES)
def test_rows_and_features_are_the_builders(stage: str, plain: Path, esc50_once: Path) -> None:
    ours = load_dataset(NAME, stage, data_dir=str(esc50_once), n_groups=24, seed=3).with_format(None)
    published = load_dataset(str(plain), stage)
    streamed = load_dataset(str(plain), stage, streaming=True)
    assert set(published) == set(ours) == set(SPLITS)
    for split in SPLITS:
        assert published[split].features == ours[split].features == streamed[split].features == MANIFEST[stage]
        assert published[split].to_list() == ours[split].to_list() == list(streamed[split])
        assert pq.read_schema(plain / stage / f"{split}-00000-of-00001.parquet").names == list(MANIFEST[stage])
    assert len(published["train"]) == {"stage_a": 24, "stage_b": 24}.get(stage, 18 * 18)


def test_what_is_written(plain: Path, with_clips: Path) -> None:
    manifest = {"README.md", *(name for stage in STAGES for name in files_of(stage))}
    assert names(plain) == manifest
    assert names(with_clips) == manifest | files_of("clips", ("train",)) | {"LICENSE"}
    assert get_dataset_config_names(str(plain)) == list(STAGES)
    assert get_dataset_config_names(str(with_clips)) == [*STAGES, "clips"]


def test_splits_that_are_not_there(esc50_once: Path, tmp_path: Path) -> None:
    options = {"train_folds": (1, 2), "validation_folds": (), "test_folds": (3,)}
    write_manifests(tmp_path / "out", "a/b", data_dir=str(esc50_once), n_groups=4, **options)
    assert set(load_dataset(str(tmp_path / "out"), "stage_a")) == {"train", "test"}
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| `stage_a` | train | 1, 2 | 4 |\n| `stage_a` | test | 3 | 1 |\n| `stage_b`" in text
    assert "12 clips" not in text and "18 clips of 3 classes" in text


# Clips


def test_no_sound_is_in_the_manifests(plain: Path, esc50_once: Path) -> None:
    sounds = [path.read_bytes()[44:1044] for path in (esc50_once / "audio").iterdir()]
    for path in plain.rglob("*.*"):
        content = path.read_bytes()
        assert not any(sound in content for sound in sounds) and b"RIFF" not in content
        if path.suffix == ".parquet":
            assert {str(field.type) for field in pq.read_schema(path)} <= {"int64", "string"} | {
                "list<element: string>",
                "list<element: int64>",
            }


def test_clips_as_the_folder_has_them(with_clips: Path, esc50_once: Path) -> None:
    clips = load_dataset(str(with_clips), "clips", split="train")
    assert clips.features["audio"] == Audio(decode=False)
    with (esc50_once / "meta" / "esc50.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(clips) == len(rows) == 30
    for clip, row in zip(clips, rows, strict=True):
        audio = clip.pop("audio")
        assert audio == {"path": row["filename"], "bytes": (esc50_once / "audio" / row["filename"]).read_bytes()}
        assert clip.pop("license") == ("CC BY 3.0" if row["esc10"] == "True" else "CC BY-NC 3.0")
        assert {k: str(v) for k, v in clip.items()} == row
        assert isinstance(clip["esc10"], bool) and all(isinstance(clip[k], int) for k in ("fold", "target", "src_file"))
    assert {c["license"] for c in clips.select_columns("license")} == {"CC BY 3.0", "CC BY-NC 3.0"}
    assert (with_clips / "LICENSE").read_bytes() == NOTICE


def test_a_table_of_three_columns_and_several_files(
    esc50: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = esc50 / "meta" / "esc50.csv"
    table.write_text("\n".join(",".join(line.split(",")[i] for i in (0, 1, 3)) for line in table.read_text().split()))
    monkeypatch.setattr(manifests, "CLIPS_PER_FILE", 12)
    write_manifests(tmp_path / "out", "a/b", with_clips=True, data_dir=str(esc50), n_groups=2)
    assert len(list((tmp_path / "out" / "clips").iterdir())) == 3
    (tmp_path / "out" / "clips" / "train-00000-of-00001.parquet").write_bytes(b"left from another push")
    clips = load_dataset(str(tmp_path / "out"), "clips", split="train")
    assert clips.column_names == ["filename", "fold", "category", "audio", "license"]
    assert len(clips) == 30 and set(clips["license"]) == {"CC BY-NC 3.0"}


def test_a_table_that_cannot_be_published(esc50: Path, tmp_path: Path) -> None:
    table = esc50 / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(",100,A", ",freesound 100,A"))
    with pytest.raises(
        ValueError, match=r"meta/esc50.csv, 1-100-A-0.wav: invalid literal for int\(\).*'freesound 100'"
    ):
        write_manifests(tmp_path / "out", "a/b", with_clips=True, data_dir=str(esc50), n_groups=2)
    assert not (tmp_path / "out").exists()


def test_only_clips_of_esc50_are_published(esc50: Path, tmp_path: Path) -> None:
    for options in ({}, {"source": "soundbank"}, {"source": str(tmp_path)}):
        with pytest.raises(ValueError, match="publishes the clips of an ESC-50 folder: name it by --data_dir"):
            write_manifests(tmp_path / "out", "a/b", with_clips=True, **options)
    table = esc50 / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("1-100-A-0.wav", "mine.wav"))
    (esc50 / "audio" / "1-100-A-0.wav").rename(esc50 / "audio" / "mine.wav")
    with pytest.raises(ValueError, match=r"not named as ESC-50's are .*; publish yours as a data set of their own"):
        write_manifests(tmp_path / "out", "a/b", with_clips=True, data_dir=str(esc50))


# The card


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_card_word_for_word(with_clips: Path, regenerate_golden: bool) -> None:
    text = card_of(with_clips).replace(f"teminal-hf/) {__version__}.", "teminal-hf/) VERSION.")
    if regenerate_golden:
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"not {GOLDEN}; if it should be: pytest --regenerate-golden"


def test_card_of_manifests_alone(plain: Path) -> None:
    text, card = card_of(plain), DatasetCard(card_of(plain))
    assert card.data.license == "apache-2.0" and card.data.pretty_name == "Temporal pairs of ESC-50"
    assert "There is no audio here: the rows name clips by their ESC-50 file names" in text
    assert "- Clips (not in here): those of ESC-50, CC BY-NC 3.0; its subset ESC-10 CC BY 3.0.\n" in text
    assert "all of them named in\nthe LICENSE file of https://github.com/karolpiczak/ESC-50." in text
    assert 'revision="main"' not in text and "config `clips`" not in text and "LICENSE](" not in text
    assert 'load_dataset("tester/own", "stage_b", split="train")' in text and "seed 3" in text


def test_card_of_the_sound_bank(tmp_path: Path) -> None:
    write_manifests(tmp_path / "out", "a/b", clips_per_class=2, n_groups=2)
    text, card = card_of(tmp_path / "out"), DatasetCard(card_of(tmp_path / "out"))
    assert card.data.license == "apache-2.0" and "freesound" not in text and "CC BY" not in text
    assert 'clips = load_clips("soundbank", clips_per_class=2)' in text
    assert "a score on them says nothing about real recordings" in text


def test_card_of_ones_own_data(tmp_path: Path) -> None:
    audio = [{"array": tone(200 + 50 * i, 0.3, 16_000), "sampling_rate": 16_000} for i in range(30)]
    labels = [f"c{i % 3}" for i in range(30)]
    rows = Dataset.from_dict({"sound": audio, "what": labels, "part": [i // 6 for i in range(30)]})
    rows.to_parquet(tmp_path / "own" / "train.parquet")
    options = {"audio_column": "sound", "label_column": "what", "fold_column": "part", "n_groups": 2}
    write_manifests(tmp_path / "out", "a/b", source=str(tmp_path / "own"), **options)
    text, card = card_of(tmp_path / "out"), DatasetCard(card_of(tmp_path / "out"))
    assert card.data.license is None and card.data.pretty_name == "Temporal pairs of own"
    assert "ESC-50" not in text and "CC BY" not in text and str(tmp_path) not in text
    assert "the rows name clips of `own` (a local data set)" in text
    assert 'load_clips("own", audio_column="sound", label_column="what", fold_column="part")' in text
    assert "| `stage_a` | train | 0, 1, 2 | 2 |" in text
    assert "Not chosen by the software that wrote this card" in text


def test_no_card_names_a_folder_of_this_machine(plain: Path, with_clips: Path, esc50_once: Path) -> None:
    for folder in (plain, with_clips):
        assert str(esc50_once.parent) not in card_of(folder)
        for path in folder.rglob("*.parquet"):
            assert str(esc50_once.parent).encode() not in path.read_bytes()


# Whole or not at all


def test_a_failure_leaves_nothing(tmp_path: Path, esc50_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(manifests, "_card", fail)
    (tmp_path / "there").mkdir()
    for name in ("there", "new", "new/below"):
        with pytest.raises(OSError, match="no space left"):
            write_manifests(tmp_path / name, "a/b", data_dir=str(esc50_once), n_groups=2)
        assert not (tmp_path / name).exists() and not list(tmp_path.glob("**/*.draft"))


def test_nothing_is_overwritten(tmp_path: Path, plain: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(
        FileExistsError,
        match=r"out is there already and not an empty folder; name another --output_dir, or push .* by --from ",
    ):
        write_manifests(tmp_path / "out", "a/b")
    assert names(tmp_path / "out") == {"mine.txt"}


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("name", "message"), [("mine", "OWNER/NAME, got 'mine'"), ("a b/c", "alphanumeric"), ("a/b/c", "form")]
)
def test_names(name: str, message: str, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_manifests(tmp_path / "out", name)
    with pytest.raises(ValueError, match=message):
        push_manifests(plain, name)


def test_a_folder_that_is_not_what_was_asked_for(plain: Path, with_clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"most of them CC BY-NC 3\.0: publish them by --with_clips"):
        push_manifests(with_clips, NAME)
    with pytest.raises(ValueError, match="holds no clips to publish; leave out --with_clips"):
        push_manifests(plain, "tester/own", with_clips=True)
    with pytest.raises(ValueError, match=r"the card in .* is that of tester/own; push it there, or .* for a/b"):
        push_manifests(plain, "a/b")
    with pytest.raises(FileNotFoundError, match=r"holds no README\.md: `teminal data push` without --from writes it"):
        push_manifests(tmp_path, "a/b")


def test_command_line_errors(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    push = ["data", "push", "--to", "tester/own"]
    for more, message in (
        (["--from", str(plain), "--source", "soundbank"], "--from pushes what is written already; leave out"),
        (["--data_dir", "nowhere"], "nowhere is no ESC-50 folder"),
        (["--with_clips"], "name it by --data_dir"),
        (["--train_folds", "9"], r"no clips in fold\(s\) \[9\]"),
    ):
        with pytest.raises(SystemExit, match=f"^error: .*{message}"):
            cli.main([*push, *more])
    assert not list(tmp_path.glob("runs/*"))


def test_a_push_that_fails_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # and HF_HUB_OFFLINE is set
    with pytest.raises(SystemExit) as error:
        cli.main(["data", "push", "--to", "a/b", "--clips_per_class", "2", "--n_groups", "2", "--private"])
    retry = "teminal data push --to a/b --from runs/data-001 --private"
    assert re.fullmatch(rf"error: the push to a/b failed, nothing is lost: .*{re.escape(retry)}", str(error.value))
    assert "stage_b/train-00000-of-00001.parquet" in names(tmp_path / "runs" / "data-001")


def test_a_clip_that_was_left_out_is_not_published(esc50: Path, tmp_path: Path) -> None:
    (esc50 / "audio" / "2-202-A-2.wav").write_bytes(b"RIFF but not really")
    write_manifests(tmp_path / "out", "a/b", with_clips=True, data_dir=str(esc50), n_groups=2)
    published = load_dataset(str(tmp_path / "out"), "clips", split="train")["filename"][:]
    assert len(published) == 29 and "2-202-A-2.wav" not in published
