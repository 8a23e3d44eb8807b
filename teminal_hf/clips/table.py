"""The table of labelled clips: ids, labels, folds, and the sound of each."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tqdm.auto import tqdm

from teminal_hf.audio.waveform import Waveform, trim_silence
from teminal_hf.clips.store import ClipStore, open_store
from teminal_hf.errors import BadClipError, DataError

logger = logging.getLogger(__name__)

MAX_BAD_SHARE = 0.05

Reader = Callable[[int, int], Waveform]  # (row, sampling rate) -> waveform


@dataclass
class ClipTable:
    """Labelled clips. `ids`, `labels`, `folds`, `rows`, `origins` are parallel; `reader(row, sampling_rate)` gives the
    sound, and two clips of one origin (such as a file's path, size and time) have the same.

    A `usable` table reads from clip stores: `addresses` (store, number) are parallel, too.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    folds: tuple[int, ...]
    rows: tuple[int, ...]
    origins: tuple[str, ...] = field(repr=False)
    reader: Reader = field(repr=False)
    addresses: tuple[tuple[ClipStore, int], ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        self._position = {clip_id: i for i, clip_id in enumerate(self.ids)}
        if len(self._position) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise DataError(f"clip ids must be unique; {twice!r} occurs more than once")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._position

    @property
    def classes(self) -> list[str]:
        """Sorted class labels."""
        return sorted(set(self.labels))

    @property
    def fingerprint(self) -> str:
        """Hash of ids, labels and folds: the same table gives the same groups."""
        rows = "\n".join(
            f"{i}\t{label}\t{fold}" for i, label, fold in zip(self.ids, self.labels, self.folds, strict=True)
        )
        return hashlib.sha256(rows.encode()).hexdigest()[:16]

    def select(self, keep: Iterable[int]) -> "ClipTable":
        """The clips at these positions."""
        keep = list(keep)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in keep),
            labels=tuple(self.labels[i] for i in keep),
            folds=tuple(self.folds[i] for i in keep),
            rows=tuple(self.rows[i] for i in keep),
            origins=tuple(self.origins[i] for i in keep),
            addresses=tuple(self.addresses[i] for i in keep) if self.addresses else (),
        )

    def in_folds(self, folds: Iterable[int]) -> "ClipTable":
        """The clips of these folds.

        Raises:
            DataError: no clip left; the message lists the folds that exist.
        """
        wanted = set(folds)
        chosen = self.select(i for i, fold in enumerate(self.folds) if fold in wanted)
        if not len(chosen):
            raise DataError(f"no clip in fold(s) {sorted(wanted)}; the source has folds {sorted(set(self.folds))}")
        return chosen

    def label(self, clip_id: str) -> str:
        return self.labels[self._position[clip_id]]

    def waveform(self, clip_id: str, sampling_rate: int, *, trim: bool = True) -> Waveform:
        """Mono float32 (samples,) at `sampling_rate` Hz, silence at both ends trimmed unless `trim=False`.

        A table that is `usable` at this rate reads it from disk, in 16 bits; any other decodes it at every call.

        Raises:
            BadClipError: unreadable, empty, silent or too short; the message names the clip.
        """
        i = self._position[clip_id]
        with _naming(clip_id):
            if self._stored_at(sampling_rate):
                store, number = self.addresses[i]
                return store.waveform(number, trim=trim)
            waveform = self.reader(self.rows[i], sampling_rate)
            return trim_silence(waveform, sampling_rate) if trim else waveform

    def content(self, clip_id: str) -> str:
        """Hash of the clip's sound at the table's rate; of `usable` tables alone."""
        if not self.addresses:
            raise ValueError("a clip's content is known once it is decoded: ask the table that usable() returns")
        store, number = self.addresses[self._position[clip_id]]
        with _naming(clip_id):
            return store.content(number)

    def usable(self, sampling_rate: int) -> "ClipTable":
        """This table without the clips that cannot be used, as `audible` returns it, of which pairs can be made.

        Raises:
            DataError: more than 5 % of the clips are bad, or a class is left with a single clip.
            OSError: the disk is full.
        """
        good = self.audible(sampling_rate)
        for label, count in sorted(Counter(good.labels).items()):
            if count < 2:
                raise DataError(f"class {label!r} has a single clip; give it at least two or remove the class")
        if len(good.classes) < 2:
            raise DataError(f"pairs need two classes; the source has {good.classes}")
        return good

    def audible(self, sampling_rate: int) -> "ClipTable":
        """This table without the clips that cannot be used, each of which is named in a warning; it reads from stores
        of decoded clips, one for each fold, which are written first where they are missing.

        Raises:
            DataError: more than 5 % of the clips are bad.
            OSError: the disk is full.
        """
        stored = self.decoded(sampling_rate)
        audible = stored.select(screen(len(self), lambda i: stored.content(self.ids[i])))
        audible._warn_of_copies()
        return audible

    def _warn_of_copies(self) -> None:
        """Warn of one sound in several folds, or of several classes."""
        contents = [self.content(clip) for clip in self.ids]
        for what, values in (("folds", self.folds), ("classes", self.labels)):
            found: dict[str, dict[Any, str]] = {}  # of each sound, its folds or classes, and a clip of each
            for clip, content, value in zip(self.ids, contents, values, strict=True):
                found.setdefault(content, {}).setdefault(value, clip)
            if several := [of for of in found.values() if len(of) > 1]:
                logger.warning(
                    "%d sounds stand in several %s, such as %s: %s. Remove the copies",
                    len(several),
                    what,
                    " and ".join(several[0].values()),
                    "what is tested on was in part trained on" if what == "folds" else "a sound is of one class",
                )

    def decoded(self, sampling_rate: int) -> "ClipTable":
        """This table, reading from clip stores as a `usable` one does; bad clips stay in it and raise when read."""
        return self if self._stored_at(sampling_rate) else self._stored(sampling_rate)

    def _stored_at(self, sampling_rate: int) -> bool:
        return bool(self.addresses) and self.addresses[0][0].sampling_rate == sampling_rate

    def _stored(self, sampling_rate: int) -> "ClipTable":
        addresses: dict[int, tuple[ClipStore, int]] = {}
        for fold in sorted(set(self.folds)):
            clips = [i for i in range(len(self)) if self.folds[i] == fold]
            what = f"{len(clips)} clips of fold {fold} at {sampling_rate} Hz, from {self.origins[clips[0]]} on"
            read = partial(self._read, [self.rows[i] for i in clips], sampling_rate)
            store = open_store(what, [self.origins[i] for i in clips], sampling_rate, read)
            addresses |= {i: (store, number) for number, i in enumerate(clips)}
        return replace(self, addresses=tuple(addresses[i] for i in range(len(self))))

    def _read(self, rows: Sequence[int], sampling_rate: int, number: int) -> Waveform:
        return self.reader(rows[number], sampling_rate)


@contextmanager
def _naming(clip_id: str) -> Iterator[None]:
    try:
        yield
    except BadClipError as error:
        raise BadClipError(f"clip {clip_id!r} {error}") from error


def screen(n: int, read: Callable[[int], Any]) -> list[int]:
    """The numbers below `n` that `read` takes without a `BadClipError`; the others are named in warnings.

    Raises:
        DataError: more than 5 % are bad.
    """
    bad: dict[int, str] = {}
    for i in tqdm(range(n), desc="reading clips", unit="clip", leave=False):
        try:
            read(i)
        except BadClipError as error:
            bad[i] = str(error)
    if len(bad) > MAX_BAD_SHARE * n:
        raise DataError(
            f"{len(bad)} of {n} clips cannot be used (at most {MAX_BAD_SHARE:.0%} are tolerated); "
            f"the first: {next(iter(bad.values()))}. Repair or remove them and run again"
        )
    for message in bad.values():
        logger.warning("left out: %s", message)
    if bad:
        logger.warning("%d of %d clips left out", len(bad), n)
    return [i for i in range(n) if i not in bad]
