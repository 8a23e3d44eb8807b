"""The shares of the losses against the losses of the whole batch: values and gradients, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from teminal_hf.training.data_collator import false_negatives
from teminal_hf.training.losses import VIEWS, symmetric_infonce, temporal_contrastive_loss
from teminal_hf.training.sharded_losses import BLOCK, Batch, infonce_share, own_batch, temporal_share

ALPHAS = {"alpha_same_time": 3.0, "alpha_cross_time": 0.5, "alpha_same_overlap": 2.0, "alpha_cross_overlap": 0.0}
BETA = 0.4
EXACT = {"rtol": 1e-11, "atol": 1e-12}


def make_rows(n_views: int, groups: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Audio and text (K, N, 8), meanings (K, N, 3): false negatives between groups, in one direction and in both."""
    generator = torch.Generator().manual_seed(seed)
    embeds = [torch.randn(n_views, groups, 8, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]
    return [*embeds, torch.randint(0, 2 * groups, (n_views, groups, 3), generator=generator)]


def whole_loss(audio: Tensor, text: Tensor, meanings: Tensor, scale: Tensor, temporal: bool) -> dict[str, Tensor]:
    masked = false_negatives(meanings.flatten(0, 1))
    if not temporal:
        return symmetric_infonce(audio.flatten(0, 1), text.flatten(0, 1), scale, false_negatives=masked)
    views = VIEWS[: len(audio)]
    sides = [dict(zip(views, side, strict=True)) for side in (audio, text)]
    return temporal_contrastive_loss(*sides, scale, **ALPHAS, beta=BETA, false_negatives=masked)


def by_process(tensor: Tensor, processes: int) -> Tensor:
    """(K, N, ...) -> (W, K, N / W, ...), as accelerate deals a batch out."""
    return tensor.unflatten(1, (processes, -1)).transpose(0, 1)


def gradients(parts: dict[str, Tensor], inputs: list[Tensor]) -> list[Tensor]:
    return [gradient.detach() for gradient in torch.autograd.grad(parts["loss"], inputs)]


@pytest.mark.parametrize("block", [1, 50, BLOCK], ids=["row by row", "few rows", "one block"])
@pytest.mark.parametrize(
    ("processes", "per_process", "counted"),
    [(1, 6, 6), (2, 3, 6), (2, 3, 4), (4, 2, 7), (4, 2, 1), (8, 1, 8), (8, 2, 9)],
    ids=lambda n: str(n),
)
@pytest.mark.parametrize("n_views", [1, 2, 3])
@pytest.mark.parametrize("temporal", [True, False])
def test_the_mean_of_the_shares_is_the_whole(
    temporal: bool, n_views: int, processes: int, per_process: int, counted: int, block: int
) -> None:
    """Groups beyond those that count are copies of the first, as in the last batch of an epoch."""
    audio, text, meanings = make_rows(n_views, counted, seed=n_views + processes)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    inputs = [audio.requires_grad_(), text.requires_grad_(), scale]
    whole = whole_loss(audio, text, meanings, scale, temporal)
    dealt = torch.arange(processes * per_process) % counted
    counts = [min(max(counted - rank * per_process, 0), per_process) for rank in range(processes)]
    shares = []
    for rank in range(processes):
        batch = Batch(*(by_process(t[:, dealt], processes) for t in (audio, text, meanings)), rank, counts)
        if temporal:
            shares.append(temporal_share(batch, VIEWS[:n_views], scale, ALPHAS, BETA, block=block))
        else:
            shares.append(infonce_share(batch, scale, block=block))
    mean = {name: torch.stack([share[name] for share in shares]).mean() for name in whole}
    assert all(share.keys() == whole.keys() for share in shares)
    torch.testing.assert_close(mean, whole, **EXACT)
    torch.testing.assert_close(gradients(mean, inputs), gradients(whole, inputs), **EXACT)


@pytest.mark.parametrize("counts", [(3, 0, 2), (1, 3, 1), (0, 0, 2), (2, 3, 3)], ids=str)
@pytest.mark.parametrize("temporal", [True, False])
def test_any_process_may_have_fewer_groups_that_count(temporal: bool, counts: tuple[int, ...]) -> None:
    """As at the end of a pass over a stream; what does not count is anything."""
    kept = torch.tensor([rank * 3 + i for rank, count in enumerate(counts) for i in range(count)])
    audio, text, meanings = make_rows(2, 9)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    inputs = [audio.requires_grad_(), text.requires_grad_(), scale]
    whole = whole_loss(audio[:, kept], text[:, kept], meanings[:, kept], scale, temporal)
    shares = []
    for rank in range(len(counts)):
        batch = Batch(*(by_process(t, len(counts)) for t in (audio, text, meanings)), rank, counts)
        shares.append(
            temporal_share(batch, VIEWS[:2], scale, ALPHAS, BETA) if temporal else infonce_share(batch, scale)
        )
    mean = {name: torch.stack([share[name] for share in shares]).mean() for name in whole}
    torch.testing.assert_close(mean, whole, **EXACT)
    torch.testing.assert_close(gradients(mean, inputs), gradients(whole, inputs), **EXACT)


def test_a_small_batch_of_one_process_is_the_loss_itself() -> None:
    """Bit by bit, whatever the order of the config's views."""
    audio, text, meanings = make_rows(2, 5, dtype=torch.float32)
    scale = torch.tensor(20.0)
    blocks = [tensor.flip(0).flatten(0, 1) for tensor in (audio, text, meanings)]  # reversed, then forward
    parts = temporal_share(own_batch(*blocks, 2).of([1, 0]), VIEWS[:2], scale, ALPHAS, BETA)
    whole = whole_loss(audio, text, meanings, scale, temporal=True)
    assert parts.keys() == whole.keys() and all(torch.equal(parts[name], whole[name]) for name in whole)


def test_autocast_and_half_precision_embeddings_are_computed_in_float32() -> None:
    audio, text, meanings = make_rows(3, 6, dtype=torch.bfloat16)
    scale = torch.tensor(50.0)
    found = {}
    for block in (7, BLOCK):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            batch = Batch(audio[None], text[None], meanings[None])
            found[block] = temporal_share(batch, VIEWS, scale, ALPHAS, BETA, block=block)
    assert found[7]["loss"].dtype == torch.float32
    torch.testing.assert_close(found[7], found[BLOCK], rtol=1e-5, atol=1e-5)


class _Largest(TorchDispatchMode):
    """Notes how large the largest tensor was that any operation gave, forwards or backwards."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.numel = max(self.numel, out.numel())
        return out


@pytest.mark.parametrize("temporal", [True, False])
def test_no_tensor_is_as_large_as_all_pairs(temporal: bool) -> None:
    groups, block = 200, 6_000
    audio, text, meanings = make_rows(3, groups)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    inputs = [audio.requires_grad_(), text.requires_grad_(), scale]
    batch = Batch(audio[None], text[None], meanings[None])

    def largest(size: int) -> int:
        with _Largest() as seen:
            if temporal:
                parts = temporal_share(batch, VIEWS, scale, ALPHAS, BETA, block=size)
            else:
                parts = infonce_share(batch, scale, block=size)
            gradients(parts, inputs)
        return seen.numel

    assert largest(block) <= block
    assert largest(BLOCK) >= (3 * groups) ** 2  # of the whole


def test_weights_are_checked_as_those_of_the_whole() -> None:
    audio, text, meanings = make_rows(3, 2)
    batch = Batch(*(by_process(t, 2) for t in (audio, text, meanings)))
    with pytest.raises(ValueError, match="alpha_cross_time must be a finite number >= 0, found -1"):
        temporal_share(batch, VIEWS, torch.tensor(1.0), ALPHAS | {"alpha_cross_time": -1.0}, BETA)
