"""What every test shares: no network, caches in a temporary folder, a tiny ESC-50."""

import atexit
import csv
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import soundfile

from teminal_hf.sources import ClipTable, sound_bank

# Read by the Hugging Face libraries when they are imported, so set before any of them is (none is above).
_CACHE = tempfile.mkdtemp(prefix="teminal-hf-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ |= {"HF_HOME": _CACHE, "HF_DATASETS_CACHE": f"{_CACHE}/datasets", "HF_HUB_OFFLINE": "1"}
os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
os.environ.setdefault("GOMP_SPINCOUNT", "0")  # idle threads that spin make every step of a busy machine slower
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write the expected cards anew; read the diff")


@pytest.fixture
def regenerate_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regenerate-golden"))


def missing(what: str) -> NoReturn:
    """Skip a test that needs what is not installed, and say so; with TEMINAL_REQUIRE_ALL=1, as in CI, fail."""
    if os.environ.get("TEMINAL_REQUIRE_ALL") == "1":
        pytest.fail(what)
    pytest.skip(what)


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


ESC50_CLASSES = ("dog", "rain", "door_wood_knock")
ESC50_FOLDS = (1, 2, 3, 4, 5)


def table(clips: dict[str, np.ndarray], labels: Sequence[str]) -> ClipTable:
    """Clips given as arrays, whatever the sampling rate asked for, all of fold 1."""
    arrays, n = list(clips.values()), len(clips)
    origins = tuple(hashlib.sha256(array.tobytes()).hexdigest() for array in arrays)
    return ClipTable(tuple(clips), tuple(labels), (1,) * n, tuple(range(n)), origins, lambda row, rate: arrays[row])


@pytest.fixture(scope="module")
def clips() -> ClipTable:
    """Two clips a class of the sound bank's first fold."""
    return sound_bank(2).in_folds([1]).usable(16_000)


def tone(frequency: float, seconds: float, rate: int, level: float = 0.3) -> np.ndarray:
    """A steady sine, (samples,) float32."""
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    """`write_esc50` in a temporary folder."""
    return write_esc50(tmp_path)


def write_esc50(parent: Path) -> Path:
    """An ESC-50 folder as distributed, of 30 short clips: 3 classes (one pitch each) x 5 folds x 2 takes.

    Clips are 1 s at 44.1 kHz but for the first three of fold 1: "dog" take A is stereo, take B at 48 kHz with 0.3 s of
    silence before and 0.7 s after; "rain" take A is 7 s long.
    """
    root = parent / "ESC-50"
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    rows = []
    for fold in ESC50_FOLDS:
        for target, category in enumerate(ESC50_CLASSES):
            for take in "AB":
                rate, samples = 44_100, tone(400 * 2**target, 1.0, 44_100)
                if (fold, category, take) == (1, "dog", "A"):
                    samples = np.stack([samples, 0.5 * samples], axis=1)
                elif (fold, category, take) == (1, "dog", "B"):
                    rate, samples = 48_000, np.pad(tone(400, 1.0, 48_000), (14_400, 33_600))
                elif (fold, category, take) == (1, "rain", "A"):
                    samples = tone(800, 7.0, rate)
                source = 100 * fold + target
                name = f"{fold}-{source}-{take}-{target}.wav"
                soundfile.write(root / "audio" / name, samples, rate, subtype="PCM_16")
                rows.append([name, fold, target, category, target == 0, source, take])
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "fold", "target", "category", "esc10", "src_file", "take"], *rows])
    return root
