"""Training rows of TACOS's development split: excerpts of real recordings, and what is before, after or while in them.

Primus et al. 2025, arXiv 2505.07609. No recording has its own reversal, so it is made: an excerpt is cut between its
two sounds, and its halves are exchanged. What is heard at the same time is an excerpt of its own, as it was recorded.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accelerate import PartialState
from torch.utils.data import Dataset

from teminal_hf.audio import waveform
from teminal_hf.audio.features import window_samples
from teminal_hf.audio.waveform import Waveform, decode, fade_ends, level_to
from teminal_hf.clips.audio_column import file_state
from teminal_hf.clips.store import open_store
from teminal_hf.clips.table import screen
from teminal_hf.data.captions import caption
from teminal_hf.errors import DataError
from teminal_hf.order_tests.draft import NO_FILE, Draft, sound, table, the_file
from teminal_hf.order_tests.tacos import MARGIN, NO_SENTENCES, Stretch, check_margin, related_pairs, stretches_of
from teminal_hf.storage.cache import code_id, digest

logger = logging.getLogger(__name__)

LEVEL = -20.0  # dBFS of every excerpt, so that none is told by its level


class Scene(NamedTuple):
    """Two sounds of a recording (its place among those read), from sample `start` to `stop`; `cut` is between them."""

    recording: int
    start: int
    cut: int
    stop: int
    first: str
    second: str

    def says(self, related: str, wording: int, exchanged: bool = False) -> str:
        """One of its two captions: "X before Y" or "Y after X", "X while Y" or "Y while X"."""
        x, y = (self.second, self.first) if exchanged else (self.first, self.second)
        if related == "while":
            return caption("while", *((x, y), (y, x))[wording])
        return caption(("before", "after")[wording], x, y)


class SceneGroups(Dataset[dict[str, Any]]):
    """Rows with stage B's views: `forward`, `reversed` and `overlay`.

    `forward` is an excerpt in which one sound ends before another begins, `reversed` the same with its halves
    exchanged, `overlay` an excerpt of any recording in which two sounds are heard at once. All excerpts are as long as
    the model's window, or their whole recording, and of one level; all are faded where `reversed` is joined, so that
    neither the length nor the join tells one view from another. Both kinds are dealt out in rounds. Half of the rows
    say "before", half "after", each the other in the next epoch. A caption that may hold of a recording, for it was
    derived from the same annotations, is no negative of it.

    Left out and counted: what the test leaves out, pairs that do not fit the window, and those beyond the recording.

    Args:
        folder: holds `annotations_strong.csv`, `development_split.csv`, `test_split.csv` and `audio`.
        extractor: of the model that is to hear them.
        margin: in seconds, as of `tacos.read`.
        seed: of the order in which scenes are dealt out.

    Raises:
        ConfigError: a margin below 0, or none.
        NotFoundError: no folder or table.
        DataError: a column is missing, a recording is in both splits, more than 5 % bad recordings, or there are no
            two pairs in sequence, or none at the same time.
    """

    def __init__(self, folder: Path, extractor: Any, *, margin: float = MARGIN, seed: int = 0) -> None:
        check_margin(margin)
        draft = Draft()
        _, stretches = stretches_of(draft, folder)
        self.sampling_rate, self.samples = extractor.sampling_rate, window_samples(extractor)
        paths: dict[str, Path] = {}
        for name in _to_train_on(folder):
            if (file := sound(name, folder / "audio", folder)) is None:
                draft.leave_out(f"recordings {NO_FILE}")
            elif name in stretches:
                paths[name] = file[0]
            else:
                draft.leave_out(NO_SENTENCES)
        origins = [file_state(path) for path in paths.values()]
        files, what = list(paths.values()), f"{len(paths)} recordings of TACOS at {self.sampling_rate} Hz"
        with PartialState().local_main_process_first():  # the others read what it has decoded
            self._store = open_store(what, origins, self.sampling_rate, lambda i: decode(files[i], self.sampling_rate))
        scenes: dict[str, list[Scene]] = {"before": [], "while": []}
        names = list(paths)
        for i in screen(len(names), self._store.content):
            length = len(self._store.waveform(i, trim=False))
            for related, first, second in related_pairs(draft, stretches[names[i]], margin):
                found = self._scene(i, length, related, first, second)
                if isinstance(found, str):
                    draft.leave_out(found)
                else:
                    scenes[related].append(found)
        self.left_out = dict(draft.left_out)
        for why, count in self.left_out.items():
            logger.info("left out: %d %s", count, why)
        self._sequences, self._overlaps = scenes["before"], scenes["while"]
        if len(self._sequences) < 2 or not self._overlaps:
            raise DataError(
                f"{folder} has {len(self._sequences)} pairs in sequence and {len(self._overlaps)} at the same "
                f"time in its development split; two and one are needed. Left out: {self.left_out or 'nothing'}"
            )
        logger.info("%d pairs in sequence, %d at the same time", len(self._sequences), len(self._overlaps))
        self._pairs_of: dict[int, list[tuple[Scene, str]]] = {}
        for related, kind in scenes.items():
            for scene in kind:
                self._pairs_of.setdefault(scene.recording, []).append((scene, related))
        n = max(map(len, scenes.values()))
        self._dealt = list(
            zip(*(_dealt(len(kind), n, [seed, k]) for k, kind in enumerate(scenes.values())), strict=True)
        )
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._dealt)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sequence, overlap = self._of(index)
        first, second = self._halves(sequence)
        views = {"forward": (first, second), "reversed": (second, first), "overlay": self._halves(overlap)}
        return self._words(index) | {view: self._audio(halves) for view, halves in views.items()}

    def draw_captions(self, seed: int, epoch: int) -> bool:
        """Say "after" where the epoch before said "before", and the reverse; always True: there are two wordings."""
        self._epoch = epoch
        return True

    @property
    def captions(self) -> list[str]:
        """All that may be said."""
        said = [pair for pairs in self._pairs_of.values() for pair in pairs]
        return list(
            dict.fromkeys(
                scene.says(related, wording, exchanged)
                for scene, related in said
                for wording in (0, 1)
                for exchanged in (False, True)
            )
        )

    @property
    def manifest(self) -> list[dict[str, Any]]:
        """The rows without audio."""
        return [self._words(index) for index in range(len(self))]

    @property
    def recordings_id(self) -> str:
        """Hash of all that the audio depends on."""
        heard = [
            (self._store.content(scene.recording), scene.start, scene.cut, scene.stop)
            for index in range(len(self))
            for scene in self._of(index)
        ]
        return digest(heard, self.sampling_rate, self.samples, code_id(waveform, sys.modules[__name__]))

    def _of(self, index: int) -> tuple[Scene, Scene]:
        sequence, overlap = self._dealt[index]
        return self._sequences[sequence], self._overlaps[overlap]

    def _scene(self, i: int, length: int, related: str, first: Stretch, second: Stretch) -> Scene | str:
        end = max(first.offset, second.offset)
        begin, stop = round(first.onset * self.sampling_rate), round(end * self.sampling_rate)
        if stop - begin > self.samples:
            return "pairs that are longer than the model's window"
        if stop > length + self.sampling_rate // 10:  # people mark the end of a file a little beyond it
            return "pairs that end beyond their recording"
        start = max(0, min((begin + stop - self.samples) // 2, length - self.samples))
        until = min(length, start + self.samples)
        apart = round((first.offset + second.onset) / 2 * self.sampling_rate)
        cut = apart if related == "before" else (start + until) // 2
        return Scene(i, start, cut, until, first.text, second.text)

    def _halves(self, scene: Scene) -> tuple[Waveform, Waveform]:
        excerpt = level_to(self._store.waveform(scene.recording, trim=False)[scene.start : scene.stop], LEVEL)
        cut = scene.cut - scene.start
        return fade_ends(excerpt[:cut], self.sampling_rate), fade_ends(excerpt[cut:], self.sampling_rate)

    def _audio(self, halves: Sequence[Waveform]) -> dict[str, Any]:
        array = np.concatenate(halves)
        return {"array": np.pad(array, (0, self.samples - len(array))), "sampling_rate": self.sampling_rate}

    def _words(self, index: int) -> dict[str, Any]:
        """Each view's caption, and what else may hold of its recording; all rows have as many of these."""
        sequence, overlap = self._of(index)
        wording = (index + self._epoch) % 2
        row: dict[str, Any] = {
            "sounds": (sequence.first, sequence.second),
            "forward_caption": sequence.says("before", wording),
            "reversed_caption": sequence.says("before", wording, exchanged=True),
            "overlay_caption": overlap.says("while", wording),
        }
        also = {
            "forward": self._true_of(sequence.recording),
            "overlay": self._true_of(overlap.recording),
            "reversed": self._perhaps_of_exchanged(sequence),
        }
        return row | {f"{view}_also": captions for view, captions in also.items()}

    def _true_of(self, recording: int) -> list[str]:
        pairs = self._pairs_of[recording]
        return [scene.says(related, wording) for scene, related in pairs for wording in (0, 1)]

    def _perhaps_of_exchanged(self, sequence: Scene) -> list[str]:
        """Of the recording's other pairs nobody knows what becomes when its halves are exchanged."""
        others = [pair for pair in self._pairs_of[sequence.recording] if pair[0] != sequence]
        of_others = [scene.says(r, wording, e) for scene, r in others for wording in (0, 1) for e in (False, True)]
        return [*(sequence.says("before", wording, exchanged=True) for wording in (0, 1)), *of_others]


def _to_train_on(folder: Path) -> list[str]:
    """Names of the development split, each once."""
    development, test = (
        table(the_file(folder, f"{which}_split.csv", f"TACOS's {which} split"), ("filename",)).column("filename")
        for which in ("development", "test")
    )
    if both := sorted({*development} & {*test}):
        raise DataError(
            f"{folder}: {len(both)} recordings are in development_split.csv and in test_split.csv, such as {both[0]}; "
            "take the files as they are distributed, or what is trained on would be tested on"
        )
    return list(dict.fromkeys(development))


def _dealt(scenes: int, n: int, seed: Sequence[int]) -> list[int]:
    """`n` of them, each once a round, in a new order every round."""
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(scenes).tolist() for _ in range(-(-n // scenes))] if scenes else []
    return [i for one in rounds for i in one][:n]
