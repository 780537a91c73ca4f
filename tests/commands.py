"""Options that make a training the smallest in which everything still happens."""

from __future__ import annotations

TINY_OPTIONS = [
    "--num-frames",
    "4",
    "--size",
    "16",
    "--hash-length",
    "16",
    "--epochs",
    "2",
    "--classes-per-batch",
    "3",
    "--clips-per-class",
    "2",
    "--precision",
    "fp32",
    "--device",
    "cpu",
    "--backbone",
    "resnet3d10",
]
