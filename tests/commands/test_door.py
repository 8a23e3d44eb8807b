"""What a person sees when something goes wrong: a message for what they can mend, a traceback for a fault."""

import os
import re
import signal
import subprocess
import sys

import pytest

from teminal_hf.commands import cli
from teminal_hf.commands.door import ISSUES, door
from teminal_hf.errors import ConfigError, TeminalError

RAISING = """
from teminal_hf.commands.door import door
from teminal_hf.errors import ConfigError
with door():
    raise {error}
"""


def run(error: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = RAISING.format(error=error)
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
    )


def test_what_a_user_can_mend_is_its_message_alone() -> None:
    done = run("ConfigError('n_groups must be at least 1, got 0')")
    assert (done.returncode, done.stderr) == (1, "error: n_groups must be at least 1, got 0\n")


def test_a_file_that_the_system_refuses_is_named() -> None:
    done = run("PermissionError(13, 'Permission denied', 'sounds/a.wav')")
    assert (done.returncode, done.stderr) == (1, "error: sounds/a.wav: Permission denied\n")


def test_a_fault_of_ours_is_a_traceback_that_says_where_to_report_it() -> None:
    for error in ("ValueError('of a library')", "KeyError('x')", "RuntimeError('shapes')"):
        done = run(error)
        assert done.returncode == 1 and done.stderr.startswith("Traceback")
        assert done.stderr.endswith(f"a fault of teminal_hf or of a library, not yours. Please report it: {ISSUES}\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("OSError('x is no folder\\nand no model')", "x is no folder and no model (OSError;"),
        ("ConnectionError('no route')", "no route (ConnectionError;"),
        ("ImportError('pip install bitsandbytes')", "pip install bitsandbytes (ImportError;"),
        ("MemoryError()", "there is too little memory (MemoryError;"),
        ("__import__('json').JSONDecodeError('cut', 'x', 0)", "cut: line 1 column 1 (char 0) (JSONDecodeError;"),
        ("__import__('safetensors').SafetensorError('cut')", "cut (SafetensorError;"),
    ],
)
def test_what_a_library_says_of_files_and_memory_is_one_line(error: str, message: str) -> None:
    done = run(error)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {message} TEMINAL_DEBUG=1 shows where)")


def test_the_cause_that_a_library_wrapped_is_said() -> None:
    from datasets.exceptions import DatasetGenerationError

    for cause, message in ((KeyError("audio"), "generating: 'audio' (Dataset"), (ConfigError("of ours"), "of ours")):
        with pytest.raises(SystemExit, match=re.escape(message)), door():
            raise DatasetGenerationError("generating") from cause


def test_what_was_stopped_says_so_unless_a_run_has_said_more() -> None:
    for error, status in (("KeyboardInterrupt", 130), ("__import__('teminal_hf').errors.Stopped", 143)):
        done = run(error)
        assert (done.returncode, done.stderr) == (status, "stopped; the same command begins anew\n")
    done = run("KeyboardInterrupt('a run has said what is saved')")
    assert (done.returncode, done.stderr) == (130, "")


def test_the_end_of_another_process_of_a_run_is_no_fault() -> None:
    done = run("RuntimeError('[gloo/pair.cc:537] Read error [127.0.0.1]:55002: Connection reset by peer')")
    message = "error: another process of this run has ended, and this one cannot go on alone; see its message\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_sigterm_is_as_before_once_the_door_is_closed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with door():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_debug_shows_every_traceback() -> None:
    done = run("ConfigError('n_groups')", TEMINAL_DEBUG="1")
    assert done.stderr.startswith("Traceback") and done.stderr.endswith("ConfigError: n_groups\n")


def test_errors_of_ours_are_those_of_the_language_too() -> None:
    """Who calls the package may catch what they are used to."""
    with pytest.raises(ValueError, match="x") as caught:
        raise ConfigError("x")
    assert isinstance(caught.value, TeminalError)


def test_the_door_leaves_results_alone() -> None:
    with door():
        done = True
    assert done


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_of_the_table_is_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command not in ("train", "estimate"):  # which say it in their own words
        with pytest.raises(SystemExit) as stopped:
            cli.main([command, "--help"])
        assert stopped.value.code == 0
    else:
        cli.main([command, "--help"])
    assert f"teminal {command}" in capsys.readouterr().out


LIGHT = ("--help", "--version", "cache info", "cache clear --help", "doctor --help", "rank --help", "train --help")


@pytest.mark.parametrize("arguments", LIGHT)
def test_the_front_door_imports_nothing_slow(arguments: str) -> None:
    code = f"""
import sys
from teminal_hf.commands import cli
try:
    cli.main({arguments.split()!r})
except SystemExit as stopped:
    assert not stopped.code
slow = {{"numpy", "torch", "transformers", "datasets", "evaluate", "soundfile", "peft"}} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


FORKING = """
import os, signal, time
from teminal_hf.commands.door import door
with door():
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(7)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_sigterm_ends_a_forked_worker_as_it_always_did() -> None:
    """Pools of other libraries end their workers so, and would wait for one that does not go."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")
