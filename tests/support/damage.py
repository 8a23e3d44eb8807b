"""Ways in which a file of a cache may be damaged; each leaves something in its place, or nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def _edited(edit: Callable[[bytearray], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content = edit(content) or content
        path.write_bytes(bytes(content))

    return damage


def _flip(content: bytearray) -> None:
    """64 bytes of the second half: of a tensor file, data and not header."""
    for position in np.random.default_rng(0).integers(len(content) // 2, len(content), 64):
        content[position] ^= 0xFF


def _zero_tail(content: bytearray) -> None:
    n = min(4096, len(content) // 2)
    content[-n:] = bytes(n)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b"") and None,
    "zeros": _edited(lambda content: bytearray(len(content))),
    "flipped bytes": _edited(_flip),
    "one flipped bit": _edited(lambda content: content.__setitem__(-3, content[-3] ^ 1)),
    "last page of zeros": _edited(_zero_tail),
    "truncated": _edited(lambda content: content[: len(content) // 2]),
    "a byte short": _edited(lambda content: content[:-1]),
    "longer": _edited(lambda content: content + bytes(64)),
    "first bytes": _edited(lambda content: content.__setitem__(slice(0, 8), b"\xff" * 8)),
    "text": lambda path: path.write_text("<html>captive portal</html>") and None,
    "a folder in its place": _folder,
}
