"""The losses of `losses.py` over the rows of one process, in blocks: no process holds a matrix of all pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from teminal_hf.training.data_collator import false_negatives
from teminal_hf.training.gather import gather, gather_meanings
from teminal_hf.training.losses import (
    log_weight_table,
    pair_log_weights,
    symmetric_infonce,
    temporal_contrastive_loss,
    total_of_views,
)

BLOCK = 2**22  # pairs whose similarities are held at once: 16 MiB in float32, and a few times that on the way
_LogWeights = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Batch:
    """All rows of a batch, by process, view and group; the losses are of this process' share.

    With W processes of n groups each, group i of process r is number r*n + i. A share is W times its part of the
    whole's loss, so that the mean over processes is the loss of the whole, and the mean of their gradients (with those
    of other processes' rows, see `gather`) is its gradient: DDP takes that mean. For W = 1 the share is the whole.

    Args:
        audio_embeds: (W, K, n, D) embeddings of the recordings, not yet normalised.
        text_embeds: (W, K, n, D) those of their captions.
        meanings: (W, K, n, m) keys of what the captions say, as `GroupCollator` gives them: a caption whose first key
            is among a recording's is no negative of it.
        rank: this process, of W.
        counts: how many groups of each process count, the first of its own; those after are there to make all
            processes' shares of one size (None: all count).
    """

    audio_embeds: Tensor
    text_embeds: Tensor
    meanings: Tensor
    rank: int = 0
    counts: Sequence[int] | None = None

    def of(self, views: Sequence[int]) -> "Batch":
        """The same groups, of the K views these alone."""
        audio, text, meanings = (t[:, list(views)] for t in (self.audio_embeds, self.text_embeds, self.meanings))
        return Batch(audio, text, meanings, self.rank, self.counts)

    @property
    def counted(self) -> int:
        """How many groups count."""
        return self.meanings.shape[0] * self.meanings.shape[2] if self.counts is None else sum(self.counts)

    def is_whole(self, block: int) -> bool:
        """Whether this process has all rows, and few enough to hold all pairs at once."""
        processes, views, groups = self.meanings.shape[:3]
        return processes == 1 and self.counted == groups and (views * groups) ** 2 <= block


def own_batch(
    audio: Tensor, text: Tensor, meanings: Tensor, n_views: int, counts: Sequence[int] | None = None
) -> Batch:
    """Of this process' view blocks, (K*n, ...) each, alone."""
    audio, text, meanings = (tensor.unflatten(0, (n_views, -1))[None] for tensor in (audio, text, meanings))
    return Batch(audio, text, meanings, counts=counts)


def gathered_batch(
    audio: Tensor, text: Tensor, meanings: Tensor, n_views: int, counts: Sequence[int] | None = None
) -> Batch:
    """Of all processes' view blocks, (K*n, ...) each; all processes come here, with blocks of one size."""
    both = gather(torch.stack([audio, text])).unflatten(2, (n_views, -1))
    keys = gather_meanings(meanings).unflatten(1, (n_views, -1))
    return Batch(both[:, 0], both[:, 1], keys, torch.distributed.get_rank(), counts)


def temporal_share(
    batch: Batch,
    views: Sequence[str],
    logit_scale: Tensor,
    alphas: Mapping[str, Any],
    beta: float,
    *,
    block: int = BLOCK,
    whole: Callable[..., dict[str, Tensor]] = temporal_contrastive_loss,
) -> dict[str, Tensor]:
    """This process' share of `temporal_contrastive_loss` and of its parts.

    `views` are the batch's K, in the order of that loss: forward, reversed, overlay. `whole` is that loss, or what it
    was compiled to.
    """
    if batch.is_whole(block):
        audio, text = (dict(zip(views, embeds[0], strict=True)) for embeds in (batch.audio_embeds, batch.text_embeds))
        masked = false_negatives(batch.meanings.flatten(0, 2))
        return whole(audio, text, logit_scale, **alphas, beta=beta, false_negatives=masked)
    to_text, to_audio = _rows(batch, logit_scale, log_weight_table(views, **alphas), block)
    parts = dict(zip(views, ((to_text + to_audio) / 2).sum(dim=1), strict=True))
    return {"loss": total_of_views(parts, beta), **parts}


def infonce_share(
    batch: Batch,
    logit_scale: Tensor,
    *,
    block: int = BLOCK,
    whole: Callable[..., dict[str, Tensor]] = symmetric_infonce,
) -> dict[str, Tensor]:
    """This process' share of `symmetric_infonce` over all views' rows, and of its parts; `whole` as above."""
    if batch.is_whole(block):
        audio, text, meanings = (
            tensor.flatten(0, 2) for tensor in (batch.audio_embeds, batch.text_embeds, batch.meanings)
        )
        return whole(audio, text, logit_scale, false_negatives=false_negatives(meanings))
    to_text, to_audio = (losses.sum(dim=1).mean() for losses in _rows(batch, logit_scale, None, block))
    return {"loss": (to_text + to_audio) / 2, "audio_to_text": to_text, "text_to_audio": to_audio}


def _rows(batch: Batch, logit_scale: Tensor, table: Tensor | None, block: int) -> tuple[Tensor, Tensor]:
    """(K, n) each, audio -> text and text -> audio: the cross-entropies of this process' rows against all columns, each
    times its share of the mean over all groups of its view."""
    processes, views, groups = batch.meanings.shape[:3]
    audio, text = (_unit(embeds.flatten(0, 2)) for embeds in (batch.audio_embeds, batch.text_embeds))
    meanings = batch.meanings.flatten(0, 2)
    rank, view, group = torch.cartesian_prod(
        torch.arange(processes), torch.arange(views), torch.arange(groups)
    ).T.to(audio.device)  # fmt: skip
    places = torch.stack([view, rank * groups + group])
    counts = group < torch.tensor(batch.counts or [groups] * processes, device=audio.device)[rank]
    mine = slice(batch.rank * views * groups, (batch.rank + 1) * views * groups)
    share = counts[mine].to(audio) * (processes / batch.counted)
    table = None if table is None else table.to(audio)

    def losses(rows: Tensor, columns: Tensor, heard_in_rows: bool) -> Tensor:
        def log_weights(start: int, end: int) -> Tensor:
            there = slice(mine.start + start, mine.start + end)
            if table is None:
                weights = rows.new_zeros(end - start, len(columns))
            else:
                weights = pair_log_weights(table, places[:, there], places)
            weights.masked_fill_(~counts, -torch.inf)
            for keys in meanings.T:  # one after the other: all at once would take m times a block
                left_out = keys[there, None] == meanings[:, 0] if heard_in_rows else meanings[there, :1] == keys
                weights.masked_fill_(left_out, -torch.inf)
            weights.diagonal(mine.start + start).zero_()  # a row's own column always counts
            return weights

        found: Tensor = _CrossEntropy.apply(rows[mine], columns, logit_scale, mine.start, log_weights, block)
        return (found * share).view(views, groups)

    with torch.autocast(device_type=audio.device.type, enabled=False):
        return losses(audio, text, True), losses(text, audio, False)


class _CrossEntropy(torch.autograd.Function):
    """(m,) of rows (m, D) against columns (M, D), of which column `first` + i is row i's own.

    `log_weights(start, end)` are those of a block of rows, (rows, M). The gradients compute each block's similarities
    anew: nothing of the size of a block outlives it. In place, for a block is what most of the time is spent on.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, first: int, log_weights: _LogWeights, block: int
    ) -> Tensor:
        ctx.first, ctx.log_weights = first, log_weights
        size = max(1, block // len(columns))
        ctx.blocks = [(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
        sums, own = rows.new_empty(len(rows)), rows.new_empty(len(rows))
        for start, end in ctx.blocks:
            logits = (rows[start:end] @ columns.T).mul_(scale)
            own[start:end] = logits.diagonal(first + start)
            sums[start:end] = logits.add_(log_weights(start, end)).logsumexp(dim=1)
        ctx.save_for_backward(rows, columns, scale, sums)
        return sums - own

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns, scale, sums = ctx.saved_tensors
        of_rows, of_columns, of_scale = torch.empty_like(rows), torch.zeros_like(columns), torch.zeros_like(scale)
        with torch.autocast(device_type=rows.device.type, enabled=False):
            for start, end in ctx.blocks:
                logits = (rows[start:end] @ columns.T).mul_(scale).add_(ctx.log_weights(start, end))
                given = gradient[start:end]
                softmax = logits.sub_(sums[start:end, None]).exp_().mul_(given[:, None])
                softmax.diagonal(ctx.first + start).sub_(given)
                towards = softmax @ columns
                of_rows[start:end] = scale * towards
                of_columns.addmm_(softmax.T, rows[start:end])
                of_scale += (towards * rows[start:end]).sum()
            return of_rows, of_columns.mul_(scale), of_scale, None, None, None


def _unit(embeds: Tensor) -> Tensor:
    """Normalised, in float32 at least, as the losses of the whole do it."""
    return normalize(embeds.to(torch.promote_types(embeds.dtype, torch.float32)), dim=-1)
