"""Runs side by side: what is done, what fails, and what two calls must not do at once."""

import fcntl
import json
from pathlib import Path

import pytest

from teminal_hf.errors import DataError
from teminal_hf.experiments.running import run_all, seconds_of
from teminal_hf.experiments.suite import Job, Variant


def job(folder: Path, name: str, after: str | None = None, record: str = "") -> Job:
    variant = Variant("mine", 0, name, name, 1.0, "stage_b", after, "", (1,), {}, {})
    run = folder / name / "seed-1"
    run.mkdir(parents=True)
    if record:
        (run / "run.json").write_text(record)
    return Job(variant, 1, run, {})


def test_a_run_that_another_process_writes_is_left_alone_and_so_is_what_starts_from_it(tmp_path: Path) -> None:
    busy = job(tmp_path, "busy")
    then, ready = job(tmp_path, "then", after="busy"), job(tmp_path, "ready", record=json.dumps({"complete": True}))
    done: list[Job] = []
    with busy.log.open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        failed = run_all([busy, then, ready], 2, done.append)
    assert failed == {busy: "another process still runs it", then: "it goes on from busy, which failed"}
    assert done == [ready] and not busy.log.read_bytes()


def test_a_record_that_is_damaged_fails_its_run_alone(tmp_path: Path) -> None:
    broken, ready = job(tmp_path, "broken", record="{"), job(tmp_path, "ready", record='{"complete": true}')
    failed = run_all([broken, ready], 1, lambda _: None)
    assert list(failed) == [broken] and "run.json is damaged" in failed[broken]


def test_what_cannot_be_kept_of_a_run_ends_the_call(tmp_path: Path) -> None:
    def refuse(_: Job) -> None:
        raise DataError("no figures")

    with pytest.raises(DataError, match="no figures"):
        run_all([job(tmp_path, "ready", record='{"complete": true}')], 1, refuse)


def test_seconds_are_those_of_all_parts(tmp_path: Path) -> None:
    one = job(tmp_path, "one")
    one.log.write_text("training\nthis part took 12.5 s\nerror\nthis part took 3.0 s\n")
    assert seconds_of(one) == 15.5
