"""Video retrieval by learned binary codes, and action recognition.

The objects below do what the commands do; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_run": "models.hashnet",
    "find_run": "models.hashnet",
    "load_backbone": "weights",
    "find_dataset": "datasets",
    "train_run": "train",
    "encode_videos": "encode",
    "encode_video": "query",
    "index_videos": "indexing",
    "open_gallery": "indexing",
    "Gallery": "gallery",
    "query_video": "query",
    "recognize_videos": "recognize",
    "export_onnx": "onnx_export",
    "evaluate_run": "evaluate",
    "evaluate_codes": "evaluate",
    "load_codes": "codes",
    "save_codes": "codes",
    "TrainConfig": "config",
    "EncodeConfig": "config",
    "EvaluateConfig": "config",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'c3dhash' has no attribute {name!r}")
    return getattr(import_module(f"c3dhash.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
