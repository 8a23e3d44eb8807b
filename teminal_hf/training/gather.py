"""The rows of a batch from all processes, with gradient."""

from typing import Any

import torch
from torch import Tensor


def local_views(tensor: Tensor, n_views: int) -> list[Tensor]:
    """Each view's block of this process: (K*N, D) -> K of (N, D)."""
    return list(tensor.chunk(n_views))


def gather_views(tensor: Tensor, n_views: int) -> list[Tensor]:
    """Each view's block from all processes, in rank order. Gradients flow back to the process that owns the rows:
    every process then minimises the same global loss, its gradient is world_size times its share, and DDP's mean over
    processes makes it exact."""
    return [_Gather.apply(block) for block in tensor.chunk(n_views)]


class _Gather(torch.autograd.Function):
    """All processes' rows (n, D) -> (world * n, D); the gradient of a row is summed over the processes that used it."""

    @staticmethod
    def forward(ctx: Any, block: Tensor) -> Tensor:
        blocks = [torch.empty_like(block) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(blocks, block.contiguous())
        return torch.cat(blocks)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]
