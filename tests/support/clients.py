"""Real clients of a loopback Hub, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from support.hub_server import HubServer

# Stands before code that a user without the package runs.
WITHOUT_PACKAGE = "import sys\nsys.modules['teminal_hf'] = None\n"


def client(hub: HubServer, home: Path, *command: str, cwd: Path, fails: bool = False, **env: str) -> str:
    """What `python *command` says, errors and then output; asserts that it succeeds (or fails)."""
    environment = {**os.environ, **hub.env(home), "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert "Traceback" not in done.stderr or not fails, done.stderr
    return done.stderr + done.stdout


def without_package(hub: HubServer, home: Path, code: str, *, cwd: Path, **env: str) -> str:
    """As `client`, for code in a process that cannot import teminal_hf."""
    return client(hub, home, "-c", WITHOUT_PACKAGE + code, cwd=cwd, **env)
