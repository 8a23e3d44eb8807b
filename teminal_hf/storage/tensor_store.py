"""Rows of tokens on disk, in shards that exist whole or not at all."""

import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from xxhash import xxh3_128_hexdigest

from teminal_hf.errors import CheckpointError, StorageError
from teminal_hf.storage.atomic import no_full_disk, written_whole

logger = logging.getLogger(__name__)


@dataclass
class TensorStore:
    """`n_rows` tensors of one shape and dtype, memory-mapped from safetensors files of `shard_rows` each, which carry a
    checksum of their content. It is compared when a file is opened, and one that differs counts as missing.

    Several processes may write the files of one folder, one after another or at the same time; what a process that
    died has not finished is missing, nothing is half there. Reading needs no memory of its own: the pages are the
    system's, shared by all processes, and go when others need them.
    """

    folder: Path
    n_rows: int
    row_shape: tuple[int, ...]
    dtype: torch.dtype
    shard_rows: int = 64
    _open: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # worker processes map the files themselves

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, row: int) -> Tensor:
        shard, offset = divmod(range(self.n_rows)[row], self.shard_rows)
        if not self._opens(shard):
            raise StorageError(f"{self._path(shard)} is missing or damaged; run again, and it is computed anew")
        return self._open[shard][offset]

    @property
    def n_bytes(self) -> int:
        """Of all rows, written or not."""
        return self.n_rows * self._row_bytes

    @property
    def missing_bytes(self) -> int:
        """Of the files that are not there; those that are damaged are found when they are opened."""
        missing = (shard for shard in self._shards if not self._path(shard).is_file())
        return sum(len(self._rows(shard)) for shard in missing) * self._row_bytes

    def fill(
        self,
        inputs: Any,
        compute: Callable[[Tensor], Tensor],
        *,
        batch_size: int,
        num_workers: int = 0,
        desc: str,
        together: bool = True,
    ) -> None:
        """Write the rows that are missing: row i is `compute` of `inputs[i]`, in batches.

        Args:
            inputs: map-style, one tensor a row.
            compute: inputs (n, ...) -> tokens (n, *row_shape), on any device.
            batch_size: rows a batch. Batches do not cross shards: a row comes out bit-equal whoever computes it, and
                after whatever interruption.
            num_workers: processes that read `inputs`.
            together: every process of the run is here and takes its share of the shards; afterwards each computes
                what it still does not see (where machines do not share the folder).

        Raises:
            CheckpointError: tokens beyond the range of the store's dtype.
        """
        state = PartialState()
        shares = [slice(state.process_index, None, state.num_processes)] if together else []
        for share in (*shares, slice(None)):
            todo = self._missing()[share]
            if together:
                state.wait_for_everyone()  # until all have seen the same shards missing
            tokens = (
                compute(batch).to("cpu", self.dtype) for batch in self._batches(todo, inputs, batch_size, num_workers)
            )
            for shard in tqdm(todo, desc=desc, unit=f"{self.shard_rows} rows", disable=not todo):
                self._write(shard, tokens)
            if together:
                state.wait_for_everyone()

    def _batches(self, shards: Sequence[int], inputs: Any, batch_size: int, num_workers: int) -> DataLoader:
        rows = [self._rows(shard) for shard in shards]
        batches = [list(part[i : i + batch_size]) for part in rows for i in range(0, len(part), batch_size)]
        # A generator of its own: the global random state stays as it is.
        return DataLoader(inputs, batch_sampler=batches, num_workers=num_workers, generator=torch.Generator())

    def _write(self, shard: int, batches: Iterator[Tensor]) -> None:
        tokens = torch.empty(len(self._rows(shard)), *self.row_shape, dtype=self.dtype)
        done = 0
        while done < len(tokens):
            batch = next(batches)
            tokens[done : done + len(batch)] = batch
            done += len(batch)
        if not tokens.isfinite().all():
            raise CheckpointError(
                f"activations are not finite in {self.dtype}: beyond its range (set cache_dtype to bfloat16 or "
                "float32), or the checkpoint itself gives NaN"
            )
        if self._path(shard).is_dir():
            shutil.rmtree(self._path(shard))  # nothing of ours
        with no_full_disk(self.folder), written_whole(self._path(shard)) as draft:
            save_file({"tokens": tokens}, draft, metadata={"checksum": _checksum(tokens)})

    def _missing(self) -> list[int]:
        missing = [shard for shard in self._shards if not self._opens(shard)]
        damaged = [shard for shard in missing if self._path(shard).exists()]
        if damaged:
            logger.warning(
                "%d of %d files in %s are damaged, and computed anew", len(damaged), len(self._shards), self.folder
            )
        return missing

    def _opens(self, shard: int) -> bool:
        """Map the file, if it is there and holds what was written."""
        if shard not in self._open:
            path = self._path(shard)
            try:
                with safe_open(path, "pt") as file:
                    checksum = (file.metadata() or {}).get("checksum")
                tokens = load_file(path)["tokens"]
            except (OSError, SafetensorError, KeyError):
                return False
            expected = (len(self._rows(shard)), *self.row_shape)
            if tuple(tokens.shape) != expected or tokens.dtype != self.dtype or _checksum(tokens) != checksum:
                return False
            self._open[shard] = tokens
        return True

    @property
    def _shards(self) -> range:
        return range(-(-self.n_rows // self.shard_rows))

    def _rows(self, shard: int) -> range:
        return range(shard * self.shard_rows, min(self.n_rows, (shard + 1) * self.shard_rows))

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.row_shape) * self.dtype.itemsize

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"


def _checksum(tokens: Tensor) -> str:
    """28 GB/s on a core of today, several times what a disk delivers."""
    return xxh3_128_hexdigest(tokens.contiguous().flatten().view(torch.uint8).numpy().data)
