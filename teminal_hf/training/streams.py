"""Batches of a stream of pairs: each row once a pass over all processes, and the place to go on from."""

import itertools
import json
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather, gather_object
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainerCallback

from teminal_hf.clips.table import MAX_BAD_SHARE
from teminal_hf.data.caption_pairs import CaptionStream
from teminal_hf.errors import BadClipError, ConfigError, DataError, TeminalError
from teminal_hf.storage.atomic import write_json
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator

logger = logging.getLogger(__name__)

_NAMED = 20  # bad rows that are named in the end, of each process
_JUDGED_FROM = 1000  # rows that are read before the share of bad ones may end the training
_VIEW = "forward"

# A row's features (1, ...), and its words. Arrays: of tensors each would be a file of its own between two processes.
Heard = tuple[dict[str, NDArray[np.float32]], dict[str, Any]]
_Found = Heard | TeminalError | None  # None at the end of a pass


@dataclass
class Place:
    """Where a process is in the stream: what it takes to go on from here, and what was bad so far."""

    process: int
    readers: int  # of all processes
    batch: int
    passed: int = 0  # whole passes
    turn: int = 0  # which of this process' readers is next
    rows: list[int] = field(default_factory=list)  # taken of each of them in this pass
    seen: int = 0
    n_bad: int = 0
    bad: dict[str, None] = field(default_factory=dict)  # what is wrong with the first of them, in order
    order: dict[str, int] = field(default_factory=dict)  # what else the order of the rows depends on

    @staticmethod
    def start(pairs: CaptionStream, args: TeminalConfig, workers: int) -> "Place":
        """The first row."""
        here, batch = max(1, workers), args.per_device_train_batch_size
        # In a worker `datasets` shuffles otherwise than in the process itself.
        order = {"dataloader_num_workers": workers, **pairs.order}
        return Place(args.process_index, here * args.world_size, batch, rows=[0] * here, order=order)

    @property
    def fixed(self) -> dict[str, int]:
        """What must stay as it was for every row to come once, in words."""
        return {"readers (processes x dataloader_num_workers)": self.readers, "rows a batch": self.batch, **self.order}

    def save(self, checkpoint: Path) -> None:
        write_json(checkpoint / _file(self.process), asdict(self))

    def found(self, checkpoint: Path) -> "Place":
        """The place that this process had when `checkpoint` was written.

        Raises:
            ConfigError: other processes, workers, batches or another order, by which rows would be left out or come
                twice.
        """
        path = checkpoint / _file(self.process)
        if not path.is_file():
            raise ConfigError(
                f"{checkpoint} has no place in a stream for process {self.process}: it was not trained on a stream, or "
                "with fewer processes. Start as many as before, with the same --streaming"
            )
        place = Place(**json.loads(path.read_text(encoding="utf-8")))
        for what, now in self.fixed.items():
            if (before := place.fixed.get(what)) != now:
                raise ConfigError(
                    f"{checkpoint} was trained with {before} {what}, and this run has {now}: rows of the stream would "
                    "be left out or come twice. Set it as it was"
                )
        return place


class StreamLoader:
    """Batches of this process, without end: pass after pass, so that a training's length is its `max_steps`.

    Every process has `workers` readers (one, in the process itself, where there are none), each with its share of the
    rows; a process takes a row of each in turn. All processes' batches are of one size: where rows have run out, at the
    end of a pass, silence fills them up, and `counts` tells the loss how many of each process count.

    Args:
        pairs: the stream.
        collator: of the model, with the view `forward`.
        args: of the training.
        workers: of this process.
        place: where to begin, or to go on; it is moved along.
    """

    def __init__(
        self, pairs: CaptionStream, collator: GroupCollator, args: TeminalConfig, workers: int, place: Place
    ) -> None:
        self.dataset, self._collator, self._args, self._workers = pairs, collator, args, workers
        self._here = len(place.rows)
        self._first = args.process_index * self._here  # of this process' readers
        self.place = place
        blank = {"array": np.zeros(collator.hear.n_samples, np.float32), "sampling_rate": collator.hear.sampling_rate}
        self._blank = _hear(collator, {_VIEW: blank, f"{_VIEW}_caption": ""})

    def __iter__(self) -> Generator[dict[str, Any]]:
        readers = [iter(self._reader(number)) for number in range(self._here)]
        while True:
            yield from self._rest_of_pass(readers)
            self.place.passed += 1
            self.place.turn, self.place.rows = 0, [0] * self._here

    def _rest_of_pass(self, readers: Sequence[Iterator[_Found]]) -> Generator[dict[str, Any]]:
        left_here = set(range(self._here))
        while True:
            rows = self._take(readers, left_here)
            counts, left, seen, bad = self._of_all(len(rows), len(left_here))
            over = not left and not sum(counts)
            if over or seen >= _JUDGED_FROM:
                check_share(bad, seen, next(iter(self.place.bad), "another process has them"))
            if over and not seen:
                raise DataError(self.dataset.stream.has_none)
            if over:
                return
            if not sum(counts):
                continue  # bad rows alone, so far
            short = any(count < self.place.batch for count in counts)
            yield self._batch(rows) | ({"counts": counts} if short else {})

    def _take(self, readers: Sequence[Iterator[_Found]], left: set[int]) -> list[Heard]:
        """A batch's rows, fewer at the end of a pass or where too many are bad, and this process' place after them.
        Readers that have come to the end of the pass are taken out of `left`."""
        place, rows = self.place, list[Heard]()
        n_bad = place.n_bad + _JUDGED_FROM  # then all processes are to judge together
        while len(rows) < place.batch and place.n_bad < n_bad and left:
            turn, place.turn = place.turn, (place.turn + 1) % self._here
            if turn not in left:
                continue
            found = next(readers[turn])
            if found is None:
                left.remove(turn)
                continue
            place.rows[turn] += 1
            place.seen += 1
            if isinstance(found, BadClipError):
                place.n_bad += 1
                if len(place.bad) < _NAMED:
                    place.bad[str(found)] = None
            elif isinstance(found, TeminalError):
                raise found
            else:
                rows.append(found)
        return rows

    def _of_all(self, n: int, left: int) -> tuple[list[int], int, int, int]:
        """Rows of each process' batch; of all, how many readers have some left, and the rows seen, and found bad."""
        here = torch.tensor([[n, left, self.place.seen, self.place.n_bad]], device=self._args.device)
        counts, left_of_each, seen, bad = gather(here).T.tolist()
        return counts, sum(left_of_each), sum(seen), sum(bad)

    def _batch(self, rows: Sequence[Heard]) -> dict[str, Any]:
        filled = [*rows, *[self._blank] * (self.place.batch - len(rows))]
        audio = {
            name: torch.from_numpy(np.concatenate([heard[name] for heard, _ in filled])) for name in self._blank[0]
        }
        batch = audio | self._collator.text([words for _, words in filled])
        pinned = self._args.dataloader_pin_memory and torch.cuda.is_available()
        return {name: tensor.pin_memory() if pinned else tensor for name, tensor in batch.items()}

    def _reader(self, number: int) -> DataLoader[_Found]:
        """One of this process' readers, in a worker of its own: several in one loader would be dealt to anew by
        `datasets`, and the order in which their rows come would depend on how far ahead they are."""
        place, args = self.place, self._args
        read = partial(self.dataset.share, self._first + number, place.readers)
        ahead: dict[str, Any] = {}
        if self._workers:
            ahead = {"num_workers": 1, "prefetch_factor": max(2, 2 * place.batch // self._here)}
            if context := getattr(args, "dataloader_multiprocessing_context", None):
                ahead |= {"multiprocessing_context": context}
        # Without a generator of its own each loader would draw from that of the process.
        own = torch.Generator().manual_seed(args.seed)
        share = _Share(read, self._collator, place.passed, place.rows[number])
        return DataLoader(share, batch_size=None, collate_fn=_as_it_is, generator=own, **ahead)


class _Share(IterableDataset[_Found]):
    """What a reader's worker does, pass after pass: read, decode, hear. It is one worker all the time: beginning one
    costs as much as many rows, and the next pass is read ahead of while the last batches of this one are trained on."""

    def __init__(
        self,
        read: Callable[..., Iterator[dict[str, Any] | BadClipError]],
        collator: GroupCollator,
        first: int,
        skip: int,
    ) -> None:
        self._read, self._collator, self._first, self._skip = read, collator, first, skip

    def __iter__(self) -> Iterator[_Found]:
        skip = self._skip
        try:
            for passing in itertools.count(self._first):
                for row in self._read(passing=passing, skip=skip):
                    yield row if isinstance(row, BadClipError) else _hear(self._collator, row)
                yield None
                skip = 0
        except TeminalError as error:  # raised here it would come with the worker's traceback in its message
            yield error


class StreamMixin(Trainer):
    """A `Trainer` whose rows, or pairs beside them, may be a `CaptionStream`; each process keeps its place in it beside
    its checkpoints."""

    args: TeminalConfig

    def __init__(self, *args: Any, pairs: CaptionStream | None = None, pairs_workers: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pairs, self._workers = pairs, pairs_workers
        self._pair_batches: Generator[dict[str, Any]] | None = None
        self._place: Place | None = None
        if isinstance(self.train_dataset, CaptionStream):
            self._workers = self.args.dataloader_num_workers
            self.args.ignore_data_skip = True  # the place tells where to go on
        elif pairs is None:
            return
        stream = self.train_dataset if pairs is None else pairs
        assert isinstance(stream, CaptionStream)
        self._place = Place.start(stream, self.args, self._workers)
        self.add_callback(_AtTheEnd(self))

    @property
    def place(self) -> Place:
        """Of this process in the stream."""
        assert self._place is not None
        return self._place

    def get_train_dataloader(self) -> Any:
        """As in `Trainer`; of a stream its own loader, whose batches are this process' share already."""
        if self._pairs is not None:
            collator = GroupCollator(self.processing_class, [_VIEW], on_device=self.args.features_on_device)
            self._pair_batches = iter(StreamLoader(self._pairs, collator, self.args, self._workers, self.place))
        if not isinstance(self.train_dataset, CaptionStream):
            return _with_own_generator(super().get_train_dataloader())
        assert isinstance(self.data_collator, GroupCollator)
        return StreamLoader(self.train_dataset, self.data_collator, self.args, self._workers, self.place)

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`."""
        return _with_own_generator(super().get_eval_dataloader(*args, **kwargs))

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`, each batch with as many pairs of the stream beside it (`pairs`)."""
        batches, n_items = super().get_batch_samples(*args, **kwargs)
        if self._pair_batches is not None:
            batches = [batch | {"pairs": next(self._pair_batches)} for batch in batches]
        return batches, n_items

    def close_pairs(self) -> None:
        """End the workers that read pairs beside groups."""
        if self._pair_batches is not None:
            self._pair_batches.close()
            self._pair_batches = None

    @staticmethod
    def pop_pairs(batch: dict[str, Any]) -> tuple[dict[str, Any] | None, Tensor, list[int] | None]:
        """Inputs of the pairs beside a batch, taken out of it, their meanings, and how many count."""
        pairs = batch.pop("pairs", None)
        if pairs is None:
            return None, torch.empty(0, 1), None
        return pairs, pairs.pop("meanings"), pairs.pop("counts", None)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self._place is not None:
            self._place.save(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)
        if self._place is not None:
            self._place = self._place.found(Path(resume_from_checkpoint))


class _AtTheEnd(TrainerCallback):
    """Names what was bad, of all processes, and judges it where the last pass was not ended."""

    def __init__(self, trainer: StreamMixin) -> None:
        self._trainer = trainer

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.close_pairs()
        places: list[Place] = gather_object([self._trainer.place])
        n_bad, seen = sum(each.n_bad for each in places), sum(each.seen for each in places)
        named = list(dict.fromkeys(what for each in places for what in each.bad))
        if n_bad and state.is_world_process_zero:
            for what in named:
                logger.warning("left out: %s", what)
            logger.warning("%d of %d rows that were read of the stream were left out", n_bad, seen)
        check_share(n_bad, seen, next(iter(named), ""))


def check_share(n_bad: int, seen: int, first: str) -> None:
    """Raise a DataError if too many rows of a stream were bad."""
    if n_bad > MAX_BAD_SHARE * seen:
        raise DataError(
            f"{n_bad} of {seen} rows of the stream cannot be used (at most {MAX_BAD_SHARE:.0%} are tolerated); "
            f"the first: {first}. Repair or remove them and run again"
        )


def _with_own_generator(loader: Any) -> Any:
    """Each pass of a loader draws a number of the process' own generator, and dropout would depend on how many passes
    there were, of evaluations among them."""
    loader.base_dataloader.generator = torch.Generator()
    return loader


def _as_it_is(row: Any) -> Any:
    return row


def _hear(collator: GroupCollator, row: dict[str, Any]) -> Heard:
    audio = {name: features.cpu().numpy() for name, features in collator.audio([row]).items()}
    return audio, {name: value for name, value in row.items() if name != _VIEW}


def _file(process: int) -> str:
    return f"stream_{process}.json"
