"""Features at one scale, while heads are trained on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FeatureScaling(nn.Module):
    """Bring each entry of a feature to mean 0 and standard deviation 1, while a network is trained.

    The scale of features, which differs by architecture, weights and entry, then does not matter to the steps of the
    optimizer. `HashNet.without_scaling` puts it into the linear layers behind it.

    mean, std: float [feature_dim].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take mean and standard deviation from features, float [N, feature_dim].

        An entry that hardly varies is not blown up: none counts for less than a tenth of their mean deviation.
        """
        std = features.std(0, correction=0)
        self.mean.copy_(features.mean(0))
        self.std.copy_(std.clamp_min(0.1 * std.mean()).clamp_min(torch.finfo(std.dtype).tiny))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std

    @torch.no_grad()
    def folded(self, layer: nn.Linear) -> nn.Linear:
        """Return a layer that gives of a feature what this one gives of the scaled feature.

        W ((x - mean) / std) + b = (W / std) x + (b - (W / std) mean)
        """
        result = nn.Linear(layer.in_features, layer.out_features)
        weight = layer.weight.double() / self.std.double()
        result.weight.copy_(weight)
        result.bias.copy_(layer.bias.double() - weight @ self.mean.double())
        return result.to(layer.weight.device)
