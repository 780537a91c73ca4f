"""Video retrieval by learned binary codes, and action recognition.

The objects below do what the commands do; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # what type checkers and editors see; _HOMES says the same to Python
    from c3dhash.config import EncodeConfig, EvaluateConfig, TrainConfig
    from c3dhash.datasets.find import find_dataset
    from c3dhash.evaluation.codes import load_codes, save_codes
    from c3dhash.evaluation.evaluate import evaluate_codes, evaluate_run
    from c3dhash.evaluation.metrics import mean_average_precision
    from c3dhash.gallery.duplicates import find_duplicates
    from c3dhash.gallery.filters import VideoFilter
    from c3dhash.gallery.indexing import index_videos, open_gallery
    from c3dhash.gallery.query import encode_video, query_codes, query_video, query_videos
    from c3dhash.gallery.store import Gallery
    from c3dhash.models.encode import encode_videos
    from c3dhash.models.hashnet import HashNet
    from c3dhash.models.onnx_export import export_onnx
    from c3dhash.models.runs import find_run, load_run
    from c3dhash.models.weights import load_backbone
    from c3dhash.recognition.recognize import recognize_videos
    from c3dhash.records import CodeBatch
    from c3dhash.training.losses import BatchAllTripletLoss, batch_all_triplet_loss
    from c3dhash.training.train import train_run
    from c3dhash.video.reader import read_clip, read_clips

_HOMES = {
    "BatchAllTripletLoss": "training.losses",
    "CodeBatch": "records",
    "EncodeConfig": "config",
    "EvaluateConfig": "config",
    "Gallery": "gallery.store",
    "HashNet": "models.hashnet",
    "TrainConfig": "config",
    "VideoFilter": "gallery.filters",
    "batch_all_triplet_loss": "training.losses",
    "encode_video": "gallery.query",
    "encode_videos": "models.encode",
    "evaluate_codes": "evaluation.evaluate",
    "evaluate_run": "evaluation.evaluate",
    "export_onnx": "models.onnx_export",
    "find_dataset": "datasets.find",
    "find_duplicates": "gallery.duplicates",
    "find_run": "models.runs",
    "index_videos": "gallery.indexing",
    "load_backbone": "models.weights",
    "load_codes": "evaluation.codes",
    "load_run": "models.runs",
    "mean_average_precision": "evaluation.metrics",
    "open_gallery": "gallery.indexing",
    "query_codes": "gallery.query",
    "query_video": "gallery.query",
    "query_videos": "gallery.query",
    "read_clip": "video.reader",
    "read_clips": "video.reader",
    "recognize_videos": "recognition.recognize",
    "save_codes": "evaluation.codes",
    "train_run": "training.train",
}

__all__ = [
    "BatchAllTripletLoss",
    "CodeBatch",
    "EncodeConfig",
    "EvaluateConfig",
    "Gallery",
    "HashNet",
    "TrainConfig",
    "VideoFilter",
    "__version__",
    "batch_all_triplet_loss",
    "encode_video",
    "encode_videos",
    "evaluate_codes",
    "evaluate_run",
    "export_onnx",
    "find_dataset",
    "find_duplicates",
    "find_run",
    "index_videos",
    "load_backbone",
    "load_codes",
    "load_run",
    "mean_average_precision",
    "open_gallery",
    "query_codes",
    "query_video",
    "query_videos",
    "read_clip",
    "read_clips",
    "recognize_videos",
    "save_codes",
    "train_run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'c3dhash' has no attribute {name!r}")
    return getattr(import_module(f"c3dhash.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
