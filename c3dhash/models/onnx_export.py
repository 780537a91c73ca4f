"""A run -> one ONNX file that takes pixels, checked against PyTorch.

The preprocessing is part of the graph, so that who deploys it cannot get it wrong:

    clips         uint8 [N, T, H, W, 3] (for flow 2 channels, or 2 a flow of a stack): RGB as decoded, cut and resized
                  to the run's clip size
    embedding     float32 [N, hash_length], in (-1, 1); bit = embedding > 0, packed by numpy.packbits
    class_scores  float32 [N, num_classes]; softmax (sigmoid with several labels a video) makes probabilities

Note [Pooling in ONNX]
    PyTorch's ceil_mode drops a window that would start in the padding behind the input; ONNX's keeps it in the shapes
    that it infers up to opset 21, and runtimes differ in what they compute. Adaptive average pooling to more than one
    cell does not exist in ONNX. Both are taken apart before the export into what every runtime agrees on: padding
    with minus infinity and pooling that rounds down; means of slices.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import c3dhash
from c3dhash.errors import ExportError, MissingExtraError, UsageError
from c3dhash.files import replacing
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import Run
from c3dhash.video.normalization import normalize

if TYPE_CHECKING:  # of the extra `onnx`
    import onnx_ir

INPUT = "clips"
# Largest difference that is taken for rounding, in units of the output's largest magnitude (at least 1).
MAX_DIFFERENCE = 1e-3
TRACED_BATCH = 2  # torch.export takes sizes 0 and 1 for constants
ATEN = torch.ops.aten


@dataclass(frozen=True)
class ExportReport:
    """What was written: outputs by name with their largest absolute difference from PyTorch, the opset, the size."""

    path: Path
    opset: int
    num_bytes: int
    input_shape: tuple[int | str, ...]
    differences: dict[str, float]


class _FromPixels(nn.Module):
    """A network behind its preprocessing: pixels in, a tuple of those outputs that it has."""

    def __init__(self, model: HashNet) -> None:
        super().__init__()
        self.model = model

    @property
    def output_names(self) -> list[str]:
        has = {"embedding": self.model.hash_head, "class_scores": self.model.class_head}
        return [name for name, head in has.items() if head is not None]

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Read uint8 [N, T, H, W, C]."""
        outputs = self.model(normalize(clips, self.model.preprocessing))
        return tuple(part for part in (outputs.embedding, outputs.logits) if part is not None)


def export_onnx(run: Run, path: Path | str, *, batch_size: int | None = None) -> ExportReport:
    """Write a run as ONNX, and compare what onnxruntime computes from the file with what PyTorch does.

    Args:
        run: with a hash head, a class head, or both.
        path: the file; its folder is made. It appears under its name only once it was checked.
        batch_size: N of the input, or None to take any.
    Raises:
        ExportError: the network cannot be expressed in ONNX, or the file computes something else.
        MissingExtraError: the packages of the extra `onnx` are not installed.
        UsageError: batch_size is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size ({batch_size}) must be 1 or more; leave it out to take any.")
    require_onnx()
    path = Path(path)
    network = _FromPixels(copy.deepcopy(run.model).cpu()).eval()  # the run's own may be in use, on any device
    if not network.output_names:
        raise ExportError(f"run '{run.path}' has neither a hash head nor a class head: there is nothing to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        with torch.no_grad():
            program = _translate_run(network, run, batch_size)
        program.model.metadata_props.update(_metadata(run))
        program.save(str(partial), external_data=False)
        differences = _compare(network, run, partial, batch_sizes=(batch_size,) if batch_size else (1, 3))
    shape = (batch_size or "N", *_clip_shape(run.model))
    return ExportReport(path, program.model.opset_imports[""], path.stat().st_size, shape, differences)


def require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"writing ONNX needs {error.name}, which is not installed: pip install 'c3dhash[onnx]'."
        ) from error


def _clip_shape(model: HashNet) -> tuple[int, ...]:
    return (*model.clip_size, model.preprocessing.num_channels)


def translate(
    network: nn.Module, *, clip_shape: tuple[int, ...], output_names: Sequence[str], batch_size: int | None = None
) -> torch.onnx.ONNXProgram:
    """Trace a network that reads pixels, and translate it.

    Args:
        network: uint8 [N, T, H, W, C] -> as many tensors as there are names; in evaluation mode.
        clip_shape: (T, H, W, C).
        batch_size: N, or None to take any.
    Raises:
        ExportError: it cannot be expressed in ONNX.
    """
    clips = torch.zeros((batch_size or TRACED_BATCH, *clip_shape), dtype=torch.uint8)
    try:
        traced = torch.export.export(network, (clips,), dynamic_shapes=_dynamic(batch_size, torch.export.Dim("N")))
        if any("pool3d" in str(node.target) for node in traced.graph.nodes):
            table = torch.export.default_decompositions()
            table[ATEN.max_pool3d_with_indices.default] = _max_pool_rounding_down
            table[ATEN._adaptive_avg_pool3d.default] = _means_of_slices
            traced = traced.run_decompositions(table)
        program = torch.onnx.export(
            traced, (clips,), dynamo=True, verbose=False, optimize=False,
            dynamic_shapes=_dynamic(batch_size, "N"), input_names=[INPUT], output_names=output_names,
        )  # fmt: skip
        assert program is not None
        _tidy(program.model)
        return program
    except Exception as error:  # the tracer and the translator share no error class
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise ExportError(f"{type(error).__name__}: {reason}") from error


def _translate_run(network: _FromPixels, run: Run, batch_size: int | None) -> torch.onnx.ONNXProgram:
    try:
        return translate(
            network, clip_shape=_clip_shape(run.model), output_names=network.output_names, batch_size=batch_size
        )
    except ExportError as error:
        advice = "try a fixed --batch-size, and " if batch_size is None else ""
        raise ExportError(
            f"run '{run.path}' ({run.model.backbone.name}) cannot be translated to ONNX, {error}; {advice}report it."
        ) from error


def _tidy(model: onnx_ir.Model) -> None:
    """Leave plain operators only, none of them on constants alone.

    The exporter's own `optimize` also fuses patterns of operators, as runtimes do when they load a file; on a network
    of attention that takes minutes.
    """
    import onnx_ir.passes.common as passes
    import onnxscript.optimizer

    passes.InlinePass()(model)
    onnxscript.optimizer.fold_constants(model)
    for tidy in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        tidy(model)


def _dynamic(batch_size: int | None, name: object) -> tuple[dict[int, object]] | None:
    return ({0: name},) if batch_size is None else None


def _metadata(run: Run) -> dict[str, str]:
    """Describe the file to those who deploy it; values that are no text are JSON."""
    frames, height, width = run.model.clip_size
    model, heads = run.model, {}
    what, how = "RGB also where the preprocessing, which is part of the graph, says BGR", "spread evenly over a window"
    if interval := model.preprocessing.interval_seconds:
        how = f"{interval:.6g} s apart; of several clips of a window the features are averaged, in front of the heads"
    if model.preprocessing.channels == "flow":
        what = "optical flow, -20 to 20 px a frame as 0 to 255, channels x and y"
    if (stack := model.preprocessing.stack) > 1:
        what += f" of each of the {stack} flows between {stack + 1} frames that follow each other in the video"
        how = "that is, stacks of flows, spread evenly over a window"
    if model.hash_head is not None:
        heads = {"hash_length": str(run.hash_length), "fingerprint": run.fingerprint}
    if model.class_head is not None:
        heads |= {
            "labels": json.dumps(run.labels, ensure_ascii=False),
            "is_multi_label": json.dumps(run.is_multi_label),
        }
    return {
        "producer": f"c3dhash {c3dhash.__version__}",
        "backbone": model.backbone.name,
        "clip_size": json.dumps(model.clip_size),
        "preprocessing": json.dumps(asdict(model.preprocessing)),
        "input": f"uint8 pixels 0-255 [N, {frames}, {height}, {width}, {model.preprocessing.num_channels}], {what}: of "
        f"each frame the middle square with 7/8 of the short side, resized; the frames of a clip {how}",
        "sampling": model.preprocessing.sampling,
        **heads,
    }


def _compare(network: _FromPixels, run: Run, path: Path, *, batch_sizes: Sequence[int]) -> dict[str, float]:
    """Return the largest absolute difference of each output, over random clips.

    Raises:
        ExportError: one of them is no rounding error.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng, worst = np.random.default_rng(0), dict.fromkeys(network.output_names, 0.0)
    for batch_size in batch_sizes:
        clips = rng.integers(0, 256, (batch_size, *_clip_shape(run.model)), np.uint8)
        with torch.no_grad():
            expected = network(torch.from_numpy(clips))
        for name, wanted, got in zip(worst, expected, session.run(list(worst), {INPUT: clips}), strict=True):
            wanted = wanted.numpy()
            difference = float(np.abs(wanted - got).max())
            worst[name] = max(worst[name], difference)
            if not difference <= MAX_DIFFERENCE * max(1.0, float(np.abs(wanted).max())):
                raise ExportError(
                    f"the ONNX file of run '{run.path}' ({run.model.backbone.name}) computes another {name} than "
                    f"PyTorch: largest difference {difference:.3g} over {batch_size} clips. It was not written; "
                    "report it."
                )
    return worst


def _max_pool_rounding_down(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute max_pool3d_with_indices without ceil_mode: see Note [Pooling in ONNX]. The indices are not kept.

    With a window of `span` = dilation * (kernel - 1) + 1, there are ceil((length + 2 * padding - span) / stride) + 1
    windows, less one where the last would start at or behind length + padding.
    """
    if not ceil_mode:
        return NotImplemented  # type: ignore[no-any-return]  # stays as it is
    stride, ends = stride or kernel, []
    for length, size, step, before, spread in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        span = spread * (size - 1) + 1
        last = -(-(length + 2 * before - span) // step)
        last -= last * step >= length + before
        ends.append(last * step + span - length - before)  # cells behind the input that the windows reach
    if any(end > before for end, before in zip(ends, padding, strict=True)):
        pads = [pad for before, end in zip(padding, ends, strict=True) for pad in (max(0, end), before)]
        x = F.pad(x, pads[::-1], value=float("-inf"))  # from the last axis to the first, before and behind
        padding = (0, 0, 0)
    pooled: tuple[Tensor, Tensor] = ATEN.max_pool3d_with_indices(x, kernel, stride, padding, dilation, False)
    return pooled


def _means_of_slices(x: Tensor, cells: Sequence[int]) -> Tensor:
    """Compute adaptive_avg_pool3d, [N, C, T, H, W] -> [N, C, *cells]: see Note [Pooling in ONNX].

    Cell i of n is the mean over floor(i * length / n) to ceil((i + 1) * length / n), one axis after the other.
    """
    for axis, num_cells in zip((2, 3, 4), cells, strict=True):
        length = x.shape[axis]
        if length != num_cells:
            bounds = [(i * length // num_cells, -(-(i + 1) * length // num_cells)) for i in range(num_cells)]
            x = torch.cat([x.narrow(axis, start, end - start).mean(axis, keepdim=True) for start, end in bounds], axis)
    return x
