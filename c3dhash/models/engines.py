"""Who computes a backbone: PyTorch, OpenVINO or onnxruntime; each maps pixels to features.

The heads are not part of it: they read the features in float32, with PyTorch, whoever made them. A fingerprint does
not name the engine, since the network is the same and so are its codes, but for one bit in a thousand.

Note [When OpenVINO pays]
    It takes some seconds to translate a network, and then saves a fifth of the time of a clip or less. So `auto` takes
    it for work of MIN_CLIPS and more, an estimate, and for networks that were seen faster with it than in PyTorch with
    folded batch norms: one thread, bf16, clips a second, 15.1 against 14.7 (tsn_efficientnet_lite0), 3.4 against 3.1
    (i3d), and in shorter runs tsn_mobilenet_v2, tsm_efficientnet_lite0 and resnet3d18, by a tenth or so.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from c3dhash.config import EncodeConfig
from c3dhash.errors import EngineError, UsageError
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.freezing import freeze_backbone
from c3dhash.models.onnx_engine import OnnxBackbone
from c3dhash.models.openvino_engine import OpenVinoBackbone
from c3dhash.models.precision import autocast, pick_device, pick_precision
from c3dhash.video.normalization import Normalizer, for_device, to_device

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
MIN_CLIPS = 200  # Note [When OpenVINO pays]
FASTER_IN_OPENVINO = frozenset((
    "i3d", "resnet3d18", "tsn_mobilenet_v2", "tsn_efficientnet_lite0", "tsm_efficientnet_lite0",
))  # fmt: skip
MIN_COSINE = 0.99  # between features of two engines; bf16 alone stays above 0.999


class TorchBackbone:
    """A backbone in PyTorch, on any device.

    Args:
        last: the stage in front of which it stops; None for all of it.
    """

    def __init__(self, backbone: Backbone, *, device: torch.device, precision: str, last: int | None = None) -> None:
        self.name = f"torch {torch.__version__.split('+')[0]}, {precision}"
        self._backbone, self._device, self._precision = backbone, device, precision
        self._normalize, self._last = Normalizer(backbone.preprocessing, device), last

    def __call__(self, clips: np.ndarray) -> Tensor:
        """Map uint8 [B, T, H, W, C] to float32 [B, feature_dim], or what stages in between give, on the device."""
        batch = to_device(for_device(clips, self._device), self._device)
        with autocast(self._device, self._precision):
            features = self._backbone.run_stages(self._normalize(batch), last=self._last)
        return features.float()


Engine = TorchBackbone | OpenVinoBackbone | OnnxBackbone


def settle_engine(config: EncodeConfig, *, backbone: str, num_clips: int) -> str:
    """Turn `auto` into the engine that is through first, and say so where there was a choice.

    Args:
        config: with engine and device.
        backbone: its name.
        num_clips: about how many are to be encoded.
    """
    if config.engine != "auto":
        return config.engine
    if pick_device(config.device) != CPU or find_spec("openvino") is None:
        return "torch"
    pays = backbone in FASTER_IN_OPENVINO and num_clips >= MIN_CLIPS
    engine = "openvino" if pays else "torch"
    logger.info("Engine: %s; --engine takes another.", engine)
    return engine


def make_engine(name: str, backbone: Backbone, *, device: str, precision: str) -> Engine:
    """Make the engine of a backbone, whose weights stay as they are from here on.

    Args:
        name: torch, openvino, or onnx.
        device, precision: as in EncodeConfig.
    Raises:
        EngineError: the engine cannot express the network, or computes something else than PyTorch.
        UsageError: an engine for a device or a precision that it does not have.
        MissingExtraError: the engine is not installed.
    """
    chosen = pick_device(device)
    if name == "torch":
        frozen = freeze_backbone(backbone.to(chosen))
        return TorchBackbone(frozen, device=chosen, precision=pick_precision(precision, chosen, encoder=frozen))
    if chosen != CPU and device != "auto":
        raise UsageError(f"engine ({name!r}) computes on the CPU, got device {device!r}: leave one of them out.")
    frozen, num_threads = freeze_backbone(backbone.to(CPU)), torch.get_num_threads()
    engine: OpenVinoBackbone | OnnxBackbone
    if name == "onnx":
        if precision == "bf16":
            raise UsageError("precision ('bf16') is for the engines torch and openvino; onnx computes in fp32.")
        engine = OnnxBackbone(frozen, num_threads=num_threads)
    else:
        engine = OpenVinoBackbone(frozen, precision=pick_precision(precision, CPU), num_threads=num_threads)
    _compare(engine, frozen)
    return engine


def _compare(engine: OnnxBackbone | OpenVinoBackbone, frozen: Backbone) -> None:
    """Raise unless an engine gives PyTorch's features, for another number of clips than it was traced on."""
    shape = (2, *frozen.clip_size, frozen.preprocessing.num_channels)
    clips = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with torch.inference_mode():
        expected = TorchBackbone(frozen, device=CPU, precision="fp32")(clips)
    cosine = float(torch.nn.functional.cosine_similarity(engine(clips), expected).min())
    if not cosine >= MIN_COSINE:
        raise EngineError(
            f"engine ({engine.name!r}) computes other features of {frozen.name} than PyTorch: cosine {cosine:.3f}, "
            f"{MIN_COSINE} is the least; use --engine torch, and report it."
        )
