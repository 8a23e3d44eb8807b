"""The manifests over HTTP: pushed to a Hub, loaded from it without this package, rendered with it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import Features, load_dataset

from support.clients import client, without_package
from support.clips import write_esc50
from support.hub_server import HubServer
from teminal_hf.data.builder import MANIFEST, STAGES

NAME, WITH_CLIPS = "teminal/esc50-temporal", "tester/with-clips"
FILES = {f"{stage}/{split}-00000-of-00001.parquet" for stage in STAGES for split in ("train", "validation", "test")}
NOTICE = "who recorded what\n"

# One process, since the package takes long to import.
PUSH = f"""
import shlex
from teminal_hf.commands import cli

def teminal(command):
    try:
        cli.main(shlex.split(command))
    except SystemExit as error:
        print("SAID", error)
        return str(error)

said = teminal("data push --to {NAME} --data_dir ESC-50 --n_groups 10")
retry = said.split("try again with: teminal ")[1]
for _ in range(2):
    teminal(retry)
teminal("data push --to {WITH_CLIPS} --data_dir ESC-50 --n_groups 4 --with_clips --private --output_dir out")
teminal("data push --to {WITH_CLIPS} --from out")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_esc50(tmp_path_factory.mktemp("push"))
    (root / "LICENSE").write_text(NOTICE)
    return root.parent


@pytest.fixture(scope="module")
def pushed(folder: Path) -> Iterator[tuple[HubServer, str]]:
    """A Hub after `PUSH`, and what that said. The first push fails."""
    with HubServer() as hub:
        hub.fail("POST", "/commit/", status=400)
        yield hub, client(hub, folder / "home", "-c", PUSH, cwd=folder)


@pytest.fixture
def hub(pushed: tuple[HubServer, str]) -> HubServer:
    return pushed[0]


def sounds_in(folder: Path, *contents: bytes) -> int:
    """How many clips are found in `contents`, by a part of their samples."""
    sounds = [path.read_bytes()[-1000:] for path in (folder / "ESC-50" / "audio").iterdir()]
    return sum(any(sound in content for content in contents) for sound in sounds)


def test_a_push_that_failed_is_gone_on_with_in_one_commit(pushed: tuple[HubServer, str], folder: Path) -> None:
    hub, said = pushed
    repo = hub.repo("dataset", NAME)
    assert f"the push to {NAME} failed, nothing is lost:" in said
    assert f"try again with: teminal data push --to {NAME} --from runs/data-001\n" in said
    assert said.count(f"pushed to {hub.url}/datasets/{NAME}\n") == 2
    assert len(repo.commits) == 2 and not repo.private  # the first is the initial one; what is there is not sent again
    assert set(repo.files) == FILES | {"README.md"}


def test_clips_are_published_on_demand_alone(pushed: tuple[HubServer, str], folder: Path) -> None:
    hub, said = pushed
    plain, repo = hub.repo("dataset", NAME), hub.repo("dataset", WITH_CLIPS)
    clips = "clips/train-00000-of-00001.parquet"
    assert sounds_in(folder, *plain.files.values()) == 0
    assert set(repo.files) == FILES | {"README.md", "LICENSE", clips}
    assert repo.files["LICENSE"].decode() == NOTICE
    assert sounds_in(folder, *(content for name, content in repo.files.items() if name != clips)) == 0
    assert repo.private and len(repo.commits) == 2
    assert "SAID error: out holds the clips themselves, most of them CC BY-NC 3.0: publish them by --with_clips" in said


READ = f"""
import json
from datasets import load_dataset
for stage in ("stage_a", "stage_b", "zste"):
    for streaming in (False, True):
        splits = load_dataset("{NAME}", stage, streaming=streaming)
        rows = {{name: list(split) for name, split in splits.items()}}
        features = {{name: split.features.to_dict() for name, split in splits.items()}}
        print("RESULT", json.dumps([stage, rows, features]))
assert sys.modules["teminal_hf"] is None and not [m for m in sys.modules if m.startswith("teminal_hf.")]
print("CARD")
"""


def card_code(hub: HubServer, name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", hub.repo("dataset", name).files["README.md"].decode(), re.S)


def test_without_the_package_the_rows_are_the_builders(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    """By configuration, whole and streaming."""
    said = without_package(hub, tmp_path, READ + card_code(hub, NAME)[0], cwd=tmp_path)
    results = [json.loads(line[7:]) for line in said.splitlines() if line.startswith("RESULT ")]
    assert [stage for stage, _, _ in results] == ["stage_a", "stage_a", "stage_b", "stage_b", "zste", "zste"]
    for stage, rows, features in results:
        ours = load_dataset(NAME, stage, data_dir=str(folder / "ESC-50"), n_groups=10).with_format(None)
        assert rows == {split: ours[split].to_list() for split in ours}
        for split in ours:
            assert Features.from_dict(features[split]) == ours[split].features == MANIFEST[stage]
    assert re.search(r"^CARD\n[a-z ]+ (before|after) [a-z ]+$", said, re.M)  # the card's own example
    asked = len(hub.requests)  # what was downloaded once is there offline
    again = without_package(hub, tmp_path, card_code(hub, NAME)[0], cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert again.splitlines()[-1] == said.splitlines()[-1] and len(hub.requests) == asked


RENDER = f"""
import numpy as np
from datasets import load_dataset
from teminal_hf import RenderSettings, render
for stage in ("stage_a", "stage_b", "zste"):
    ours = load_dataset("{NAME}", stage, data_dir="ESC-50", n_groups=10, sampling_rate=16_000)  # the package answers
    for streaming in (False, True):
        groups = load_dataset("{NAME}", stage, revision="main", streaming=streaming)
        assert "single" not in groups["test"].features and "audio" not in groups["test"].features
        rows = render(groups, "ESC-50", RenderSettings(16_000))["test"]
        for one, other in zip(rows, ours["test"], strict=True):
            np.testing.assert_equal(one, other)
"""


def test_with_the_package_they_sound_as_the_builders(hub: HubServer, folder: Path) -> None:
    """From the ESC-50 folder, and (the second card) from published clips."""
    code = RENDER + card_code(hub, NAME)[1] + card_code(hub, WITH_CLIPS)[1]
    said = client(hub, folder / "home", "-c", code, cwd=folder)
    assert len(re.findall(r"^[a-z ]+ (?:before|after) [a-z ]+ \(480000,\) 48000$", said, re.M)) == 2
