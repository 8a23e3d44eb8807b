"""Finished runs side by side: those that differ in nothing but seeds are one method."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from teminal_hf.errors import ConfigError, DataError, NotFoundError
from teminal_hf.evaluation.report import REPORT, compare_reports, comparison_table, differences, questions
from teminal_hf.evaluation.tables import Table
from teminal_hf.evaluation.verdict import verdict
from teminal_hf.runs.arguments import CLASSES
from teminal_hf.runs.final_report import FIGURES
from teminal_hf.runs.run_folder import RECORD, read_record
from teminal_hf.runs.settings import CHOICE_PREFIXES, ELSEWHERE, NO_METHOD, NO_METHOD_PREFIXES, SEEDS
from teminal_hf.storage.records import damaged, read_json

logger = logging.getLogger(__name__)

_LONGEST_NAME = 24  # of a column


@dataclass(frozen=True)
class Finished:
    """A run: its record, and its base's and its own answers, as `to_json` gives them."""

    folder: Path
    record: Mapping[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Finished":
        """What lies in `folder`.

        Raises:
            NotFoundError: no finished run does.
        """
        for name in (FIGURES, RECORD):
            if not (folder / name).is_file():
                raise NotFoundError(f"{folder} holds no {name}; name folders of finished runs")
        figures = read_json(folder / FIGURES, {"before": REPORT, "after": REPORT})
        for report in (figures["before"], figures["after"]):
            for task, row in report["items"].items():
                if len(row["clips"]) != len(row["right"]):
                    raise damaged(folder / FIGURES, f"{len(row['clips'])} clips, {len(row['right'])} answers in {task}")
        return cls(folder, read_record(folder), figures["before"], figures["after"])


def compare_runs(folders: Sequence[Path]) -> tuple[Table, dict[str, Any]]:
    """The table of these runs, a column for each method, and everything that it was made of, for JSON.

    Raises:
        NotFoundError: a folder holds no finished run.
        ConfigError: a folder is named twice.
        DataError: the runs have different bases, or were judged on different items.
    """
    twice = [str(folder) for i, folder in enumerate(folders) if folder.resolve() in [f.resolve() for f in folders[:i]]]
    if twice:
        raise ConfigError(f"{', '.join(twice)} is named twice, which would count it as two seeds; name each run once")
    runs = [Finished.read(folder) for folder in folders]
    _check_comparable(runs)
    groups: list[tuple[dict[str, Any], list[Finished]]] = []
    for run in runs:
        facts = method_of(run.record)
        members = next((members for others, members in groups if others == facts), None)
        if members is None:
            groups.append((facts, [run]))
        else:
            members.append(run)
    differing = _differing([facts for facts, _ in groups])
    first = [run.after for run in groups[0][1]]
    methods: dict[str, Any] = {}
    for name, differs_in, (facts, members) in zip(_names(differing), differing, groups, strict=True):
        reports, seeds = [run.after for run in members], [_seeds(run.record) for run in members]
        if any(one in seeds[:i] for i, one in enumerate(seeds)):
            logger.warning(
                "%s have seeds in common: are they one run twice?", ", ".join(str(r.folder) for r in members)
            )
        rows = compare_reports(runs[0].before, reports)
        methods[name] = {
            "differs_in": differs_in,
            "runs": {str(run.folder): one for run, one in zip(members, seeds, strict=True)},
            "comparison": rows,
            "against_first": differences(reports, first) if methods else None,
            "verdict": verdict(rows, str(facts["stage"])),
        }
    return _table(methods), {"base": runs[0].record["base_name"], "methods": methods}


def method_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """All that a run's record says of what was done, by name, defaults written out; without seeds, and without what
    leaves the weights as they would be."""
    history = record.get("history", [])
    facts = _of_stage(record) | {"processes": record.get("processes", 1)}
    facts |= {"base": record["base_name"], "start": " > ".join(stage["stage"] for stage in history) or "base"}
    for i, stage in enumerate(history):
        prefix = stage["stage"] + (f" {i + 1}" if i else "")
        facts |= {f"{prefix}.{name}": value for name, value in _of_stage(stage).items()}
    return facts


def _of_stage(record: Mapping[str, Any]) -> dict[str, Any]:
    settings = {**_defaults(), **record["settings"]}
    left_out = (*NO_METHOD_PREFIXES, *(() if settings["load_best_model_at_end"] else CHOICE_PREFIXES))
    facts = {"stage": record["stage"], "source": record["source_name"], "pairs": record["pairs_name"]}
    facts |= {f"{split}_folds": list(folds) for split, folds in record["folds"].items()}
    return facts | {
        name: value
        for name, value in settings.items()
        if name not in (*ELSEWHERE, *SEEDS, *NO_METHOD) and not name.startswith(left_out)
    }


@cache
def _defaults() -> dict[str, Any]:
    """Of every setting, as a record would hold it: a run that names a default is no other method."""
    values = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for cls in CLASSES
        for field in fields(cls)
        if field.init
    }
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def _check_comparable(runs: Sequence[Finished]) -> None:
    """Raise a DataError that names the first two runs that have different bases, or were judged on different items."""
    first, *others = runs
    for run in others:
        bases, names = (first.record["base_name"], run.record["base_name"]), f"{first.folder} and {run.folder}"
        if bases[0] != bases[1]:
            raise DataError(f"{names} have different bases, {' and '.join(bases)}; compare runs of one base")
        if questions(run.before) != questions(first.before):
            raise DataError(
                f"{names} were judged on different items; compare runs of the same test folds, report_groups, "
                "report_tasks, report_seed, known and left_out_classes"
            )
        if run.before["items"] != first.before["items"]:
            raise DataError(
                f"the base of {names} answered differently, so it is not the same checkpoint, or the recordings were "
                "made otherwise (gap, crossfade); compare runs whose base and recordings are the same"
            )


def _differing(methods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each method what is not the same in all. A stage that only some went through is told by their start alone."""
    names = dict.fromkeys(name for facts in methods for name in facts)
    found: list[dict[str, Any]] = [{} for _ in methods]
    for name in names:
        having = [facts[name] for facts in methods if name in facts]
        if any(value != having[0] for value in having) or (len(having) < len(methods) and "." not in name):
            for facts, ours in zip(methods, found, strict=True):
                if name in facts or "." not in name:
                    ours[name] = facts.get(name)
    return found


def _names(differing: Sequence[Mapping[str, Any]]) -> list[str]:
    """Headings of the methods' columns."""
    if len(differing) == 1:
        return ["after"]
    names = [_described(ours) for ours in differing]
    return names if max(map(len, names)) <= _LONGEST_NAME else [f"method {i + 1}" for i in range(len(names))]


def _described(differs_in: Mapping[str, Any]) -> str:
    values = {name: "+".join(map(str, v)) if isinstance(v, list) else v for name, v in differs_in.items()}
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _seeds(record: Mapping[str, Any]) -> dict[str, Any]:
    history = [stage.get("seed") for stage in record.get("history", [])]
    given = {name: value for name, value in record["settings"].items() if name in SEEDS}
    return given | {"seed": record["seed"]} | ({"history": history} if history else {})


def _table(methods: Mapping[str, Mapping[str, Any]]) -> Table:
    """With the key of its columns and what each comes to."""
    rows = {name: method["comparison"] for name, method in methods.items()}
    against = {name: method["against_first"] for name, method in methods.items() if method["against_first"]}
    table = comparison_table(rows, against=against)
    key, verdicts = [], []
    for name, method in methods.items():
        described = _described(method["differs_in"])
        what = "" if described in ("", name) else f"{described}; "
        seeds = ", ".join(str(seeds["seed"]) for seeds in method["runs"].values())
        key.append(f"- {name}: {what}seed{'s' * (len(method['runs']) > 1)} {seeds} ({', '.join(method['runs'])})")
        verdicts += ["", method["verdict"] if len(methods) == 1 else f"{name}: {method['verdict']}"]
    return replace(table, notes=[*key, "", *table.notes, *verdicts])
