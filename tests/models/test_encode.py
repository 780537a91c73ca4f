from __future__ import annotations

import copy
import os
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from videos import black_frames, numbered_frame, write_frames, write_video

from c3dhash.bits import pack_codes
from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.gallery.query import encode_video
from c3dhash.models.encode import Encoder, encode_samples, encode_videos
from c3dhash.models.hashnet import HashNet
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader
from c3dhash.video.isolation import shared_pool
from c3dhash.video.loader import stop_point
from c3dhash.video.normalization import normalize
from c3dhash.video.reader import read_clips
from c3dhash.video.stored import LOSSLESS
from c3dhash.video.transforms import center_clip, clip_views

FP32 = EncodeConfig(precision="fp32", device="cpu", batch_size=3)


def expected_codes(run, video, **windows) -> np.ndarray:
    """The definition: each clip alone through the network."""
    codes = []
    for clip in read_clips(video, num_frames=4, short_side=18, **windows):
        frames = torch.from_numpy(center_clip(clip.frames, size=16))[None]
        with torch.no_grad():
            codes.append(pack_codes(run.model(normalize(frames, run.model.preprocessing)).embedding.numpy())[0])
    return np.stack(codes)


def test_a_video_becomes_the_codes_of_its_windows(untrained_run, tmp_path):
    video = write_video(tmp_path / "long.mp4", 250)  # 10 s at 25 fps
    config = EncodeConfig(precision="fp32", device="cpu", batch_size=3, window_seconds=3, stride_seconds=2)
    codes = encode_video(untrained_run, video, config=config)
    assert codes.start_seconds.tolist() == pytest.approx([0, 2, 4, 6, 7])
    assert codes.end_seconds.tolist() == pytest.approx([3, 5, 7, 9, 10])
    assert np.array_equal(codes.codes, expected_codes(untrained_run, video, window_seconds=3, stride_seconds=2))


def test_window_zero_is_the_whole_video(untrained_run, tmp_path):
    video = write_video(tmp_path / "long.mp4", 60)
    config = EncodeConfig(precision="fp32", device="cpu", window_seconds=0)
    codes = encode_video(untrained_run, video, config=config)
    assert np.array_equal(codes.codes, expected_codes(untrained_run, video))
    assert codes.end_seconds.tolist() == pytest.approx([2.4])


@pytest.mark.parametrize("workers", [1, 4])
def test_many_videos_good_and_bad(untrained_run, motion_dir, tmp_path, workers):
    good = sorted((motion_dir / "gallery").glob("*/*.mp4"))
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    videos = [*good[:3], bad, *good[3:], tmp_path / "missing.mp4"]
    config = EncodeConfig(precision="fp32", device="cpu", batch_size=4, workers=workers)
    results = {result.video: result for result in encode_videos(untrained_run, videos, config=config)}
    assert set(results) == set(videos)
    for video in good:
        assert np.array_equal(results[video].codes.codes, expected_codes(untrained_run, video))
        assert results[video].scores.shape == (1, 3)
    for video in (bad, tmp_path / "missing.mp4"):
        assert results[video].codes is None
        assert str(video) in str(results[video].error)


def test_features_where_they_are_asked_for(untrained_run, tmp_path):
    video = write_video(tmp_path / "long.mp4", 125)  # 5 s at 25 fps
    config = EncodeConfig(precision="fp32", device="cpu", batch_size=2, window_seconds=2)
    (result,) = encode_videos(untrained_run, [video], config=config, with_features=True)
    assert (result.features.features.dtype, result.features.features.shape) == (np.float32, (3, 512))
    assert np.array_equal(result.features.start_seconds, result.codes.start_seconds)
    assert np.array_equal(result.features.end_seconds, result.codes.end_seconds)
    head = untrained_run.model.hash_head
    with torch.no_grad():
        embeddings = torch.tanh(head(torch.from_numpy(result.features.features)))
    assert np.array_equal(pack_codes(embeddings.numpy()), result.codes.codes)
    (result,) = encode_videos(untrained_run, [video], config=config)
    assert result.features is None


@pytest.fixture
def dense_run(untrained_run):
    """The run as if its weights had been trained on consecutive frames at 25 a second."""
    model = copy.deepcopy(untrained_run.model)
    model.backbone.preprocessing = replace(model.preprocessing, interval_seconds=1 / 25)
    return replace(untrained_run, model=model)


@pytest.mark.parametrize("batch_size", [2, 16])
def test_a_code_is_made_of_the_mean_feature_of_the_clips_of_its_window(dense_run, tmp_path, batch_size):
    """4 frames at 25 a second are 0.16 s: three clips of a window of 2 s, two of one of 0.4 s."""
    paths = [write_video(tmp_path / "long.mp4", 110), write_video(tmp_path / "short.mp4", 10)]
    config = replace(FP32, window_seconds=2, batch_size=batch_size)
    results = list(encode_videos(dense_run, paths, config=config, with_features=True))
    for result, path, each in zip(results, paths, (3, 2), strict=True):
        options = {"num_frames": 4, "short_side": 18, "window_seconds": 2, "interval_seconds": 1 / 25}
        clips = list(read_clips(path, **options))
        windows = sorted({(clip.segment.start_seconds, clip.segment.end_seconds) for clip in clips})
        assert len(clips) == each * len(windows)
        assert list(zip(result.codes.start_seconds, result.codes.end_seconds, strict=True)) == windows
        for row, window in enumerate(windows):
            frames = [
                center_clip(clip.frames, size=16)
                for clip in clips
                if (clip.segment.start_seconds, clip.segment.end_seconds) == window
            ]
            batch = normalize(torch.from_numpy(np.stack(frames)), dense_run.model.preprocessing)
            with torch.no_grad():
                feature = dense_run.model.backbone(batch).mean(dim=0, keepdim=True)
                outputs = dense_run.model.heads(feature)
            np.testing.assert_allclose(result.features.features[row], feature[0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(result.scores[row], outputs.logits[0], rtol=1e-4, atol=1e-5)
            assert np.array_equal(result.codes.codes[row], pack_codes(outputs.embedding.numpy())[0])


@pytest.mark.parametrize(("clips_per_window", "views"), [(None, 1), (2, 1), (2, 3)])
def test_samples_and_videos_give_the_same_codes_of_dense_clips(dense_run, motion, tmp_path, clips_per_window, views):
    """Evaluation sees the clips that indexing sees, from the cache, too."""
    config, samples = replace(FP32, clips_per_window=clips_per_window, views=views), motion.split("query")
    cache = FrameCache(tmp_path, max_bytes=1 << 24, quality=LOSSLESS)
    model = dense_run.model
    reader = ClipReader.of_network(
        model.clip_size, model.preprocessing, cache, clips_per_window=clips_per_window, views=views
    )
    encoder = Encoder(model, device="cpu", precision="fp32")
    encoded = encode_samples(encoder, samples, reader=reader, batch_size=5, workers=2)
    results = encode_videos(dense_run, [sample.video for sample in samples], config=config, with_features=True)
    features = np.concatenate([result.features.features for result in results])
    np.testing.assert_allclose(encoded.features, features, rtol=1e-4, atol=1e-5)
    assert {len(reader.evaluation_clips(sample)) for sample in samples} == {(clips_per_window or 3) * views}


def test_a_feature_is_the_mean_of_its_views(untrained_run, motion):
    video = motion.split("query")[0].video
    (one,), (two,) = (
        encode_videos(untrained_run, [video], config=replace(FP32, views=views), with_features=True) for views in (1, 2)
    )
    (clip,) = read_clips(video, num_frames=untrained_run.model.clip_size[0], short_side=18)
    mirrored = center_clip(clip.frames, size=16)[:, :, ::-1].copy()
    other = Encoder(untrained_run.model, device="cpu", precision="fp32").features(mirrored[None])
    assert not np.allclose(one.features.features, other, rtol=1e-3)
    np.testing.assert_allclose(two.features.features, (one.features.features + other) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("views", [1, 3])
def test_what_a_video_is_in_a_mirror(untrained_run, tmp_path, views):
    """The codes of a file that holds the mirrored pictures; of one decoding. Windows of nothing are in neither."""
    shown = [numbered_frame(number).copy() for number in range(150)]
    for frame in shown:
        frame[:, 80:] //= 4
    shown[50:100] = black_frames(50)
    video, bad = write_frames(tmp_path / "a.avi", shown, fourcc="FFV1"), tmp_path / "bad.avi"
    flipped = write_frames(tmp_path / "flipped.avi", [frame[:, ::-1] for frame in shown], fourcc="FFV1")
    bad.write_bytes(b"no video")
    config = replace(FP32, window_seconds=1, stride_seconds=1, views=views)
    alone, other = encode_videos(untrained_run, [video, flipped], config=config, with_features=True)
    result, broken = encode_videos(untrained_run, [video, bad], config=config, with_features=True, with_mirrored=True)
    for found, expected in ((result, alone), (result.mirrored, other)):
        assert np.array_equal(found.codes.codes, expected.codes.codes)
        assert np.array_equal(found.codes.start_seconds, expected.codes.start_seconds)
        assert found.codes.num_flat == expected.codes.num_flat == 2
        np.testing.assert_allclose(found.features.features, expected.features.features, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(alone.codes.codes, other.codes.codes)
    assert alone.mirrored is None and broken.error is not None and broken.codes is None


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnx"])
def test_flat_windows_are_not_seen(untrained_run, tmp_path, engine):
    """Ten seconds, of which 2 to 6 are black: one of four windows of 3 s, every 2 s, shows nothing else."""
    for package in {"openvino": ["openvino"], "onnx": ["onnx", "onnxruntime"]}.get(engine, []):
        pytest.importorskip(package)
    shown = [numbered_frame(number) for number in range(250)]
    shown[50:150] = black_frames(100)
    video = write_frames(tmp_path / "a.mp4", shown)
    black = write_frames(tmp_path / "black.mp4", black_frames(100))
    config = replace(FP32, window_seconds=3, stride_seconds=2, engine=engine)
    part, nothing = encode_videos(untrained_run, [video, black], config=config, with_features=True)
    whole, all_black = encode_videos(untrained_run, [video, black], config=config, with_features=True, with_flat=True)
    assert whole.codes.start_seconds.tolist() == pytest.approx([0, 2, 4, 6, 7])
    assert part.codes.start_seconds.tolist() == pytest.approx([0, 4, 6, 7])
    seen = [0, 2, 3, 4]
    assert np.array_equal(part.codes.codes, whole.codes.codes[seen])
    np.testing.assert_allclose(part.features.features, whole.features.features[seen], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(part.scores, whole.scores[seen], rtol=1e-3, atol=1e-4)
    assert (part.codes.num_flat, part.features.num_flat, whole.codes.num_flat) == (1, 1, 0)
    assert nothing.error is None
    assert (nothing.codes.codes.shape, nothing.scores.shape, nothing.features.features.shape) == (
        (0, 2), (0, 3), (0, 512),
    )  # fmt: skip
    assert (nothing.codes.num_flat, len(all_black.codes.codes)) == (2, 2)
    with pytest.raises(VideoError, match=r"black.mp4' shows nothing: all frames of its windows \(2\) are black"):
        encode_video(untrained_run, black, config=config)


@pytest.mark.parametrize("views", [1, 2])
def test_flat_clips_of_a_window_do_not_count(dense_run, tmp_path, views):
    """Of the three dense clips of a window, those at 1/6, 1/2 and 5/6 of its time, the first two are black."""
    shown = [*black_frames(30), *[numbered_frame(number) for number in range(20)]]
    path = write_frames(tmp_path / "a.mp4", shown)
    config = replace(FP32, window_seconds=2, views=views)
    (part,) = encode_videos(dense_run, [path], config=config, with_features=True)
    (whole,) = encode_videos(dense_run, [path], config=config, with_features=True, with_flat=True)
    clips = list(read_clips(path, num_frames=4, short_side=18, window_seconds=2, interval_seconds=1 / 25))
    assert [bool(clip.frames.max() > 60) for clip in clips] == [False, False, True]
    seen = clip_views(clips[2].frames, size=16, num_views=views)
    expected = Encoder(dense_run.model, device="cpu", precision="fp32").features(np.stack(seen)).mean(axis=0)
    np.testing.assert_allclose(part.features.features[0], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(whole.features.features[0], expected, rtol=1e-2)
    assert (len(part.codes.codes), part.codes.num_flat) == (1, 0)


def test_clips_per_window_are_for_dense_clips(untrained_run, dense_run, tmp_path):
    video = write_video(tmp_path / "a.mp4", 50)
    config = replace(FP32, clips_per_window=2)
    assert encode_video(dense_run, video, config=config).codes.shape == (1, 2)
    with pytest.raises(UsageError, match=r"clips_per_window \(2\) must be 1 for a network whose frames are spread"):
        encode_video(untrained_run, video, config=config)


def test_a_network_without_heads_gives_features_alone(untrained_run, motion_dir):
    model = HashNet(untrained_run.model.backbone, hash_length=None, num_classes=None).eval()
    video = next((motion_dir / "train").glob("*/*.mp4"))
    (result,) = encode_videos(replace(untrained_run, model=model), [video], config=FP32, with_features=True)
    assert (result.codes, result.scores, result.error) == (None, None, None)
    assert result.features.features.shape == (1, 512)


def test_stopping_early_stops_the_threads(untrained_run, motion_dir):
    before = threading.active_count()
    results = encode_videos(untrained_run, sorted((motion_dir / "train").glob("*/*.mp4")) * 20, config=FP32)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_processes_are_kept_for_the_next_call(untrained_run, motion_dir):
    videos = sorted((motion_dir / "train").glob("*/*.mp4"))

    def idle() -> set[int]:
        return {process._process.pid for process in shared_pool()._idle}

    list(encode_videos(untrained_run, videos, config=FP32))
    kept = idle()
    assert kept
    for video in videos[:3]:
        encode_video(untrained_run, video, config=FP32)
        assert idle() == kept
    results = encode_videos(untrained_run, videos * 20, config=FP32)
    next(results)
    results.close()  # ends those that are at work
    assert not shared_pool()._running
    assert idle() <= kept
    encode_video(untrained_run, videos[0], config=FP32)


def test_an_error_of_the_callers_iterator_is_raised(untrained_run, motion_dir):
    def videos():
        yield next((motion_dir / "train").glob("*/*.mp4"))
        raise BrokenPipeError("gone")

    with pytest.raises(BrokenPipeError, match="gone"):
        list(encode_videos(untrained_run, videos(), config=FP32))


def test_a_name_that_is_not_utf8(untrained_run, motion_dir, tmp_path):
    video = tmp_path / os.fsdecode(b"\xff.mp4")
    shutil.copy(next((motion_dir / "train").glob("*/*.mp4")), video)
    (result,) = encode_videos(untrained_run, [video], config=FP32)
    assert "not valid UTF-8" in str(result.error)


def test_no_videos(untrained_run):
    assert list(encode_videos(untrained_run, [], config=FP32)) == []


def test_encode_video_raises_what_is_wrong(untrained_run, tmp_path):
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        encode_video(untrained_run, tmp_path / "nothing.mp4", config=FP32)


def test_samples_and_videos_give_the_same_codes(untrained_run, motion, no_cache):
    samples = motion.split("query")
    encoder = Encoder(untrained_run.model, device="cpu", precision="fp32")
    reader = ClipReader(4, 16, no_cache)
    encoded = encode_samples(encoder, samples, reader=reader, batch_size=4, workers=2)
    assert encoded.embeddings.shape == (6, 16)
    assert encoded.scores.shape == (6, 3)
    assert encoded.features.shape == (6, 512)
    for sample, code in zip(samples, pack_codes(encoded.embeddings), strict=True):
        assert np.array_equal(encode_video(untrained_run, sample.video, config=FP32).codes, code[None])


@pytest.fixture
def hurried(monkeypatch):
    """Make the first videos slow and the last ones fast, so that threads overtake each other; list who is begun."""
    begun = []

    @contextmanager
    def prepare(video):
        begun.append(video)
        time.sleep(0.1 if len(begun) % 4 == 1 else 0)
        yield video

    return begun, prepare


@pytest.mark.parametrize("ahead", [1, 2, 128])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_videos_come_in_their_order(untrained_run, motion_dir, tmp_path, monkeypatch, hurried, ahead, batch_size):
    """Also where all threads wait for one result, and its clips for a full batch."""
    begun, prepare = hurried
    monkeypatch.setattr("c3dhash.models.clip_stream.AHEAD", ahead)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    files = [*sorted(motion_dir.glob("gallery/*/*.mp4")), tmp_path / "broken.mp4"]
    files = [files[number] for number in (9, 3, 9, 0, 1, 9, 9, 9, 2)]
    config = replace(FP32, workers=3, batch_size=batch_size)
    found = []
    for result in encode_videos(untrained_run, files, config=config, prepare=prepare):
        found.append(result.video)
        assert len(begun) <= len(found) + ahead - 1 or len(begun) == len(files)
        assert (result.error is None) == (result.video.name != "broken.mp4")
    assert found == files


def test_what_is_prepared_before_decoding_may_fail(untrained_run, motion_dir):
    files = sorted(motion_dir.glob("query/*/*.mp4"))[:3]

    @contextmanager
    def prepare(video):
        if video == files[1]:
            raise VideoError("not now.")
        yield video

    results = list(encode_videos(untrained_run, files, config=FP32, prepare=prepare))
    assert [str(result.error) for result in results] == ["None", "not now.", "None"]


def test_a_long_preparation_ends_when_nobody_waits_for_it(untrained_run, motion_dir):
    files = sorted(motion_dir.glob("query/*/*.mp4"))
    is_endless, stopped = threading.Event(), []

    @contextmanager
    def prepare(video):
        if video != files[0]:
            is_endless.set()
            try:
                while True:
                    stop_point()
                    time.sleep(0.001)
            finally:
                stopped.append(video)
        yield video

    results = encode_videos(untrained_run, files, config=replace(FP32, batch_size=1), prepare=prepare)
    assert next(results).video == files[0]
    assert is_endless.wait(10)
    results.close()
    assert stopped


def test_out_of_order_each_video_is_given_as_it_is_through(untrained_run, tmp_path):
    """The first is not begun before the second was given: in their order that would take for ever."""
    first, second = (write_video(tmp_path / f"{name}.mp4", 20) for name in "ab")
    was_given = threading.Event()

    @contextmanager
    def prepare(video):
        if video == first and not was_given.wait(30):
            raise VideoError("the second was not given")
        yield video

    config = replace(FP32, workers=2)
    for result in encode_videos(untrained_run, [first, None, second], config=config, in_order=False, prepare=prepare):
        assert result.error is None and was_given.is_set() == (result.video == first)
        was_given.set()
    (alone,) = encode_videos(untrained_run, [first], config=config)
    assert np.array_equal(result.codes.codes, alone.codes.codes)


def test_windows_are_told_as_they_are_through(untrained_run, tmp_path):
    video, told = write_video(tmp_path / "a.mp4", 250), []
    config = replace(FP32, window_seconds=3, stride_seconds=2, views=2)
    (result,) = encode_videos(untrained_run, [video], config=config, on_windows=told.extend)
    assert told == [video] * 5 and len(result.codes.codes) == 5
