"""What a run says of where it came from."""

from support.paths import ROOT
import json
from pathlib import Path

import pytest

from teminal_hf.runs.arguments import Config, parse
from teminal_hf.runs.lineage import base_of, check_unseen, facts_of, history_of
from teminal_hf.models.stages import Trainable



def config(*arguments: str) -> Config:
    return parse(["--output_dir", "out", *arguments], ROOT / "recipes" / "stage_b.yaml")


def write_record(folder: Path, **facts: object) -> str:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(facts))
    return str(folder)


def test_the_base_is_where_it_all_began(tmp_path: Path) -> None:
    assert base_of(config("--model", "laion/x"), "laion/x") == "laion/x"
    # ... and not the default of --model, when a start is named
    stage_a = write_record(tmp_path / "a", base="laion/x")
    assert base_of(config("--start_from", stage_a), stage_a) == "laion/x"
    assert base_of(config("--start_from", "somebody/else"), "somebody/else") == "somebody/else"
    write_record(tmp_path / "resumed", base="laion/y")
    assert base_of(config("--resume", "true", "--output_dir", str(tmp_path / "resumed")), "z") == "laion/y"


def test_folds_of_earlier_stages_are_not_judged_on() -> None:
    history = [{"source": "here", "folds": {"train": [1, 4]}}, {"source": "there", "folds": {"train": [3]}}]
    with pytest.raises(
        ValueError, match=r"the start was trained on fold\(s\) \[4\], which this run is to be judged on"
    ):
        check_unseen(history, "here", {"train": (1,), "test": (4,)})
    check_unseen(history, "here", {"train": (1, 4), "test": (3,)})  # another source's fold 3
    check_unseen([], "here", {"test": (4,)})


def test_the_history_is_kept_whole(tmp_path: Path) -> None:
    first = {"stage": "stage_a", "source": "x", "folds": {"train": [1]}, "seed": 1, "steps": 3}
    start = write_record(tmp_path / "b", **(first | {"stage": "stage_b", "history": [first], "versions": {}}))
    assert history_of(start) == [first, first | {"stage": "stage_b"}]
    assert history_of("laion/x") == []


def test_paths_of_this_machine_have_public_names(tmp_path: Path) -> None:
    base, clips = tmp_path / "base", tmp_path / "ESC-50"
    base.mkdir()
    trainable = Trainable(names=("a",), count=1, total=2)
    arguments = ["--model", str(base), "--data_dir", str(clips), "--run_name", "/home/me/log"]
    facts = facts_of("stage_b", config(*arguments), str(base), trainable, {})
    assert facts["base_name"] == "base (a local folder)" and facts["base_on_hub"] is None
    assert facts["source_name"] == "ESC-50 (a local folder)"
    assert str(tmp_path) not in json.dumps(facts["settings"]) and "/home/me" not in json.dumps(facts["settings"])
    assert facts_of("stage_b", config("--model", "laion/x"), "laion/x", trainable, {})["base_on_hub"] == "laion/x"
