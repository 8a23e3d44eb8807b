"""What a run says of where it came from."""

import json
from pathlib import Path

import pytest

from support.paths import ROOT
from teminal_hf.errors import ConfigError
from teminal_hf.models.stages import Trainable
from teminal_hf.runs.arguments import Config, parse
from teminal_hf.runs.lineage import (
    StartingPoint,
    facts_of,
    history_of,
    left_out_families,
    recorded_base,
    starting_point,
    trained_connectives,
)
from teminal_hf.runs.training_data import TrainingData
from teminal_hf.storage.atomic import write_json


def config(*arguments: str) -> Config:
    return parse("stage_b", ["--output_dir", "out", *arguments], ROOT / "recipes" / "stage_b.yaml")


def write_record(folder: Path, **facts: object) -> str:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(facts))
    return str(folder)


def test_the_base_is_where_it_all_began(tmp_path: Path) -> None:
    assert starting_point(config("--model", "laion/x")) == StartingPoint("laion/x", "laion/x", [])
    # ... and not the default of --model, when a start is named
    facts = {"stage": "stage_a", "source": "x", "folds": {}}
    stage_a = write_record(tmp_path / "a", base="laion/x", **facts)
    assert starting_point(config("--start_from", stage_a)) == StartingPoint(stage_a, "laion/x", [facts])
    start = StartingPoint("somebody/else", "somebody/else", [])
    assert starting_point(config("--start_from", "somebody/else")) == start
    cut = write_record(tmp_path / "cut", base="laion/y", started_from="z", history=[facts])
    assert starting_point(config("--resume", "true", "--output_dir", cut)) == StartingPoint("z", "laion/y", [facts])


def test_folds_of_earlier_stages_are_not_judged_on(tmp_path: Path) -> None:
    def start(source: str, train: list[int], folds: dict[str, tuple[int, ...]]) -> StartingPoint:
        folder = tmp_path / f"{source}-{train}"
        if not folder.is_dir():
            write_record(folder, stage="stage_a", source=source, folds={"train": train})
        return starting_point(config("--start_from", str(folder)), folds)

    message = r"the start was trained on fold\(s\) \[4\], which this run is to be judged on"
    with pytest.raises(ConfigError, match=message):
        start("soundbank", [1, 4], {"train": (1,), "test": (4,)})
    start("soundbank", [1, 4], {"train": (1, 4), "test": (3,)})
    start("elsewhere", [3], {"train": (1, 4), "test": (3,)})  # another source's fold 3


def test_the_history_is_kept_whole(tmp_path: Path) -> None:
    first = {"stage": "stage_a", "source": "x", "folds": {"train": [1]}, "seed": 1, "steps": 3}
    start = write_record(tmp_path / "b", **(first | {"stage": "stage_b", "history": [first], "versions": {}}))
    assert history_of(start) == [first, first | {"stage": "stage_b"}]
    assert history_of("laion/x") == []


def test_paths_of_this_machine_have_public_names(tmp_path: Path) -> None:
    base, clips = tmp_path / "base", tmp_path / "ESC-50"
    base.mkdir()
    trainable = Trainable(names=("a",), count=1, total=2)
    arguments = ["--model", str(base), "--data_dir", str(clips), "--run_name", "/home/me/log", "--known", str(base)]
    start = StartingPoint(str(base), str(base), [])
    facts = facts_of(config(*arguments), start, trainable, TrainingData(None))
    assert facts["base_name"] == "base (a local folder)" and facts["base_on_hub"] is None
    assert facts["source_name"] == "ESC-50 (a local folder)"
    assert str(tmp_path) not in json.dumps(facts["settings"]) and "/home/me" not in json.dumps(facts["settings"])
    start = StartingPoint("laion/x", "laion/x", [])
    assert facts_of(config("--model", "laion/x"), start, trainable, TrainingData(None))["base_on_hub"] == "laion/x"


def test_what_a_run_was_taught_to_say_is_read_from_its_records() -> None:
    assert trained_connectives({}) is None
    first = {"stage": "stage_a", "settings": {"connectives": ["and later"]}}
    plain = {"stage": "stage_b", "settings": {"overlap_connectives": ["during"]}}
    assert trained_connectives(first) == set()
    assert trained_connectives(plain | {"history": [first]}) == {"before", "after", "during"}
    families = {"connectives": ["all"], "leave_out": ["before", "then", "followed by", "preceded by", "until"]}
    phases = {"clean": {"connectives": ["and later"], "plain_share": 0.5}, "words": families}
    second = {"stage": "stage_b", "settings": {"phases": phases}, "history": [plain]}
    said = trained_connectives(second)
    assert said is not None
    assert said >= {"before", "and later", "after", "comes after", "while", "during", "ends with"}
    assert not said & {"comes before", "then", "followed by", "until", "as"}
    # "and later" was said in the first phase, "before" with its plain share: these two are not unseen.
    assert left_out_families(second) == ["followed by", "preceded by", "until"]
    assert left_out_families(plain) == left_out_families({}) == []


def test_a_phase_of_a_run_is_its_stage_up_to_there(tmp_path: Path) -> None:
    phases = {"clean": {"connectives": ["and later"]}, "words": {"connectives": ["all"], "leave_out": ["until"]}}
    record = {"stage": "stage_b", "source": "soundbank", "folds": {"train": [1]}, "seed": 3}
    settings = {"beta": 2, "phases": phases}
    write_json(tmp_path / "run.json", record | {"history": [], "base": "clap-mini", "settings": settings})
    for name in ("clean", "other"):
        (tmp_path / name).mkdir()
    (facts,) = history_of(str(tmp_path / "clean"))
    assert facts == {name: record[name] for name in ("stage", "source", "folds", "seed")} | {
        "settings": {"beta": 2, "phases": {"clean": phases["clean"]}}
    }
    assert history_of(str(tmp_path / "other")) == []
    # What the whole run is compared with, and held to, and not the phase itself.
    start = starting_point(config("--start_from", str(tmp_path / "clean")))
    assert (start.base, start.checkpoint, start.history) == ("clap-mini", str(tmp_path / "clean"), [facts])
    assert recorded_base(str(tmp_path / "clean")) == "clap-mini"
    now = {"stage": "stage_b", "settings": {"connectives": ["all"], "leave_out": ["until", "then"]}, "history": [facts]}
    assert left_out_families(now) == ["until"]  # "and later", of the family "then", was said in that phase
