"""What each part of indexing and searching does a second, in one process and in two, and what follows for more.

    python benchmarks/scale.py VIDEO_DIR [--backbone resnet3d18] [--seconds 20] [--codes 1000000] [--machines 16]

Each process has a core of its own and does one part over and over, all at the same time; what they did within the
seconds is added up. decode: videos -> windows of clips. forward: clips -> features. write: a video into a gallery, each
process into its own, since a gallery has one writer. driver: what `--engine ray` leaves to the machine that asks, from
the features of clips to codes that are written. search: queries of one window, all in one gallery. end to end: a
folder is indexed by this machine's engine, and by a Ray of so many cores, starts included and, in a second row of Ray,
left out: from the first video that is through.

Simulated, not measured: a cluster of machines with as many cores as are asked for, all of whom decode or compute, as
fast as one core did here, until one writer cannot take more.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import machine, untrained_run

from c3dhash.config import EncodeConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.plan import Step
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.models.clip_stream import ClipStream
from c3dhash.models.encode import Encoder, video_result, window_options
from c3dhash.models.runs import Run, load_run
from c3dhash.records import CodeBatch
from c3dhash.video.reader import find_videos

UNITS = {"decode": "videos/s", "forward": "clips/s", "write": "videos/s", "driver": "videos/s", "search": "queries/s"}
BITS, BATCH, CLIPS_PER_VIDEO, FIRST_VIDEOS = 48, 16, 10, 8
CORES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def config() -> EncodeConfig:
    return EncodeConfig(device="cpu", batch_size=BATCH, engine="torch", workers=1)


def decode(run: Run, folder: Path) -> Iterator[int]:
    """Yield how many windows a video had, for ever."""
    videos = list(find_videos(folder))
    options = {**window_options(run.model, config()), "crop_bars": True, "skip_flat": True}
    stream = ClipStream(itertools.cycle(videos), size=run.model.clip_size[1], config=config(), options=options,
                        prepare=None)  # fmt: skip
    with contextlib.closing(stream):
        num = 0
        for message in itertools.chain.from_iterable(stream.chunks()):
            if message.is_end:
                stream.take()
                yield num
            num = 0 if message.is_end else num + 1


def forward(run: Run, _: Path) -> Iterator[int]:
    frames, size = run.model.clip_size[:2]
    clips = np.random.default_rng(0).integers(0, 256, (BATCH, frames, size, size, 3), np.uint8)
    encoder = Encoder(run.model, device="cpu", precision=config().precision, engine="torch")
    while True:
        encoder.features(clips)
        yield BATCH


def codes_of_a_video(rng: np.random.Generator) -> CodeBatch:
    starts = np.arange(CLIPS_PER_VIDEO, dtype=np.float64)
    return CodeBatch(rng.integers(0, 256, (CLIPS_PER_VIDEO, BITS // 8), np.uint8), BITS, starts, starts + 1)


def write(run: Run, _: Path) -> Iterator[int]:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, open_gallery(Path(folder, "g"), run) as gallery, gallery.writing():
        for number in itertools.count():
            gallery.add(f"{number}.mp4", codes_of_a_video(rng), content_hash=f"{number}")
            yield 1


def driver(run: Run, _: Path) -> Iterator[int]:
    from c3dhash.cluster import ray_encoding

    heads = Encoder(run.model, device="cpu", precision="fp32")
    features = np.random.default_rng(0).standard_normal((CLIPS_PER_VIDEO, heads.feature_dim)).astype(np.float32)
    end = {"video": 0, "place": CLIPS_PER_VIDEO, "is_end": True, "size_bytes": 1, "mtime_ns": 1, "hash": "x"}
    rows = [
        {"video": 0, "place": place, "is_end": False, "start_seconds": float(place), "end_seconds": place + 1.0,
         "feature": feature.tobytes(), "engine": "benchmark"}
        for place, feature in enumerate(features)
    ]  # fmt: skip
    table = ray_encoding.pa.Table.from_pylist([*rows, end], schema=ray_encoding.FEATURES)
    step = Step("0.mp4", "", 1, 1, None)
    with tempfile.TemporaryDirectory() as folder, open_gallery(Path(folder, "g"), run) as gallery, gallery.writing():
        for number in itertools.count():
            for _, collected, error, _ in ray_encoding._Arriving([step]).take(table):
                codes = video_result(Path(f"{number}.mp4"), error, collected, heads).codes
                assert codes is not None
                gallery.add(f"{number}.mp4", codes, content_hash=f"{number}")
                yield 1


def search(_: Run, gallery_path: Path) -> Iterator[int]:
    rng = np.random.default_rng(os.getpid())
    with Gallery.open(gallery_path) as gallery:
        while True:
            code = rng.integers(0, 256, (1, BITS // 8), np.uint8)
            query_codes(gallery, CodeBatch(code, BITS, np.zeros(1), np.ones(1)))
            yield 1


def work(part: str, run_path: Path, folder: Path, *, core: int, seconds: float) -> None:
    """Do a part for so long, once somebody says so; print how much of it was done, and how many videos that were."""
    os.sched_setaffinity(0, [core])
    import torch

    torch.set_num_threads(1)
    functions = {"decode": decode, "forward": forward, "write": write, "driver": driver, "search": search}
    steps = functions[part](load_run(run_path), folder)
    for _ in range(3):
        next(steps)
    print("ready", flush=True)
    sys.stdin.readline()
    end, done, times = time.perf_counter() + seconds, 0, 0
    while time.perf_counter() < end:
        done, times = done + next(steps), times + 1
    steps.close()
    print(json.dumps({"done": done / seconds, "times": times / seconds}), flush=True)


def rate(part: str, run_path: Path, folder: Path, *, processes: int, seconds: float) -> tuple[float, float]:
    """Return what so many processes do a second together, and how many steps those were."""
    command = [sys.executable, __file__, str(folder), "--work", part, "--run", str(run_path)]
    command += ["--seconds", str(seconds), "--core"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([*command, str(core)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                         env=environment)
        for core in range(processes)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{part}: a process ended early.")
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0]) for process in started]
    return sum(each["done"] for each in told), sum(each["times"] for each in told)


def end_to_end(run_path: Path, folder: Path, *, engine: str, cores: int) -> None:
    """Index a folder with so many cores, and print videos a second: of all, and from the first videos on."""
    os.sched_setaffinity(0, range(cores))
    import torch

    torch.set_num_threads(cores)
    run, times = load_run(run_path), list[float]()
    settings = EncodeConfig(device="cpu", batch_size=BATCH, engine="torch", workers=cores)
    with tempfile.TemporaryDirectory() as there, open_gallery(Path(there, "g"), run) as gallery:
        add = gallery.add

        def timed_add(*args: object, **kwargs: object) -> object:
            times.append(time.perf_counter())
            return add(*args, **kwargs)

        gallery.add = timed_add  # type: ignore[method-assign, assignment]
        began = time.perf_counter()
        if engine == "ray":
            import ray

            from c3dhash.cluster import ray_encoding

            ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
            with ray_encoding.on_ray(None) as encode:
                index_videos(run, gallery, [folder], config=settings, encode=encode)
        else:
            index_videos(run, gallery, [folder], config=settings)
    whole = len(times) / (times[-1] - began)
    rest = (len(times) - FIRST_VIDEOS) / (times[-1] - times[FIRST_VIDEOS - 1])
    print(json.dumps({"whole": whole, "rest": rest}), flush=True)


def indexed(run_path: Path, folder: Path, *, engine: str, cores: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), "--work", engine, "--run", str(run_path), "--core", str(cores)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    return {name: float(value) for name, value in json.loads(told).items()}


def make_gallery(folder: Path, run: Run, num_codes: int) -> Path:
    rng = np.random.default_rng(0)
    with open_gallery(folder, run) as gallery, gallery.editing() as edits:
        for number in range(num_codes // CLIPS_PER_VIDEO):
            edits.add(f"{number}.mp4", codes_of_a_video(rng), content_hash=f"{number}", size_bytes=0, mtime_ns=0,
                      label=None)  # fmt: skip
    with Gallery.open(folder) as gallery:
        gallery.search(np.zeros((1, BITS // 8), np.uint8), k=1)
    return folder


def simulate(rates: dict[str, float], *, cores_each: int) -> None:
    """Print what more machines would do: cores that decode and compute, before one that writes."""
    of_a_core = 1 / (1 / rates["decode"] + 1 / rates["forward"])
    print(f"\nsimulated, machines of {cores_each} cores:")
    print(f"{'cores':>6} {'machines':>8} {'videos/s':>9} {'a million':>10}   what is full")
    for cores in CORES:
        machines, wanted = -(-cores // cores_each), cores * of_a_core
        done = min(wanted, rates["driver"])
        full = "the cores" if wanted <= rates["driver"] else "the machine that writes"
        print(f"{cores:6} {machines:8} {done:9.1f} {1e6 / done / 3600:8.1f} h   {full}")


def compare(options: argparse.Namespace, run_path: Path, gallery: Path) -> None:
    """Print what was measured, and what follows."""
    of_one: dict[str, float] = {}
    print(f"{'part':14} {'':14} {'1 process':>10} {'2':>10} {'ratio':>6}")
    for part, unit in UNITS.items():
        place = gallery if part == "search" else options.videos
        told = [
            [rate(part, run_path, place, processes=num, seconds=options.seconds) for num in (1, 2)]
            for _ in range(options.repeats)
        ]
        (done, times), (done_by_two, times_by_two) = np.median(told, axis=0)
        if part == "decode":
            windows, done, done_by_two = done / times, times, times_by_two
        print_row(part, unit, done, done_by_two)
        of_one[part] = done / windows if part == "forward" else done
    print(f"(a video of the folder has {windows:.2f} windows, one that is written {CLIPS_PER_VIDEO})")
    for engine in ("here", "ray"):
        found = [[indexed(run_path, options.videos, engine=engine, cores=num) for num in (1, 2)]
                 for _ in range(options.repeats)]  # fmt: skip
        for name in ("whole", "rest"):
            one, two = np.median([[each[name] for each in pair] for pair in found], axis=0)
            print_row(f"{engine}, {name}", "videos/s", one, two)
    simulate(of_one, cores_each=options.machines)


def print_row(name: str, unit: str, one: float, two: float) -> None:
    print(f"{name:14} {unit:14} {one:10.1f} {two:10.1f} {two / one:6.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--backbone", default="resnet3d18")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--codes", type=int, default=1_000_000)
    parser.add_argument("--machines", type=int, default=16, help="Cores of a machine in what is simulated.")
    parser.add_argument("--work", choices=(*UNITS, "here", "ray"), help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work in UNITS:
        work(options.work, options.run, options.videos, core=options.core, seconds=options.seconds)
        return
    if options.work:
        end_to_end(options.run, options.videos, engine=options.work, cores=options.core)
        return
    print(machine("ray"))
    with tempfile.TemporaryDirectory() as folder:
        run_path = Path(folder, "run")
        run = untrained_run(run_path, options.backbone, hash_length=BITS)
        gallery = make_gallery(Path(folder, "gallery"), run, options.codes)
        print(f"{options.backbone}, '{options.videos.name}', {options.seconds:g} s a part, {options.repeats} times; "
              f"load of the machine {os.getloadavg()[0]:.1f} before")  # fmt: skip
        compare(options, run_path, gallery)


if __name__ == "__main__":
    main()
