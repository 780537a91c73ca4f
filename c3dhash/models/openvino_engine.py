"""OpenVINO computes a backbone on the CPU: pixels in, features out.

Note [OpenVINO without its telemetry]
    `import openvino` reports each import to its makers through the package openvino_telemetry, and leaves an identifier
    in the user's home, unless the user has opted out. OpenVINO does without that package where it is not installed,
    so it is imported as if it were not.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from c3dhash.errors import EngineError, MissingExtraError
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.freezing import FromPixels

HINTS = {"bf16": "bf16", "fp32": "f32"}


def import_openvino() -> Any:
    """Import OpenVINO: see Note [OpenVINO without its telemetry].

    Raises:
        MissingExtraError: it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            "engine ('openvino') needs OpenVINO, which is not installed: pip install 'c3dhash[openvino]', or leave "
            "--engine out."
        ) from error
    return openvino


class OpenVinoBackbone:
    """A backbone in OpenVINO, for batches of any size.

    Args:
        frozen: from `freeze_backbone`, on the CPU.
        precision: bf16 or fp32.
        num_threads: as many as the CPU's cores by default.
    Raises:
        EngineError: OpenVINO cannot express the network.
        MissingExtraError: it is not installed.
    """

    def __init__(self, frozen: Backbone, *, precision: str, num_threads: int = 0) -> None:
        openvino = import_openvino()
        self.name = f"openvino {openvino.__version__.split('-')[0]}, {precision}"
        hints = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",  # all threads on one batch
            "INFERENCE_NUM_THREADS": num_threads,
        }
        try:
            compiled = openvino.Core().compile_model(_translate(openvino, frozen), "CPU", hints)
        except Exception as error:  # its front end and its plug-ins share no error class
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
            raise EngineError(
                f"engine ('openvino') cannot compute {frozen.name}: {reason}; use --engine torch."
            ) from error
        self._request = compiled.create_infer_request()

    def __call__(self, clips: np.ndarray) -> torch.Tensor:
        """Map uint8 [B, T, H, W, C] to float32 [B, feature_dim]."""
        (features,) = self._request.infer({0: np.ascontiguousarray(clips)}).values()
        return torch.from_numpy(features)


def _translate(openvino: Any, frozen: Backbone) -> Any:
    """Trace the network on one clip, and let OpenVINO read the trace: seconds, where torch.export takes ten of them."""
    shape = (*frozen.clip_size, frozen.preprocessing.num_channels)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it says that it is old, and which shapes it takes for constants
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            FromPixels(frozen), (torch.zeros((1, *shape), dtype=torch.uint8),), check_trace=False
        )
        with _logging_as_it_is():
            return openvino.convert_model(traced, input=[openvino.PartialShape([-1, *shape])])


@contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Undo what OpenVINO's converter does to the root logger: it lets errors through only, for all of the program."""
    root = logging.getLogger()
    level, filters = root.level, root.filters[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:] = filters
