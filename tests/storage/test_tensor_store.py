"""Tensors on disk: what is damaged is noticed and written anew, and what is read is what was written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from support.damage import DAMAGES
from teminal_hf.errors import StorageError
from teminal_hf.storage.tensor_store import TensorStore

ROWS = torch.arange(10 * 6 * 700, dtype=torch.float32).reshape(10, 6, 700).sin()


def store(folder: Path, dtype: torch.dtype = torch.float32) -> TensorStore:
    return TensorStore(folder, 10, (6, 700), dtype, shard_rows=4)


def fill(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[TensorStore, list[int]]:
    """A filled store, and how many rows were computed."""
    computed: list[int] = []

    def compute(batch: Tensor) -> Tensor:
        computed.extend([1] * len(batch))
        return batch

    filled = store(folder, dtype)
    filled.fill(ROWS, compute, batch_size=2, desc="test", together=False)
    return filled, computed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_read_is_what_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    filled, computed = fill(tmp_path, dtype)
    assert len(computed) == 10
    again, computed = fill(tmp_path, dtype)
    assert not computed
    for row in range(10):
        assert torch.equal(again[row], ROWS[row].to(dtype)) and torch.equal(filled[row], again[row])


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_computed_anew(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    path = tmp_path / "00001.safetensors"
    damage(path)
    there = path.exists()
    repaired, computed = fill(tmp_path)
    assert len(computed) == 4
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ([f"1 of 3 files in {tmp_path} are damaged, and computed anew"] if there else [])
    assert all(torch.equal(repaired[row], ROWS[row]) for row in range(10))
    assert not fill(tmp_path)[1]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_of_other_rows_is_not_taken(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "00000.safetensors").write_bytes((tmp_path / "00002.safetensors").read_bytes())  # two rows, not four
    assert len(fill(tmp_path)[1]) == 4


def test_damage_that_comes_after_is_an_error_and_no_number(tmp_path: Path) -> None:
    fill(tmp_path)
    reader = store(tmp_path)
    DAMAGES["flipped bytes"](tmp_path / "00001.safetensors")
    assert torch.equal(reader[0], ROWS[0])
    with pytest.raises(StorageError, match=r"00001\.safetensors is missing or damaged; run again"):
        reader[5]
