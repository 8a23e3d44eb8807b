"""The rows of a batch from all processes, with gradient."""

from typing import Any

import torch
from torch import Tensor


def gather(tensor: Tensor) -> Tensor:
    """This process' tensor -> (W, ...) those of all W processes, in rank order; all must be of one shape.

    Gradients flow back to the process that owns the rows, summed over the processes that used them: each process then
    minimises its own share of the loss, and DDP's mean over processes is the gradient of the mean of the shares.
    """
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


def gather_meanings(meanings: Tensor) -> Tensor:
    """(rows, m) -> (W, rows, m). Where another process has more keys, rows repeat their own meaning."""
    width = torch.tensor(meanings.shape[1], device=meanings.device)
    torch.distributed.all_reduce(width, torch.distributed.ReduceOp.MAX)
    missing = int(width) - meanings.shape[1]
    return gather(torch.cat([meanings, meanings[:, :1].expand(-1, missing)], dim=1))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        gathered = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(gathered, tensor.contiguous())
        return torch.stack(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        if torch.distributed.get_backend() == "gloo":  # has no reduce_scatter in older versions of torch
            torch.distributed.all_reduce(gradient)
            return gradient[torch.distributed.get_rank()]
        own = torch.empty_like(gradient[0])
        torch.distributed.reduce_scatter(own, list(gradient.unbind()))
        return own
