"""Every default of c3dhash, with its help text and what is allowed.

The command line makes its options from these fields (`--hash-length` is `hash_length`), so that a default
stands in one place. A config cannot exist with a value that is not allowed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from c3dhash.bits import MAX_HASH_LENGTH
from c3dhash.errors import UsageError

TASKS = ("joint", "hash", "classify")
PRECISIONS = ("auto", "bf16", "fp32")
HASHES = ("itq", "lsh")
SIGN = "sign"  # also a way to make bits, of features whose first entries say most
WITHOUT_WEIGHTS = ("phash",)  # backbones that need none
ENGINES = ("auto", "torch", "openvino", "onnx")
FUSION = "With --runs, how class scores are joined: sum, mean, or two weights, as 1,0.5."
INDEX_KINDS = ("auto", "exact", "ivf", "hnsw", "multihash")
CLUSTER_INDEXES = ("flat", "ivf")  # of a gallery in Milvus
HOG = "hog"
TORCHVISION_DETECTORS = (  # of people, the best first
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "ssdlite320_mobilenet_v3_large",
)
CROPS = ("scale", "fixed", "resized")
MAX_VIEWS = 4  # of a clip that is encoded: `clip_views`
MIN_TOKEN_LENGTH = 16  # of a server
WHOLE, REAL = ("int", "int | None"), ("float", "float | None")  # what stands behind the name of a field


def default_workers() -> int:
    """Return how many threads decode: one for each core that this process may use, from 2 to 16.

    Two even on one core: one decodes while the other waits for a disk. No more than 16: each may have a process and
    some clips in memory, and what they decode together is more than one network takes.
    """
    if hasattr(os, "process_cpu_count"):  # from Python 3.13
        num_cores = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):  # Linux
        num_cores = len(os.sched_getaffinity(0))
    else:
        num_cores = os.cpu_count()
    return min(max(num_cores or 1, 2), 16)


def cache_home() -> Path:
    """Return the folder for what can be made or fetched again (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


WORKERS = default_workers()


def setting(
    default: Any, help: str, *, choices: tuple[str, ...] = (), low: float | None = None, high: float | None = None
) -> Any:
    """Declare a field: its default, its help text, and the values it may have (None is always allowed where
    it is the default)."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


def parse_epochs(text: str | None) -> tuple[int, ...]:
    """Read `step_epochs`: "20,40" -> (20, 40); None -> ().

    Raises:
        UsageError: not rising whole numbers above 0.
    """
    try:
        epochs = tuple(int(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        epochs = (0,)
    if epochs != tuple(sorted({epoch for epoch in epochs if epoch > 0})):
        raise UsageError(f"step_epochs ({text!r}) must be rising whole numbers above 0, with commas: 20,40.")
    return epochs


def check_settings(config: Any) -> None:
    """Raise a UsageError that names the first field of a config whose value is not allowed."""
    for item in dataclasses.fields(config):
        value, rule = getattr(config, item.name), item.metadata
        if value is None and item.default is None:
            continue
        if item.type in WHOLE and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise UsageError(f"{item.name} ({value!r}) must be a whole number.")
        if item.type in REAL and (not isinstance(value, Real) or isinstance(value, bool)):
            raise UsageError(f"{item.name} ({value!r}) must be a number.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{item.name} ({value}) must be a finite number.")
        low, high, choices = rule.get("low"), rule.get("high"), rule.get("choices")
        if choices and value not in choices:
            raise UsageError(f"{item.name} ({value!r}) must be one of {', '.join(map(str, choices))}.")
        if (low is not None and value < low) or (high is not None and value > high):
            limits = f"between {low:g} and {high:g}" if high is not None else f"{low:g} or more"
            advice = f"; the default is {item.default}" if item.default is not None else ""
            raise UsageError(f"{item.name} ({value}) must be {limits}{advice}.")


@dataclass(frozen=True)
class ModelConfig:
    """What a network is made of; enough to build it again for its weights."""

    backbone: str = setting("resnet3d18", "Architecture; `c3dhash models` lists them.")
    shortcut: str | None = setting(
        None, "Shortcut type of a 3D ResNet; by default B, or what the weights have.", choices=("A", "B")
    )
    num_frames: int | None = setting(None, "Frames of a clip; by default the backbone's.", low=1, high=1024)
    size: int | None = setting(
        None, "Height and width of a clip in pixels; by default the backbone's.", low=8, high=1024
    )
    hash_length: int = setting(48, "Bits of a code.", low=1, high=MAX_HASH_LENGTH)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class TrainConfig(ModelConfig):
    """Everything that decides what a training run gives."""

    task: str = setting("joint", "Train both heads, the hash head alone, or the class head alone.", choices=TASKS)
    weights: str | None = setting(
        None,
        "Weights to start from: a name (`c3dhash models` lists them), a file, or none for random ones; by default "
        "a known file in pretrain/, else random.",
    )
    init: str = setting(
        "random",
        "What the hash head starts from: random weights, or a code without training on the backbone's features.",
        choices=("random", *HASHES),
    )
    freeze: bool = setting(
        False, "Train the heads only, in seconds, on features of the backbone that are computed once."
    )
    freeze_stages: int | None = setting(
        None,
        "Leave so many stages of the backbone as the weights have them, compute once what they give, and train the "
        "rest; by default, with weights on a CPU, all but the last of networks that see motion, all of others, else "
        "none.",
        low=0,
        high=100,
    )
    freeze_bn: bool | None = setting(
        None,
        "Keep the statistics of batch norms as the weights have them; by default with weights, unless whole clips are "
        "trained on in batches of 64 or more.",
    )
    sync_bn: bool = setting(
        False,
        "Of several processes (torchrun), let batch norms take the statistics of the whole batch; by default each "
        "takes those of its own clips.",
    )
    views: int | None = setting(
        None,
        "Views of each training video, beside what it is indexed by, where stages are frozen: of whole pictures, "
        "which training sees windows of, by default 3; with --freeze, augmented clips, by default none.",
        low=0,
        high=1000,
    )
    margin: float | None = setting(
        None, "Triplet margin; by default a bit above hash_length / 4 (48 -> 14, 64 -> 20).", low=0
    )
    triplet_reduction: str = setting(
        "all", "Average the hinge over all triplets, or over the active ones.", choices=("all", "active")
    )
    center_weight: float | None = setting(
        None,
        "Weight of the central similarity loss, which draws the codes of a class to a centre of its own, beside the "
        "triplet loss, whose weight is 1; by default 1 with weights, else 0.",
        low=0,
    )
    class_weight: float = setting(
        0.6, "Weight of the cross-entropy of the class head, beside the triplet loss, whose weight is 1.", low=0
    )
    label_smoothing: float | None = setting(
        None, "Share of a label that is spread over all classes; by default 0.1 with weights, else 0.", low=0, high=0.9
    )
    dropout: float | None = setting(
        None, "Share of a feature that the heads do not see in training; by default 0.5 with weights, else 0.",
        low=0, high=0.95,
    )  # fmt: skip
    epochs: int | None = setting(
        None, "Passes over the training videos; by default 100 where stages are frozen, else 30.",
        low=1,
    )  # fmt: skip
    classes_per_batch: int | None = setting(
        None, "P of the P x K batches; by default 32 where stages are frozen, else 8.", low=1
    )
    clips_per_class: int | None = setting(
        None, "K of the P x K batches; by default 8 where stages are frozen, else 4.", low=1
    )
    optimizer: str | None = setting(
        None, "Optimizer; by default adamw where stages are frozen, else sgd.", choices=("sgd", "adamw")
    )
    learning_rate: float | None = setting(
        None,
        "Peak learning rate; by default 0.07 with sgd, 0.001 with adamw, a fifth of it to fine-tune a whole backbone "
        "with weights; where stages are frozen 0.01.",
        low=0,
    )
    rate_batch: int | None = setting(
        None,
        "The learning rate is one for batches of so many clips, and is scaled linearly to those of this training; by "
        "default it is taken as it is.",
        low=1,
    )
    backbone_rate: float | None = setting(
        None,
        "Share of the learning rate that the backbone has, where the heads have all of it; by default 1, behind frozen "
        "stages 0.1.",
        low=0,
    )
    layer_decay: float | None = setting(
        None,
        "Each stage of the backbone has this share of the rate of the stage behind it; by default all have the same.",
        low=0.01,
        high=1,
    )
    momentum: float = setting(0.9, "Momentum of sgd, Nesterov's.", low=0, high=1)
    weight_decay: float | None = setting(
        None,
        "Weight decay of linear layers and convolutions (not of biases, normalisation, layer scales, position tables); "
        "by default 0.0005 (sgd), 0.05 (adamw), 1 where stages are frozen, of which the stages that are trained have a "
        "twentieth, and 30 for heads alone on tsn_* and tsm_*.",
        low=0,
    )
    warmup_epochs: float = setting(1.0, "Epochs over which the learning rate rises linearly.", low=0)
    schedule: str | None = setting(
        None,
        "Learning rate after the warm-up: cosine to zero, or step, a tenth at 60 % and at 85 %, or where --step-epochs "
        "or --step-every say; by default step where they are given, else cosine.",
        choices=("cosine", "step"),
    )
    step_epochs: str | None = setting(
        None, "Epochs after which the learning rate goes to a tenth, with commas between them: 20,40."
    )
    step_every: int | None = setting(None, "The learning rate goes to a tenth every so many epochs.", low=1)
    gradient_clip: float = setting(5.0, "Largest norm of the gradient; 0 clips nothing.", low=0)
    ema: float = setting(
        0.0,
        "Keep a moving average of the weights that keeps X of itself in each step, as 0.999, and validate and save "
        "that; 0 is off.",
        low=0,
        high=0.999999,
    )
    micro_batch: int | None = setting(
        None,
        "Most clips that the backbone reads at once in training; the gradient is that of the whole batch, for one more "
        "pass forward. (Batch norms that take statistics of a batch take those of these clips.) By default what fits "
        "into memory, or the batch where batch norms take its statistics.",
        low=1,
    )
    sampling: str = setting(
        "classes",
        "Deal batches of P classes x K clips, which sees classes equally often, or of P x K videos at random, which "
        "sees videos equally often.",
        choices=("classes", "videos"),
    )
    class_weights: bool = setting(
        False,
        "Weigh classes in the cross-entropy by the inverse of how many training videos they have; for --sampling "
        "videos.",
    )
    crop: str = setting(
        "scale",
        "What a training clip shows, at a random place: scale, a square of random side; fixed, one of 7/8 of the short"
        " side, as C3D was trained (128 x 171 to 112); resized, a part of random area and aspect, made square.",
        choices=CROPS,
    )
    min_crop_scale: float | None = setting(
        None,
        "Smallest side of such a square, as a share of the short side, by default 0.7; with --crop resized the root of"
        " the smallest share of the area. Behind frozen stages, windows are such shares of pictures.",
        low=0.1,
        high=1,
    )
    flip: bool | None = setting(
        None,
        "Mirror half of the training clips, each as a whole; by default unless the name of a class says left, right or "
        "clockwise.",
    )
    rotation: float = setting(0.0, "Turn training clips by up to so many degrees, each as a whole.", low=0, high=180)
    color_jitter: float = setting(
        0.0,
        "Change brightness, contrast and saturation of training clips by up to this share, and hue by a quarter of it, "
        "each clip as a whole; 0.4 is usual.",
        low=0,
        high=1,
    )
    rand_augment: int = setting(
        0,
        "Change training clips in two of RandAugment's 14 ways, drawn anew for each, with this magnitude of 30; 9 is "
        "usual, 0 is off.",
        low=0,
        high=30,
    )
    mixup: float = setting(
        0.0,
        "Mix clips of a batch in pairs, and their labels, by shares of a beta distribution with this parameter; 0.2 is "
        "usual, 0 is off. Triplets count the label of the larger share.",
        low=0,
        high=100,
    )
    cutmix: float = setting(
        0.0,
        "Put a part of another clip of the batch into each, and mix their labels by area; as --mixup, and with both, "
        "each batch has one of them.",
        low=0,
        high=100,
    )
    val_share: float = setting(
        0.15,
        "Share of the training groups kept for validation where the data set has no val split; 0 trains on all and "
        "keeps the last epoch.",
        low=0,
        high=0.9,
    )
    refit: bool | None = setting(
        None,
        "When it is known how good the codes are on the videos kept for validation, begin again and train on these, "
        "too; the last epoch is kept. By default where stages are frozen and the val videos are a share of the "
        "training groups.",
    )
    precision: str = setting(
        "auto", "bf16 autocast, or fp32; auto takes bf16 where the device computes in it.", choices=PRECISIONS
    )
    device: str = setting("auto", "cpu, cuda, cuda:N, mps; auto takes CUDA where it is there.")
    workers: int = setting(
        WORKERS, "Threads that decode and augment clips; by default one a core, 2 to 16.", low=1, high=256
    )
    deterministic: bool = setting(
        False, "On CUDA, compute the same numbers each time, at the cost of speed; a CPU always does."
    )
    seed: int = setting(0, "Seed of everything random.", low=0)
    split: int = setting(1, "Which of a data set's official splits (1-3).", low=1, high=99)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("classes_per_batch", "clips_per_class"):
            if self.has_hash_head and getattr(self, name) in (0, 1):
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must be 2 or more: a batch needs positives and negatives."
                )
        if self.init != "random" and not self.has_hash_head:
            raise UsageError(f"init ({self.init!r}) is for a hash head, and --task classify has none: leave it out.")
        if self.schedule == "cosine" and (self.step_epochs or self.step_every):
            raise UsageError("schedule (cosine) has no steps: leave out --step-epochs and --step-every, or --schedule.")
        if self.step_epochs and self.step_every:
            raise UsageError("step_epochs and step_every say when the learning rate falls: give one of them.")
        parse_epochs(self.step_epochs)
        if self.crop == "fixed" and self.min_crop_scale is not None:
            raise UsageError(f"min_crop_scale ({self.min_crop_scale}) is for crops of random size, not --crop fixed.")
        if self.class_weights and not self.has_class_head:
            raise UsageError("class_weights are for a class head, and --task hash has none: leave them out.")
        if self.sync_bn and self.micro_batch:
            raise UsageError("sync_bn is of whole batches: leave out --sync-bn or --micro-batch.")
        if self.freeze and self.freeze_stages == 0:
            raise UsageError("freeze_stages (0) trains the whole backbone, and freeze nothing of it: give one of them.")

    @property
    def has_hash_head(self) -> bool:
        return self.task != "classify"

    @property
    def has_class_head(self) -> bool:
        return self.task != "hash"


@dataclass(frozen=True)
class HashConfig(ModelConfig):
    """A network whose codes need no training: a backbone with published weights, and how its features are hashed."""

    backbone: str | None = setting(  # type: ignore[assignment]  # None: no such codes are asked for
        None, "Make codes without training from the features of this architecture; `c3dhash models` lists them."
    )
    weights: str | None = setting(
        None, "Weights of that backbone: a name (`c3dhash models` lists them) or a file; needed with --backbone."
    )
    hash: str = setting(
        "auto",
        "Bits from features: itq is fitted to those of these videos, lsh is drawn at random around their mean, sign "
        "takes the first features themselves; auto takes sign for phash, else itq where clips are more than bits.",
        choices=("auto", *HASHES, SIGN),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backbone in WITHOUT_WEIGHTS and self.weights is not None:
            raise UsageError(f"weights ({self.weights}) are not for {self.backbone}, which has none: leave them out.")
        if self.backbone not in (None, *WITHOUT_WEIGHTS) and self.weights in (None, "none"):
            raise UsageError(
                f"weights ({self.weights}) of --backbone {self.backbone} would be random, and such codes say little: "
                f"give --weights NAME or FILE; `c3dhash models show {self.backbone}` lists what is known."
            )


@dataclass(frozen=True)
class EncodeConfig:
    """How videos become codes."""

    window_seconds: float | None = setting(
        10.0, "Videos longer than this are cut into windows of this length; 0 makes one clip of any video.", low=0
    )
    stride_seconds: float | None = setting(
        None, "Seconds from window to window; by default the window's length.", low=0.01
    )
    clips_per_window: int | None = setting(
        None,
        "Clips of a window that the network sees, where its weights were trained on frames at a fixed interval; the "
        "code is made of their mean. By default 1 to 3, by the length of the window.",
        low=1,
        high=1000,
    )
    views: int = setting(
        1,
        "Views of each clip that the network sees, whose mean counts: its middle, the mirror image, the largest "
        "square, and its mirror image.",
        low=1,
        high=MAX_VIEWS,
    )
    crop_bars: bool | None = setting(
        None,
        "Cut off black bars that were burnt into the picture, above and below or at the sides; by default of a new "
        "gallery, and else as the gallery has it.",
    )
    batch_size: int = setting(16, "Clips that go through the network together.", low=1)
    precision: str = setting(
        "auto", "bf16 autocast, or fp32; auto takes bf16 where the device computes in it.", choices=PRECISIONS
    )
    device: str = setting("auto", "cpu, cuda, cuda:N, mps; auto takes CUDA where it is there.")
    engine: str = setting(
        "auto",
        "What computes the network: PyTorch, or on a CPU OpenVINO or onnxruntime; auto takes OpenVINO where it is "
        "installed, faster, and there is enough to do.",
        choices=ENGINES,
    )
    workers: int = setting(WORKERS, "Threads that decode videos; by default one a core, 2 to 16.", low=1, high=256)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.stride_seconds is not None and not self.window_seconds:
            raise UsageError(f"stride_seconds ({self.stride_seconds}) needs window_seconds above 0.")

    @property
    def crops_bars(self) -> bool:
        return self.crop_bars is not False


@dataclass(frozen=True)
class IndexConfig:
    """What becomes of videos whose files are missing, of a second writer, and what searches the codes."""

    prune: bool = setting(
        False, "Drop the videos of these places whose files are missing, instead of keeping them aside."
    )
    prune_vanished: bool = setting(
        False, "With --prune, drop them also where a place is gone or empty as a whole, as where a disk is not mounted."
    )
    wait_seconds: float | None = setting(
        None, "How long to wait for another process that writes the gallery; by default until it is done.", low=0
    )
    kind: str | None = setting(
        None,
        "What searches the codes from now on: all of them (exact), or an index of FAISS that looks at some (ivf; "
        "hnsw, some 150 bytes a code in memory; multihash), whose recall is measured; auto is exact up to 0.1 s a "
        "query on this gallery, then ivf. By default as the gallery is, a new one auto.",
        choices=INDEX_KINDS,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.prune_vanished and not self.prune:
            raise UsageError(f"prune_vanished ({self.prune_vanished}) goes with --prune: give both, or leave it out.")


@dataclass(frozen=True)
class CacheConfig:
    """Where the frames of a data set are kept, and how many."""

    cache: Path | None = setting(
        None, "Folder for decoded frames; c3dhash/frames in $XDG_CACHE_HOME, or in ~/.cache, where it is not given."
    )
    cache_gib: float = setting(20.0, "Largest size of that folder in GiB; 0 keeps nothing.", low=0)
    cache_quality: int = setting(85, "JPEG quality of the frames in it; 100 loses nothing (PNG).", low=1, high=100)

    @property
    def directory(self) -> Path:
        return self.cache or cache_home() / "c3dhash" / "frames"

    @property
    def max_bytes(self) -> int:
        return int(self.cache_gib * 2**30)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated, and which metrics are reported."""

    task: str | None = setting(
        None,
        "joint searches by codes and scores classes beside it, classify looks at the classes alone, one by one; by "
        "default joint where the run makes codes.",
        choices=("joint", "classify"),
    )
    average: str = setting(
        "features",
        "With --task classify, what is averaged over the clips and views of a video: the features (before the "
        "softmax), or the probabilities (after it).",
        choices=("features", "probabilities"),
    )
    fuse: str = setting("sum", FUSION)
    crops: int = setting(
        1, "1 shows the network the middle of each clip; 3 its whole, by three squares along the longer side.",
        low=1, high=3,
    )  # fmt: skip
    k: int = setting(100, "Depth of mAP@k and precision@k.", low=1)
    radius: int = setting(
        2, "Hamming radius of precision, recall and empty rate, in bits.", low=0, high=MAX_HASH_LENGTH
    )
    compare: bool = setting(True, "Also score the features themselves, and codes made of them without training.")
    calibrate: bool = setting(
        False,
        "Keep with the run what its distances mean on this data set: how many pairs at each are of one class. `query` "
        "tells it of each hit; training measures it on the val videos.",
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class RecognizeConfig:
    """What is said of a video."""

    top: int = setting(5, "Most probable classes to show for each video.", low=1, high=10_000)
    over_time: bool = setting(
        False,
        "Also say what is seen when: a window as long as a clip (two seconds, where frames are spread over what they "
        "show) slides over the video by half its length; --window-seconds and --stride-seconds choose others.",
    )
    smooth: int = setting(
        4, "With --over-time, probabilities are averaged over the last so many windows; 1 is off.", low=1, high=10_000
    )
    fuse: str = setting("sum", FUSION)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class PeopleConfig:
    """How people are found in a video."""

    people: bool = setting(False, "Find the people in the videos, and say what each of them does.")
    detector: str = setting(
        "auto",
        "With --people, what finds them: hog needs nothing; the others are torchvision's, with its weights of COCO, "
        "which are fetched; auto takes the first of these whose weights are there, else hog.",
        choices=("auto", HOG, *TORCHVISION_DETECTORS),
    )
    every_seconds: float = setting(
        0.25, "With --people, from one picture in which they are looked for to the next.", low=0.01, high=10
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class QueryConfig:
    """How many hits a query gives, and how far they may be."""

    top: int = setting(10, "Videos to show.", low=1, high=10_000)
    radius: int | None = setting(
        None, "Leave out videos whose distance is larger, in bits; by default none.", low=0, high=MAX_HASH_LENGTH
    )
    mirror: bool = setting(
        False, "Also search with the mirror image of VIDEO; what is said of a video found is of the better one."
    )
    any_speed: bool = setting(
        False, "Also find what VIDEO shows slower or faster, 0.8 to 1.25 times, and tell by how much; takes longer."
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class DuplicatesConfig:
    """What counts as the same, and which videos are kept in any case."""

    radius: int | None = setting(
        None,
        "Take videos for the same whose nearest clips are within this distance, in bits, in the place of what chance "
        "does not explain; for galleries of one window a video.",
        low=0,
        high=MAX_HASH_LENGTH,
    )
    reference: str | None = setting(
        None, "A folder of videos to keep: each is the best of its group, and two of them are no match."
    )
    mirror: bool = setting(
        False, "Also find mirrored copies, in galleries of phash; the codes tell them, and no video is read again."
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class ServeConfig:
    """Where a gallery is served, to whom, and how much is taken from whom."""

    host: str = setting(
        "127.0.0.1", "Address to listen on; any but this machine's own (127.0.0.1, ::1, localhost) needs --token."
    )
    port: int = setting(8000, "Port to listen on; 0 takes a free one.", low=0, high=65_535)
    token: str | None = setting(
        None,
        f"Who does not bring this, of {MIN_TOKEN_LENGTH} characters or more, is refused; C3DHASH_TOKEN says the same, "
        "and is in no list of processes.",
    )
    names: str | None = setting(
        None, "More names by which browsers call this server, with commas between them, as that of a reverse proxy."
    )
    max_upload_mb: int = setting(512, "Largest file that is taken, in MB.", low=1, high=1_000_000)
    max_seconds: float = setting(3600.0, "Longest video that is taken, in seconds.", low=1)
    max_megapixels: float = setting(
        40.0, "Largest pictures that are taken, in millions of pixels; 8K has 33.", low=0.01, high=1000
    )
    max_uploads: int = setting(
        16, "Uploads that are received, wait or are encoded at a time; who comes then is told to come later.",
        low=1, high=1000,
    )  # fmt: skip
    max_queries: int = setting(
        100, "Uploads whose codes are remembered, to be searched with again; files are not kept.", low=1, high=100_000
    )
    grace_seconds: float = setting(10.0, "How long what is under way may take when the server is ended.", low=0)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.token is not None and len(self.token) < MIN_TOKEN_LENGTH:
            raise UsageError(
                f"token ({len(self.token)} characters) must have {MIN_TOKEN_LENGTH} or more; this makes one: "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise UsageError("token must be of letters, digits and signs without blanks, as HTTP has it in a header.")
        if self.token is None and not self.is_local:
            raise UsageError(
                f"host ({self.host}) can be reached from other machines, so that --token is needed, with a secret of "
                f"{MIN_TOKEN_LENGTH} characters or more (or C3DHASH_TOKEN); or take the host 127.0.0.1."
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        import ipaddress

        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
