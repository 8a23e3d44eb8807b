"""What every test shares: caches in a temporary folder, no network, clips of the sound bank, a tiny ESC-50."""

import atexit
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Read by the Hugging Face libraries when they are imported, and by this package, so set before any of them is.
_TOO_EARLY = sorted({name.partition(".")[0] for name in sys.modules} & {"teminal_hf", "huggingface_hub", "datasets"})
assert not _TOO_EARLY, f"imported before the caches were moved: {_TOO_EARLY}"
CACHES = Path(tempfile.mkdtemp(prefix="teminal-hf-tests-"))
atexit.register(shutil.rmtree, CACHES, ignore_errors=True)
os.environ |= {"HF_HOME": str(CACHES), "HF_DATASETS_CACHE": str(CACHES / "datasets"), "HF_HUB_OFFLINE": "1"}
os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
for _name in ("TEMINAL_CACHE", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE", "HF_METRICS_CACHE", "HF_TOKEN"):
    os.environ.pop(_name, None)
os.environ.setdefault("GOMP_SPINCOUNT", "0")  # idle threads that spin make every step of a busy machine slower
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from teminal_hf import ClipTable


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write the expected cards anew; read the diff")


@pytest.fixture
def regenerate_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regenerate-golden"))


LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting anywhere but to this machine is an error."""

    def guarded(name: str) -> Any:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
                raise RuntimeError(f"a test tried to connect to {address}")
            return original(self, address)

        return connect

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(name))


@pytest.fixture(scope="module")
def clips() -> "ClipTable":
    """Two clips a class of the sound bank's first fold."""
    from teminal_hf.clips.sources import sound_bank

    return sound_bank(2).in_folds([1]).usable(16_000)


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    """`write_esc50` in a temporary folder."""
    from support.clips import write_esc50

    return write_esc50(tmp_path)
