"""Batch norms that take the statistics of the clips of all ranks: those of one process with the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from c3dhash.models.hashnet import HashNet
from c3dhash.training.ranks import ALONE, Ranks


class SyncBatchNorm(_BatchNorm):
    """A batch norm whose statistics, in training mode, are those of the clips of all ranks, on any device.

    Of ranks with n_r values of a channel, means m_r and variances v_r, the mean and the variance of all n values are

        m = sum_r n_r/n m_r,    v = sum_r n_r/n (v_r + (m_r - m)^2).

    Source: PyTorch's SyncBatchNorm, which computes the same, on GPUs alone.
    """

    ranks: Ranks = ALONE

    def _check_input_dim(self, input: Tensor) -> None:
        """Any is right: it was a batch norm of one, two or three dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            result: Tensor = super().forward(input)
            return result
        values = input.float()
        dims, count = [0, *range(2, input.ndim)], input.numel() // input.shape[1]
        mean = values.mean(dims)
        own = torch.stack([mean, values.var(dims, correction=0), torch.full_like(mean, count)])  # [3, C]
        means, variances, counts = _OfAll.apply(own, self.ranks).unbind(1)  # [ranks, C] each
        shares = counts / counts.sum(0)
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        if self.track_running_stats:
            self._follow(mean.detach(), variance.detach(), counts.sum(0))
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        shape = (1, -1, *[1] * (input.ndim - 2))
        normalized: Tensor = values * scale.view(shape) + shift.view(shape)
        return normalized.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as PyTorch's batch norm does: the variance is that of a sample."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance * count / (count - 1).clamp_min(1), factor)


class _OfAll(torch.autograd.Function):
    """The tensors of all ranks, [ranks, ...], of one of each; the gradients of all ranks are summed on the way back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.put_together(own.detach()[None], ranks.share(ranks.size), total=ranks.size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        ctx.ranks.sum(gradient)
        return gradient[ctx.ranks.rank], None


def synchronize(model: HashNet, ranks: Ranks) -> None:
    """Make every batch norm of a model a SyncBatchNorm, in place; parameters and their names stay."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = SyncBatchNorm
            assert isinstance(module, SyncBatchNorm)
            module.ranks = ranks
