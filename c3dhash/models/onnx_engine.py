"""onnxruntime computes a backbone on the CPU, in fp32: pixels in, features out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from c3dhash.errors import EngineError, ExportError
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.freezing import FromPixels
from c3dhash.models.onnx_export import INPUT, require_onnx, translate


class OnnxBackbone:
    """A backbone in onnxruntime, for batches of any size.

    Args:
        frozen: from `freeze_backbone`, on the CPU.
        num_threads: as many as the CPU's cores by default.
    Raises:
        EngineError: the network cannot be expressed in ONNX.
        MissingExtraError: the packages of the extra `onnx` are not installed.
    """

    def __init__(self, frozen: Backbone, *, num_threads: int = 0) -> None:
        require_onnx()
        import onnxruntime

        self.name = f"onnxruntime {onnxruntime.__version__}, fp32"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        shape = (*frozen.clip_size, frozen.preprocessing.num_channels)
        try:
            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                path = Path(folder) / "backbone.onnx"
                program = translate(FromPixels(frozen), clip_shape=shape, output_names=["features"])
                program.save(str(path), external_data=False)
                self._session = onnxruntime.InferenceSession(
                    str(path), sess_options=options, providers=["CPUExecutionProvider"]
                )
        except ExportError as error:
            raise EngineError(f"engine ('onnx') cannot compute {frozen.name}: {error}; use --engine torch.") from error

    def __call__(self, clips: np.ndarray) -> torch.Tensor:
        """Map uint8 [B, T, H, W, C] to float32 [B, feature_dim]."""
        (features,) = self._session.run(None, {INPUT: clips})
        return torch.from_numpy(features)
