"""The whole road on generated videos: make them, train, index, query, evaluate; and what published weights see in real
ones.

Each step is skipped where its result lies in the folder already, so that an interrupted demo goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.config import EncodeConfig, HashConfig, TrainConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.synth import make_motion_set
from c3dhash.errors import UsageError
from c3dhash.evaluation.evaluate import Report, evaluate_run, write_report
from c3dhash.files import claim_folder
from c3dhash.gallery.fitting import index_with_features, make_run
from c3dhash.gallery.indexing import IndexReport, index_videos, open_gallery
from c3dhash.gallery.query import query_video
from c3dhash.models.hashnet import build_model
from c3dhash.models.known_weights import DEFAULT_BACKBONE, DEFAULT_WEIGHTS
from c3dhash.models.published import published_run
from c3dhash.models.runs import Run, is_finished, load_run, save_run
from c3dhash.recognition.recognize import recognize_videos
from c3dhash.recognition.results import Recognition
from c3dhash.records import Hit
from c3dhash.report.pages import write_query_page
from c3dhash.training.start import can_resume
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader
from c3dhash.video.reader import find_videos

# Chosen to be through in minutes on two cores: small clips, few classes, and an early end.
SETTINGS = TrainConfig(
    num_frames=8, size=32, epochs=18, classes_per_batch=6, clips_per_class=10, learning_rate=0.12, min_crop_scale=0.8
)
NUM_CLASSES = 6
VIDEOS_PER_CLASS = {"train": 200, "val": 10, "gallery": 20, "query": 10}
CACHE_BYTES = 2 << 30
# Of real videos: as many as I3D encodes in a minute or so on two cores, one clip each.
MAX_REAL_VIDEOS = 150
ONE_CLIP = EncodeConfig(window_seconds=0)


@dataclass(frozen=True)
class DemoResult:
    """What the demo found. trained, untrained: reports on the held-out gallery and queries."""

    trained: Report
    untrained: Report
    indexed: IndexReport
    query: Path
    hits: list[Hit]
    query_page: Path
    report_page: Path


@dataclass(frozen=True)
class RealDemoResult:
    """What published weights see in real videos: the nearest of a query, and the most probable action of each.

    num_found: videos in the folder; of more than MAX_REAL_VIDEOS, so many were drawn.
    """

    num_found: int
    indexed: IndexReport
    query: Recognition
    hits: list[tuple[Hit, Recognition]]
    query_page: Path


def run_real_demo(directory: Path, videos: Path) -> RealDemoResult:
    """Make codes of real videos without training or labels, search with one of them, and name the actions.

    Args:
        directory: new, empty, or of an earlier demo; real/ is made in it.
        videos: a folder of videos, two at least.
    Raises:
        UsageError: the folder holds something else than a demo, or there are too few videos.
        CheckpointError: the weights are not here and cannot be fetched.
    """
    claim_folder(directory, made_by="demo")
    found = find_videos(videos)
    if len(found) < 2:
        raise UsageError(f"'{videos}' holds {len(found)} videos, and a demo needs two at least: name another folder.")
    order = np.random.default_rng(0).permutation(len(found))[:MAX_REAL_VIDEOS]
    query, *places = (found[index] for index in order)
    path = directory / "real" / "gallery"
    config = HashConfig(backbone=DEFAULT_BACKBONE, weights=DEFAULT_WEIGHTS)
    published = published_run(DEFAULT_BACKBONE, DEFAULT_WEIGHTS)
    run = make_run(path, places, config=config, encode=ONE_CLIP)
    with open_gallery(path, run, config=ONE_CLIP) as gallery:
        indexed = index_with_features(run, gallery, places, config=ONE_CLIP)
        hits = query_video(run, gallery, query)
    page = directory / "real" / "query.html"
    write_query_page(page, query=query, hits=hits, gallery_name=str(videos))
    seen, *others = recognize_videos(published, [query, *(hit.video for hit in hits)], top=1, config=ONE_CLIP)
    return RealDemoResult(len(found), indexed, seen, list(zip(hits, others, strict=True)), page)


def run_demo(directory: Path, *, seed: int = 0) -> DemoResult:
    """Go the whole road in a folder; see the module's text.

    Args:
        directory: new, empty, or of an earlier demo; data/, run/, untrained/, gallery/ and report/ are made in it.
        seed: of the videos and of the training.
    Raises:
        UsageError: the folder holds something else, or the demo of another seed.
    """
    claim_folder(directory, made_by="demo")
    data = make_motion_set(directory / "data", num_classes=NUM_CLASSES, videos_per_class=VIDEOS_PER_CLASS, seed=seed)
    dataset = find_dataset(data)
    cache = FrameCache(directory / "frames", max_bytes=CACHE_BYTES)
    run_dir = directory / "run"
    if not is_finished(run_dir):
        config = TrainConfig(**{**SETTINGS.__dict__, "seed": seed})
        train_run(dataset, config, run_dir=run_dir, cache=cache, resume=can_resume(run_dir))
    run = load_run(run_dir)
    with open_gallery(directory / "gallery", run) as gallery:
        indexed = index_videos(run, gallery, [data / "gallery"])
        query = sorted((data / "query").glob("*/*.mp4"))[0]
        hits = query_video(run, gallery, query)
    query_page = directory / "report" / "query.html"
    write_query_page(query_page, query=query, hits=hits, gallery_name=str(directory / "gallery"))
    reader = ClipReader.of_network(run.model.clip_size, run.model.preprocessing, cache)
    trained = evaluate_run(run, dataset, reader=reader, encode=EncodeConfig())
    untrained = evaluate_run(_untrained(directory / "untrained", run), dataset, reader=reader, encode=EncodeConfig())
    return DemoResult(trained, untrained, indexed, query, hits, query_page, write_report(trained, directory / "report"))


def _untrained(path: Path, run: Run) -> Run:
    """Make a run like another one, with the random weights that training began with."""
    import torch

    torch.manual_seed(run.config["seed"])
    model = build_model(SETTINGS, num_classes=len(run.labels))
    save_run(path, model, config=run.config, labels=run.labels)
    return load_run(path)


__all__ = ["DemoResult", "RealDemoResult", "run_demo", "run_real_demo"]
