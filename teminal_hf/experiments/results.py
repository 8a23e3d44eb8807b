"""What is kept of a run of a suite: one small JSON file with its figures, every item's score, cost and settings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from teminal_hf.experiments.running import seconds_of
from teminal_hf.experiments.suite import Job
from teminal_hf.runs.methods import Finished
from teminal_hf.storage.atomic import written_whole
from teminal_hf.storage.records import NUMBER, damaged, read_json

_REPORT = {"results": {}, "wording": {}, "items": {"*": {"clips": int, "values": [NUMBER], "right": str}}}
_RESULT = {
    **dict.fromkeys(("suite", "name", "about", "stage", "base", "source"), str),
    **{"place": int, "seed": int, "share": NUMBER, "minutes": NUMBER, "hours": NUMBER},
    **{"test_folds": [int], "differences": {}, "settings": {}, "history": [{"stage": str, "settings": {}}]},
    **{"clips": [[str]], "before": _REPORT, "after": _REPORT},
}
_FIRST = 33  # "!": each score is one printable character
_SKIPPED = '"\\'  # which JSON would escape


def write_result(job: Job, folder: Path) -> dict[str, Any]:
    """Keep a finished run as `NAME-seed-N.json`; what is kept."""
    run = Finished.read(job.folder)
    record, history = run.record, run.record["history"]
    clips: list[list[str]] = []
    result = {
        "suite": job.variant.suite,
        "place": job.variant.place,
        "name": job.variant.name,
        "about": job.variant.about,
        "seed": job.seed,
        "stage": record["stage"],
        "base": record["base_name"],
        "source": record["source_name"],
        "test_folds": record["folds"].get("test", []),
        "differences": dict(job.variant.differences),
        "settings": record["settings"],
        "history": [{"stage": stage["stage"], "settings": stage["settings"]} for stage in history],
        "share": record["trained"]["share"],
        "steps": record["steps"],
        "minutes": round(sum(stage["train_seconds"] for stage in (*history, record)) / 60, 1),
        "hours": round(seconds_of(job) / 3600, 4),
        "versions": record["versions"],
        "before": _packed(run.before, clips),
        "after": _packed(run.after, clips),
        "clips": clips,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / f"{job.name}.json") as draft:
        draft.write_text(json.dumps(result, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")
    return result


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All that is kept, in the order of their suites, before and after as `to_json` gives them."""
    found = []
    for path in sorted(folder.glob("*.json")):
        result = dict(read_json(path, _RESULT))
        for side in ("before", "after"):
            result[side] = _unpacked(result[side], result["clips"], path)
        found.append(result)
    return sorted(found, key=lambda result: (result["suite"], result["place"], result["seed"]))


def _packed(report: dict[str, Any], clips: list[list[str]]) -> dict[str, Any]:
    """The report with a letter for each score; the lists of clips, one for most tasks, go to `clips`."""
    items = {}
    for task, row in report["items"].items():
        if row["clips"] not in clips:
            clips.append(row["clips"])
        values = sorted(set(row["right"]))
        letter = dict(zip(values, _letters(len(values)), strict=True))
        right = "".join(letter[value] for value in row["right"])
        items[task] = {"clips": clips.index(row["clips"]), "values": values, "right": right}
    return {**report, "items": items}


def _unpacked(report: dict[str, Any], clips: Sequence[list[str]], path: Path) -> dict[str, Any]:
    items = {}
    for task, row in report["items"].items():
        value = dict(zip(_letters(len(row["values"])), row["values"], strict=True))
        if (
            row["clips"] >= len(clips)
            or len(clips[row["clips"]]) != len(row["right"])
            or set(row["right"]) - set(value)
        ):
            raise damaged(path, f"the scores of task {task} do not fit its clips")
        items[task] = {"clips": clips[row["clips"]], "right": [value[letter] for letter in row["right"]]}
    return {**report, "items": items}


def _letters(n: int) -> list[str]:
    letters: list[str] = []
    code = _FIRST
    while len(letters) < n:
        if chr(code) not in _SKIPPED and chr(code).isprintable():
            letters.append(chr(code))
        code += 1
    return letters
