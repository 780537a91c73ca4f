"""Ask I3D what a clip shows, by its RGB stream, its flow stream, or both, and print what the authors' demo prints.

    python scripts/i3d_two_stream.py --rgb v_CricketShot_g04_c01_rgb.npy --flow v_CricketShot_g04_c01_flow.npy \
        --flow-weights flow_imagenet.pt --labels label_map.txt
    python scripts/i3d_two_stream.py --video cricket.mp4 --no-flow

The sample that the authors publish beside their code (github.com/google-deepmind/kinetics-i3d) is two arrays, [1, 79,
224, 224, 3 or 2], from -1 to 1. The logits of the streams are added; printed are the norm of the sum and the 20 most
probable classes, each with probability, logit and name. The original says of its own sample, with its own weights of
ImageNet and Kinetics-400, in both streams: norm 138.468643, and first "playing cricket", whose logit is 41.813675.

Of a video, the arrays are made as the authors describe: frames at 25 a second, the short side at 256 px, the middle 224
px, and flow between them cut off at 20 px a frame (by DIS here, by TV-L1 there).
"""

from __future__ import annotations

import logging
from pathlib import Path

import click
import numpy as np
import torch

from c3dhash.errors import C3DHashError, CheckpointError, UsageError
from c3dhash.models.hashnet import HashNet
from c3dhash.models.published import published_run
from c3dhash.models.scores import class_probabilities
from c3dhash.video.optical_flow import flow_of
from c3dhash.video.reader import probe, read_clip
from c3dhash.video.transforms import center_clip

FRAME_RATE, SHORT_SIDE_PX, SIZE_PX = 25, 256, 224
NUM_SHOWN = 20


def load_clip(path: Path, *, num_channels: int) -> np.ndarray:
    """Read a clip that is ready for a network: float32 [1, T, H, W, num_channels], from -1 to 1.

    Raises:
        UsageError: it is no such array.
    """
    try:
        clip = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"'{path}' is no array that NumPy can read ({error}).") from error
    if not isinstance(clip, np.ndarray) or clip.ndim != 5 or clip.shape[0] != 1 or clip.shape[4] != num_channels:
        raise UsageError(f"'{path}' must be one clip [1, T, H, W, {num_channels}], is {list(np.shape(clip))}.")
    if not np.issubdtype(clip.dtype, np.floating) or not np.abs(clip).max(initial=0) <= 1.001:
        raise UsageError(f"'{path}' must hold numbers from -1 to 1 ({clip.dtype} here).")
    return clip.astype(np.float32)


def clips_of_video(path: Path, *, has_flow: bool) -> dict[str, np.ndarray]:
    """Make the arrays of all of a video: "rgb" float32 [1, T, 224, 224, 3], and "flow" [1, T, 224, 224, 2]."""
    num_frames = max(9, int(probe(path).duration_seconds * FRAME_RATE))
    clip = read_clip(path, num_frames=num_frames + 1, short_side=SHORT_SIDE_PX)
    clips = {"rgb": center_clip(clip.frames[:-1], size=SIZE_PX)}
    if has_flow:
        clips["flow"] = center_clip(flow_of(clip.frames), size=SIZE_PX)
    return {name: frames[None].astype(np.float32) / 127.5 - 1 for name, frames in clips.items()}


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the names of 400 classes, one a line."""
    labels = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(labels) != 400:
        raise UsageError(f"'{path}' must have 400 names, a line each; it has {len(labels)}.")
    return labels


def load_network(backbone: str, weights: str) -> tuple[HashNet, tuple[str, ...]]:
    """Load a stream with its class head, and the names of its classes.

    Raises:
        CheckpointError: the weights are not found, or have no class head.
    """
    run = published_run(backbone, weights)
    if len(run.labels) != 400:
        raise CheckpointError(f"weights '{weights}' tell {len(run.labels)} classes apart, and not Kinetics' 400.")
    return run.model, run.labels


@torch.inference_mode()
def logits_of(network: HashNet, clip: np.ndarray) -> np.ndarray:
    """Return the logits of a clip, float32 [T, H, W, C] from -1 to 1 with an axis of 1 in front: float64 [400]."""
    outputs = network(torch.from_numpy(clip).permute(0, 4, 1, 2, 3))
    assert outputs.logits is not None
    return outputs.logits[0].double().numpy()


def table(logits: np.ndarray, labels: tuple[str, ...] | list[str]) -> str:
    """Return what is printed: the norm, and the most probable classes."""
    probabilities = class_probabilities(logits[None], is_multi_label=False)[0]
    rows = [f"Norm of logits: {np.linalg.norm(logits):f}", "", "Top classes and probabilities"]
    order = np.argsort(-logits, kind="stable")[:NUM_SHOWN]
    rows += [f"{probabilities[index]:.6g} {logits[index]:.6g} {labels[index]}" for index in order]
    return "\n".join(rows)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--rgb", "rgb_path", type=click.Path(path_type=Path), default=None, help="Array of the RGB stream (.npy)."
)
@click.option("--flow", "flow_path", type=click.Path(path_type=Path), default=None, help="Array of the flow stream.")
@click.option("--video", type=click.Path(path_type=Path), default=None, help="In the place of arrays, a video.")
@click.option("--no-flow", is_flag=True, help="Of the video, the RGB stream alone.")
@click.option("--rgb-weights", default="kinetics400", show_default=True, metavar="NAME|FILE", help="Of `i3d`.")
@click.option("--flow-weights", default="kinetics400", show_default=True, metavar="NAME|FILE", help="Of `i3d_flow`.")
@click.option("--labels", "labels_path", type=click.Path(path_type=Path), default=None,
              help="Names of the classes, one a line; by default those of Kinetics-400.")  # fmt: skip
def main(
    rgb_path: Path | None, flow_path: Path | None, video: Path | None, no_flow: bool, rgb_weights: str,
    flow_weights: str, labels_path: Path | None,
) -> None:  # fmt: skip
    """Print the norm of the summed logits and the 20 most probable classes."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if video is not None and (rgb_path or flow_path):
        raise UsageError("--video takes the place of --rgb and --flow: give one of the two.")
    if no_flow and video is None:
        raise UsageError("--no-flow goes with --video; of arrays, leave out --flow.")
    clips: dict[str, np.ndarray] = {}
    if video is not None:
        clips = clips_of_video(video, has_flow=not no_flow)
    for name, path, num_channels in (("rgb", rgb_path, 3), ("flow", flow_path, 2)):
        if path is not None:
            clips[name] = load_clip(path, num_channels=num_channels)
    if not clips:
        raise UsageError("nothing to look at: give --rgb FILE.npy, --flow FILE.npy, both, or --video FILE.")
    labels = read_labels(labels_path) if labels_path is not None else ()
    total = np.zeros(400)
    for name, backbone, weights in (("rgb", "i3d", rgb_weights), ("flow", "i3d_flow", flow_weights)):
        if name in clips:
            network, known = load_network(backbone, weights)
            labels = labels or known
            total += logits_of(network, clips[name])
    click.echo(table(total, labels))


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except (C3DHashError, OSError) as error:
        raise SystemExit(f"i3d_two_stream.py: {error}") from error
