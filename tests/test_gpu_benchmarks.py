"""`benchmarks/gpu.sh`: less than 15 minutes by its limits, flags that the benchmarks have, and what it leaves out."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPT = FOLDER / "gpu.sh"


def stub(folder: Path, does: str) -> dict[str, str]:
    """An environment whose `PYTHON` notes how it was called, and then does this."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || echo "$@" >> {shlex.quote(str(folder / "calls"))}\n{does}\n')
    python.chmod(0o755)
    return {**os.environ, "PYTHON": str(python)}


def gpu(*flags: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *flags], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_all_parts_end_within_a_quarter_of_an_hour(tmp_path: Path) -> None:
    done = gpu(environment=stub(tmp_path, "exit 0"))
    assert done.returncode == 0 and done.stdout.endswith("nothing was left out\n"), done.stdout + done.stderr
    limits = {name: int(seconds) for name, seconds in re.findall(r"== (\w+): at most (\d+) s", done.stdout)}
    assert len(limits) == 7 and sum(limits.values()) + 5 * len(limits) < 15 * 60  # 5 s each to be killed in


def test_what_was_stopped_failed_or_not_asked_for_is_named(tmp_path: Path) -> None:
    does = 'case "$1" in *features.py) sleep 60;; *latency.py) exit 3;; esac'
    environment = stub(tmp_path, does) | {"PARTS": "features latency memory", "FEATURES_SECONDS": "1"}
    done = gpu(environment=environment)
    assert done.returncode == 1
    said = done.stdout.split("left out:\n")[1].splitlines()
    assert said[0].startswith("  features (stopped after 1 s: raise its limit")
    assert "  latency (ended with 3)" in said and "  pipeline (not in PARTS)" in said
    assert not any("memory" in line for line in said)


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = gpu(environment=stub(tmp_path, "exit 1"))
    assert done.returncode == 2 and "sees no CUDA device" in done.stderr and not (tmp_path / "calls").exists()


def test_every_part_has_flags_that_its_benchmark_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu("--smoke", environment=stub(tmp_path, "exit 0"))
    calls = [shlex.split(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert len(calls) == 7 and all(call[-1] == "--smoke" for call in calls)
    monkeypatch.syspath_prepend(str(FOLDER))

    class ParsedError(Exception):
        pass

    def stop(*args: object, **kwargs: object) -> None:
        raise ParsedError

    for call in calls:
        module = __import__(Path(call[0]).stem)
        monkeypatch.setattr(module, "make_job" if hasattr(module, "make_job") else "LogMel", stop)
        monkeypatch.setattr(module, "ClapFeatureExtractor", stop, raising=False)
        with pytest.raises(ParsedError):
            module.main(call[1:])


def test_a_part_runs(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
    done = gpu("--smoke", environment={**os.environ, "PYTHON": sys.executable, "PARTS": "features", "THREADS": "1"})
    assert "log_mel_vs_feature_extractor: " in done.stdout, done.stdout + done.stderr
    assert {path: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()} == before
