"""Indexing on a real Ray of two nodes on this machine: the same codes as here, whatever is lost on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import TESTS_DIR
from s3_server import Bucket, s3_bucket
from safetensors.torch import save_file
from servers import WINDOWS
from tiny import TinyBackbone
from videos import black_frames, numbered_frame, write_frames

from c3dhash.config import HashConfig
from c3dhash.gallery.fitting import index_with_features, make_run
from c3dhash.gallery.indexing import IndexReport, index_videos, open_gallery
from c3dhash.gallery.store import Gallery
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.runs import Run
from c3dhash.models.weights import weights_metadata

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'c3dhash[ray]'")
pytest.importorskip("ray.data", reason="needs Ray Data: pip install 'c3dhash[ray]'")
pyarrow = pytest.importorskip("pyarrow")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="starts Ray's processes as on Linux"),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own making
]
SMALL = 200 << 20  # of the memory that a node shares


@pytest.fixture(scope="module")
def films() -> Iterator[Bucket | None]:
    """A bucket that the nodes may read; None where no S3 can be started here."""
    if find_spec("moto") is None or find_spec("s3fs") is None:
        yield None
        return
    with s3_bucket("films") as bucket:
        yield bucket


@pytest.fixture(scope="module")
def nodes(films: Bucket | None) -> Iterator[Any]:
    """A cluster of two nodes with a core each."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS_DIR), *sys.path]))  # where the tiny backbone is
        patch.setenv("RAY_gcs_server_port_wait_time_s", "120")  # not 30: its programs may come from a cold disk
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": SMALL})
        try:
            cluster.add_node(num_cpus=1, object_store_memory=SMALL)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, motion_dir: Path) -> Path:
    """Nine short videos, a longer one, a broken one, and one that is black."""
    folder = tmp_path_factory.mktemp("ray") / "db"
    shutil.copytree(motion_dir / "gallery", folder)
    write_frames(folder / "long.mp4", [numbered_frame(number) for number in range(100)])
    write_frames(folder / "black.mp4", black_frames(30))
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


def write_many(folder: Path, num_videos: int) -> Path:
    """Write videos of four seconds, each of other frames."""
    folder.mkdir()
    for number in range(num_videos):
        write_frames(folder / f"{number:02}.mp4", [numbered_frame(number + each) for each in range(100)])
    return folder


def index(run: Run, path: Path, db: Path | str, **options: Any) -> IndexReport:
    with open_gallery(path, run, config=WINDOWS) as gallery:
        return index_videos(run, gallery, [db], config=WINDOWS, **options)


def content(path: Path) -> dict[str, Any]:
    """All that a gallery knows of videos, but for their numbers and days."""
    with Gallery.open(path) as gallery:
        told = {}
        for video in gallery.videos():
            _, codes = gallery.codes_of(video.id)
            facts = (video.content_hash, video.size_bytes, video.mtime_ns, video.label, video.root)
            told[video.video] = (
                *facts,
                codes.codes.tobytes(),
                codes.start_seconds.tolist(),
                codes.end_seconds.tolist(),
            )
        return told


def test_the_same_codes_as_here(nodes: Any, untrained_run: Run, db: Path, tmp_path: Path) -> None:
    from c3dhash.cluster.ray_encoding import on_ray

    with on_ray(nodes.address) as encode:
        there = index(untrained_run, tmp_path / "there", db, encode=encode)
        here = index(untrained_run, tmp_path / "here", db)
        assert there == here and (there.added, len(there.failed), there.without_codes) == (
            11,
            1,
            [str(db / "black.mp4")],
        )
        assert content(tmp_path / "there") == content(tmp_path / "here")
        again = index(untrained_run, tmp_path / "there", db, encode=encode)
        assert (again.added, again.unchanged) == (0, 11)
        with Gallery.open(tmp_path / "there") as gallery:
            assert not gallery.failures() or [Path(each["video"]).name for each in gallery.failures()] == ["broken.mp4"]


@pytest.mark.slow
def test_videos_on_a_server_are_fetched_where_they_are_decoded(
    nodes: Any, films: Bucket | None, untrained_run: Run, db: Path, tmp_path: Path
) -> None:
    from c3dhash.cluster.ray_encoding import on_ray

    if films is None:
        pytest.skip("needs moto and s3fs: pip install 'c3dhash[test]'")
    films.put_folder("db", db)
    films.fault = lambda method, asked: 404 if "db/move_up/move_up_001.mp4" in asked else None
    url = f"{films.url}/db"
    with on_ray(nodes.address) as encode:
        there = index(untrained_run, tmp_path / "there", url, encode=encode)
        assert (there.added, there.without_codes) == (10, [f"{url}/black.mp4"])
        told = {each["video"].removeprefix(f"{url}/"): each["reason"] for each in there.failed}
        assert told["move_up/move_up_001.mp4"].endswith("cannot be read: it is not there.")
        assert len(told) == 2 and f"'{url}/broken.mp4'" in told["broken.mp4"]
    films.fault = lambda method, asked: None
    index(untrained_run, tmp_path / "here", db)

    def by_path(path: Path, root: str) -> dict[str, Any]:
        return {name.removeprefix(f"{root}/"): (told[:2], told[3], told[5:]) for name, told in content(path).items()}

    here = by_path(tmp_path / "here", str(db))
    assert by_path(tmp_path / "there", url) == {
        name: codes for name, codes in here.items() if name != "move_up/move_up_001.mp4"
    }
    assert not list(Path(tempfile.gettempdir()).glob("c3dhash-fetched-*"))


@pytest.mark.slow
def test_a_model_is_fitted_there_as_here(
    nodes: Any, motion_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a run: the network sees each clip there, once, and codes are made of its features."""
    from c3dhash.cluster.ray_encoding import on_ray

    monkeypatch.setitem(BACKBONES, "tiny", TinyBackbone)
    backbone = build_backbone("tiny")
    save_file(backbone.state_dict(), tmp_path / "tiny.safetensors", metadata=weights_metadata(backbone))
    config = HashConfig(backbone="tiny", weights=str(tmp_path / "tiny.safetensors"), hash_length=8, hash="itq")
    db = motion_dir / "train"
    here = make_run(tmp_path / "here", [db], config=config, encode=WINDOWS)
    with on_ray(nodes.address) as encode:
        there = make_run(tmp_path / "there", [db], config=config, encode=WINDOWS, encode_steps=encode)
    assert there.fingerprint == here.fingerprint and there.config["fitted_clips"] == here.config["fitted_clips"] > 12
    assert there.config["engine"].startswith("torch")
    for run, path in ((here, tmp_path / "here"), (there, tmp_path / "there")):
        with monkeypatch.context() as patch, open_gallery(path, run, config=WINDOWS) as gallery:
            patch.setattr("c3dhash.gallery.indexing.encode_videos", None)  # it goes on from what is kept
            assert index_with_features(run, gallery, [db], config=WINDOWS).added == 12
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.slow
def test_a_node_that_is_killed_loses_nothing(nodes: Any, untrained_run: Run, tmp_path: Path) -> None:
    from c3dhash.cluster.ray_encoding import on_ray

    many = write_many(tmp_path / "db", 44)
    doomed = nodes.add_node(num_cpus=1, object_store_memory=SMALL)
    seen = []
    with on_ray(nodes.address) as encode:

        def encode_and_kill(*arguments: Any) -> Iterator[Any]:
            for result in encode(*arguments):
                seen.append(result)
                if len(seen) == 5:
                    nodes.remove_node(doomed, allow_graceful=False)
                yield result

        report = index(untrained_run, tmp_path / "there", many, encode=encode_and_kill)
    assert (report.added, report.failed, len(seen)) == (44, [], 44)
    index(untrained_run, tmp_path / "here", many)
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(untrained_run: Run, tmp_path: Path) -> None:
    many = write_many(tmp_path / "db", 60)
    command = [
        sys.executable, "-m", "c3dhash", "index", many, "--gallery", tmp_path / "there", "--engine", "ray",
        "--model", untrained_run.path, "--precision", "fp32", "--device", "cpu", "--window-seconds", "1",
        "--stride-seconds", "0.5", "--batch-size", "4",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def num_videos() -> int:
        try:
            with Gallery.open(tmp_path / "there") as gallery:
                return gallery.num_videos
        except Exception:  # it is not there yet
            return 0

    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while num_videos() < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    done = num_videos()
    assert 3 <= done < 60, "the test is too slow for its machine, or the command too fast for it"
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{60 - done} added, 0 updated") and f"{done} unchanged" in result.stdout
    index(untrained_run, tmp_path / "here", many)
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_what_goes_wrong_is_one_line(run: Any, untrained_run: Run, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, text in (
        (("--engine", "ray", "--ray-address", "127.0.0.1:9"), "no Ray cluster at '127.0.0.1:9' ("),
        (("--engine", "ray", "--ray-address", "nonsense"), "no Ray cluster at 'nonsense' ("),
        (("--ray-address", "auto"), "--ray-address (auto) goes with --engine ray."),
        (("--engine", "spark"), "engine ('spark') must be one of"),
    ):
        code, out, err = run("index", db, "--model", untrained_run.path, *arguments)
        assert code in (1, 2) and text in err.splitlines()[-1] and out == "" and "Traceback" not in err
        assert not Path("gallery").exists()
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "c3dhash.cluster.ray_encoding", raising=False)
    code, _, err = run("index", db, "--model", untrained_run.path, "--engine", "ray")
    assert code == 2 and "pip install 'c3dhash[ray]'" in err


@pytest.mark.slow
def test_a_network_that_cannot_run_there_is_told(nodes: Any, untrained_run: Run, db: Path, tmp_path: Path) -> None:
    import dataclasses

    from c3dhash.cluster.ray_encoding import on_ray
    from c3dhash.errors import ClusterError

    config = dataclasses.replace(WINDOWS, device="cuda:7")
    with on_ray(nodes.address) as encode, open_gallery(tmp_path / "g", untrained_run, config=config) as gallery:
        with pytest.raises(ClusterError, match=r"^Ray could not go on \(device \('cuda:7'\).*\); the same"):
            index_videos(untrained_run, gallery, [db], config=config, encode=encode)
        assert len(gallery) == 0
        assert np.array_equal(gallery.codes()[0], [])


def test_features_may_come_in_any_order() -> None:
    from c3dhash.cluster.ray_encoding import FEATURES, _Arriving
    from c3dhash.gallery.plan import Step

    steps = [Step(f"{number}.mp4", None, 1, 1) for number in range(3)]
    rows = [
        {"video": video, "place": place, "is_end": False, "start_seconds": place, "end_seconds": place + 1.0,
         "feature": None if place == 1 else np.float32([video, place]).tobytes()}
        for video in range(3) for place in range(4)
    ]  # fmt: skip
    rows += [
        {"video": video, "place": 4, "is_end": True, "size_bytes": 7, "mtime_ns": 8, "hash": "h"} for video in (0, 2)
    ]
    rows += [{"video": 1, "place": 4, "is_end": True, "error": "it ended too early"}]
    order = np.random.default_rng(0).permutation(len(rows))
    assert list(order) != sorted(order)
    arriving, taken = _Arriving(steps), {}
    for number in order:
        table = pyarrow.Table.from_pylist([rows[number]], schema=FEATURES)
        taken |= {step.video: told for step, *told in arriving.take(table)}
    assert (sorted(taken), arriving.num_left) == (["0.mp4", "1.mp4", "2.mp4"], 0)
    for video in (0, 2):
        collected, error, seen = taken[f"{video}.mp4"]
        assert [feature.tolist() for feature in collected.features] == [[video, 0], [video, 2], [video, 3]]
        assert (collected.spans, collected.flat_spans) == ([(0.0, 1.0), (2.0, 3.0), (3.0, 4.0)], [(1.0, 2.0)])
        assert (error, seen) == (None, (7, 8, "h"))
    assert str(taken["1.mp4"][1]) == "it ended too early" and taken["1.mp4"][2] is None
