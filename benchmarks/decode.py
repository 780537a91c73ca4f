"""Decoding: c3dhash against decoding everything, frame folders, bare OpenCV, PyAV and torchcodec.

    pip install -e .[bench,test]
    python benchmarks/decode.py [--repeats 7] [--only TEXT] [--decoders TEXT]

Videos are made with ffmpeg; each frame carries its number (tests/videos.py) under a moving texture, and what a decoder
gives is compared with the frames that were asked for. The task: the frames at the centres of 16 equal parts, RGB,
resized to a short side of 128 px, of the whole video, of each window of it, or of one segment. Every decoder runs on
one thread in one process; all of them in turns, after one turn of warm-up; medians, and the spread, slowest - fastest.
CPU time is that of the process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from common import machine

from c3dhash.datasets.frames import extract_frames
from c3dhash.records import Sample, Segment
from c3dhash.video.cache import FrameCache
from c3dhash.video.clip_plan import Plan
from c3dhash.video.clips import ClipReader
from c3dhash.video.frame_folder import frame_folder_clips
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.loader import prefetch
from c3dhash.video.reader import choose_frames, packets, passes, read_clips

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from videos import frame_number, numbered_frame

FPS = 25
NUM_FRAMES = 16
SHORT_SIDE = 128
XVID = ("-c:v", "mpeg4", "-vtag", "XVID", "-q:v", "5", "-g", "250", "-bf", "0")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast", "-bf", "3", "-g", "250")


@dataclass(frozen=True)
class Case:
    """A video and what is read from it: windows, a segment (first frame and the one after the last), or all of it."""

    name: str
    path: Path
    num_video_frames: int
    window_frames: int | None = None
    segment_frames: tuple[int, int] | None = None

    @property
    def indices(self) -> list[int]:
        """The frames of all clips, one clip after the other."""
        if self.segment_frames:
            start, end = self.segment_frames
            return [start + int(index) for index in choose_frames(end - start, NUM_FRAMES)]
        length = self.window_frames or self.num_video_frames
        starts = range(0, self.num_video_frames, length)
        return [start + int(index) for start in starts for index in choose_frames(length, NUM_FRAMES)]

    @property
    def plan(self) -> Plan:
        seconds = self.window_frames / FPS if self.window_frames else None
        segment = Segment(*(frame / FPS for frame in self.segment_frames)) if self.segment_frames else None
        return Plan(NUM_FRAMES, SHORT_SIDE, seconds, seconds, segment)


def make_video(path: Path, num_frames: int, width_px: int, height_px: int, options: tuple[str, ...]) -> Path:
    """Write numbered frames under a texture that moves by 3 px a frame, with a little noise in each."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (height_px, 2 * width_px)).astype(np.float32), (0, 0), 3)
    texture = np.tile(texture * (35 / texture.std()), 2).clip(-60, 60)[..., None]
    noise = rng.normal(0, 3, (7, height_px, width_px, 1)).astype(np.float32)
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width_px}x{height_px}"]
    command += ["-r", str(FPS), "-i", "-", *options, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as ffmpeg:
        for number in range(num_frames):
            grid = numbered_frame.__wrapped__(number, width_px=width_px, height_px=height_px).astype(np.float32)
            left = 3 * number % (2 * width_px)
            frame = 20 + 0.8 * grid + texture[:, left : left + width_px] + noise[number % len(noise)]
            ffmpeg.stdin.write(frame.clip(0, 255).astype(np.uint8).tobytes())
    return path


def resize(frame: np.ndarray) -> np.ndarray:
    scale = SHORT_SIDE / min(frame.shape[:2])
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def c3dhash_opencv(case: Case) -> np.ndarray:
    return np.concatenate([clip.frames for clip in passes.read(case.path, case.plan)])


def c3dhash_pyav(case: Case) -> np.ndarray:
    """Fails where c3dhash would leave the video to OpenCV."""
    return np.concatenate([clip.frames for clip in packets.read(case.path, case.plan)])


def open_opencv(case: Case) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(case.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def opencv_all(case: Case) -> np.ndarray:
    """(a): decode, convert and resize every frame, then choose."""
    capture, frames = open_opencv(case), []
    while True:
        is_read, frame = capture.read()
        if not is_read:
            return np.stack([frames[index] for index in case.indices])
        frames.append(cv2.cvtColor(resize(frame), cv2.COLOR_BGR2RGB))


def opencv_bare(case: Case) -> np.ndarray:
    """Grab every frame, retrieve those that are wanted; believes the header."""
    capture, wanted, kept = open_opencv(case), set(case.indices), []
    for index in range(max(wanted) + 1):
        capture.grab()
        if index in wanted:
            kept.append(cv2.cvtColor(resize(capture.retrieve()[1]), cv2.COLOR_BGR2RGB))
    return np.stack(kept)


def opencv_seek(case: Case) -> np.ndarray:
    """Seek to each frame."""
    capture, kept = open_opencv(case), []
    for index in case.indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        kept.append(cv2.cvtColor(resize(capture.read()[1]), cv2.COLOR_BGR2RGB))
    return np.stack(kept)


def pyav(case: Case, *, skip: bool = False) -> np.ndarray:
    """Decode to the end, convert what is wanted; `skip`: leave out frames that no other is made from."""
    import av

    wanted, kept = set(case.indices), []
    with av.open(str(case.path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        scale = SHORT_SIDE / min(stream.width, stream.height)
        size = {"width": round(stream.width * scale), "height": round(stream.height * scale)}
        for packet in container.demux(stream):
            if packet.pts is None and packet.size:
                packet.pts = packet.dts  # AVI
            if skip and packet.pts is not None:
                is_wanted = round(float(packet.pts * packet.time_base) * FPS) in wanted
                stream.codec_context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
            for frame in packet.decode():
                if round(frame.time * FPS) in wanted:
                    picture = frame.reformat(**size, format="rgb24", interpolation="AREA")
                    kept.append(picture.to_ndarray())
                    if len(kept) == len(wanted):
                        return np.stack(kept)
    return np.stack(kept)


def pyav_skip(case: Case) -> np.ndarray:
    return pyav(case, skip=True)


def torchcodec(case: Case, *, seek_mode: str = "exact") -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(case.path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode)
    frames = decoder.get_frames_at(case.indices).data.numpy()
    return np.stack([resize(frame) for frame in frames])


def torchcodec_approximate(case: Case) -> np.ndarray:
    return torchcodec(case, seek_mode="approximate")


DECODERS: dict[str, Callable[[Case], np.ndarray]] = {
    "c3dhash (OpenCV)": c3dhash_opencv,
    "c3dhash (PyAV)": c3dhash_pyav,
    "OpenCV, every frame (a)": opencv_all,
    "OpenCV grab/retrieve": opencv_bare,
    "OpenCV seek": opencv_seek,
    "PyAV": pyav,
    "PyAV, skipping B-frames": pyav_skip,
    "torchcodec exact": torchcodec,
    "torchcodec approximate": torchcodec_approximate,
}


def is_right(frames: np.ndarray, case: Case) -> bool:
    try:
        return [frame_number(frame) for frame in frames] == [index % 1024 for index in case.indices]  # ten bits
    except AssertionError:
        return False


def measure(functions: dict[str, Callable[[], object]], *, repeats: int) -> dict[str, tuple[float, float, float]]:
    """Run functions in turns: name -> median seconds, spread, median CPU seconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start, cpu = time.perf_counter(), time.process_time()
            function()
            if turn:
                times[name].append((time.perf_counter() - start, time.process_time() - cpu))
    result = {}
    for name, pairs in times.items():
        wall, cpu = zip(*pairs, strict=True)
        result[name] = statistics.median(wall), max(wall) - min(wall), statistics.median(cpu)
    return result


def compare(case: Case, *, repeats: int, only: str = "") -> None:
    """Print a table of the decoders that can read a case and have `only` in their name."""
    functions, right = {}, {}
    for name, decode in DECODERS.items():
        if only not in name or (case.window_frames and decode is opencv_seek):  # minutes
            continue
        if case.segment_frames and decode is opencv_all:  # gigabytes
            continue
        try:
            right[name] = is_right(decode(case), case)
        except Exception as error:
            print(f"{case.name}: {name} fails: {type(error).__name__}: {str(error).strip().splitlines()[0][:90]}")
            continue
        functions[name] = lambda decode=decode: decode(case)
    if not functions:
        return
    num_clips = len(case.indices) // NUM_FRAMES
    results = measure(functions, repeats=repeats)
    base = next(iter(results.values()))[0]
    frame_kb = case.path.stat().st_size / case.num_video_frames / 1000
    print(f"\n{case.name}: {num_clips} clip(s), {frame_kb:.1f} kB a frame")
    print(f"{'':26}{'ms/clip':>9}{'spread':>9}{'CPU-ms':>9}{'x first':>11}  frames")
    for name, (seconds, spread, cpu) in results.items():
        row = "".join(f"{1000 * value / num_clips:9.1f}" for value in (seconds, spread, cpu))
        print(f"{name:26}{row}{seconds / base:11.2f}  {'right' if right[name] else 'WRONG'}", flush=True)


def compare_stores(case: Case, folder: Path, *, repeats: int) -> None:
    """Print what a clip costs from the video, from JPEG frames (b), and from the cache in a second epoch."""
    (folder / "one").mkdir()
    (folder / "one" / case.path.name).symlink_to(case.path)
    extract_frames(folder / "one", folder / "frames")
    frames = folder / "frames" / case.path.stem
    reader = ClipReader(NUM_FRAMES, 112, FrameCache(folder / "cache", max_bytes=1 << 30))
    sample = Sample(case.path, (0,), "train")
    first = np.array(reader.evaluation_clips(sample)[0])
    assert np.array_equal(first, np.array(reader.evaluation_clips(sample)[0]))
    functions = {
        "c3dhash (OpenCV), video": lambda: c3dhash_opencv(case),
        "c3dhash (PyAV), video": lambda: c3dhash_pyav(case),
        "JPEG frame folder (b)": lambda: next(frame_folder_clips(frames, Plan(NUM_FRAMES, SHORT_SIDE))),
        "cache, second epoch": lambda: np.array(reader.evaluation_clips(sample)[0]),
    }
    results = measure(functions, repeats=3 * repeats)
    num_bytes = sum(path.stat().st_size for path in frames.iterdir())
    print(f"\n{case.name}: video {case.path.stat().st_size / 1e6:.2f} MB, JPEG folder {num_bytes / 1e6:.2f} MB")
    for name, (seconds, spread, cpu) in results.items():
        print(f"{name:26}" + "".join(f"{1000 * value:9.2f}" for value in (seconds, spread, cpu)))


def compare_isolation(case: Case, *, workers: int = 2, num_clips: int = 400) -> None:
    """Print the throughput of decoding in threads and in processes, start-up included and apart."""
    options = {"num_frames": NUM_FRAMES, "short_side": SHORT_SIDE}
    print(f"\n{case.name}: {num_clips} clips, {workers} workers, clips per second")
    for _ in range(3):
        start = time.perf_counter()
        for _clip in prefetch(lambda path: next(read_clips(path, **options)), [case.path] * num_clips, workers=workers):
            pass
        threads = num_clips / (time.perf_counter() - start)
        start = time.perf_counter()
        with DecoderPool() as pool:
            reads = pool.map(
                lambda path, pool=pool: pool.call(read_clips, path, **options), [case.path] * num_clips, workers=workers
            )
            next(reads)
            started = time.perf_counter() - start
            for _clip in reads:
                pass
        processes = num_clips / (time.perf_counter() - start)
        print(f"threads {threads:7.1f}   processes {processes:7.1f}   first clip after {started:.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="Cases whose name holds this text; or stores.")
    parser.add_argument("--decoders", default="", help="Decoders whose name holds this text.")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(machine("opencv-contrib-python-headless", "av", "torchcodec"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        long = folder / "long.mp4"
        if options.only in "h264 1080p, windows":
            make_video(long, 250, 1920, 1080, H264)
        small = Case("h264 320x240, 180 frames", make_video(folder / "small.mp4", 180, 320, 240, H264), 180)
        avi = Case("XviD AVI 320x240, 180 frames", make_video(folder / "ucf.avi", 180, 320, 240, XVID), 180)
        whole, windows = Case("h264 1080p, 250 frames", long, 250), Case("h264 1080p, windows of 1 s", long, 250, 25)
        film = Case("h264 320x240, a segment at minute 5", folder / "film.mp4", 8000, segment_frames=(7500, 7550))
        if options.only in film.name:
            make_video(film.path, film.num_video_frames, 320, 240, H264)
        for case in (avi, small, whole, windows, film):
            if options.only in case.name:
                compare(case, repeats=options.repeats, only=options.decoders)
        if options.only in "stores and processes":
            compare_stores(avi, folder, repeats=options.repeats)
            compare_isolation(avi)


if __name__ == "__main__":
    main()
