"""An order test in the making: questions as a reader comes to them, what it leaves out, the files it finds."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from teminal_hf.clips.spreadsheets import Sheet, leads_out, read_sheet
from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.order_tests.questions import Asks, Gallery, OrderTest, Question, Recording

NO_FILE = "whose sound file is not there"


class Draft:
    """Recordings and captions are kept once each; `left_out` counts, by why, what is not asked."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._recordings: dict[Recording, int] = {}
        self._captions: dict[str, int] = {}
        self._questions: dict[Question, None] = {}
        self._galleries: list[Gallery] = []

    def ask(
        self, row: str, recordings: Sequence[Recording], captions: Sequence[str], group: str, asks: Asks = "captions"
    ) -> None:
        """A `Question`: what fits each of `recordings` comes first among `captions`, in the same order."""
        question = Question(row, self._heard(recordings), self._read(captions), group, asks)
        if question in self._questions:
            self.leave_out("questions that were asked before, word for word")
        else:
            self._questions[question] = None

    def find(
        self,
        suffix: str,
        recordings: Sequence[Recording],
        captions: Sequence[str],
        meanings: Iterable[str],
        groups: Iterable[str],
    ) -> None:
        """A `Gallery`, a caption for each recording."""
        places = self._heard(recordings), self._read(captions)
        self._galleries.append(Gallery(suffix, *places, tuple(meanings), tuple(groups)))

    def leave_out(self, why: str) -> None:
        self.left_out[why] += 1

    def test(self, name: str, path: Path, rows: Mapping[str, str], **further: Any) -> OrderTest:
        """What was asked.

        Raises:
            DataError: nothing, with what was left out of the file at `path`.
        """
        if not self._questions:
            left_out = "; ".join(f"{why} ({count})" for why, count in self.left_out.items())
            raise DataError(
                f"nothing of {path} can be asked; left out: {left_out or 'nothing, it has no rows'}. Sound "
                "files belong beside it as they are distributed; docs/order-tests.md shows where"
            )
        given = (tuple(self._recordings), tuple(self._captions), tuple(self._questions), rows)
        return OrderTest(name, *given, galleries=tuple(self._galleries), left_out=dict(self.left_out), **further)

    def _heard(self, recordings: Sequence[Recording]) -> tuple[int, ...]:
        return tuple(self._recordings.setdefault(recording, len(self._recordings)) for recording in recordings)

    def _read(self, captions: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._captions.setdefault(caption, len(self._captions)) for caption in captions)


def the_file(folder: Path, pattern: str, what: str) -> Path:
    """The one file of `folder` whose name fits the glob `pattern`; hidden ones, as archives of macOS hold, are none.

    Raises:
        NotFoundError: no such folder or file.
        DataError: several.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}; give the folder that holds {what} ({pattern})")
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and path.name[0] != ".")
    if not found:
        raise NotFoundError(f"{folder} has no {pattern}, {what}; docs/order-tests.md says where to get it")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder} has several files that may be {what}: {names}; leave the one to be read")
    return found[0]


def table(path: Path, columns: Sequence[str], *, numbered: bool = False) -> Sheet:
    """A csv file with at least `columns`; `numbered` as of `read_sheet`.

    Raises:
        DataError: a column is missing.
    """
    sheet = read_sheet(path, numbered=numbered)
    if missing := [name for name in columns if name not in sheet.columns]:
        raise DataError(
            f"{path} has no column {', '.join(missing)}, but {', '.join(sheet.columns) or 'none'}; take the file as it "
            "is distributed"
        )
    return sheet


def sound(name: str, *folders: Path) -> Recording | None:
    """The sound file of this name in the first of `folders` that has it; None if none has.

    Raises:
        DataError: a name that leads out of them.
    """
    if leads_out(name):
        raise DataError(f"{name!r} leads out of {folders[0]}; files are named inside, relative to it")
    paths = (folder / name for folder in folders)
    return next(((path,) for path in paths if path.is_file()), None) if name else None
