"""c3dhash models: what there is, and taking a run elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import json_option, print_json, print_table
from c3dhash.errors import UsageError

MAX_WIDTH = 110
UNIT = "GFLOPs: 10^9 multiply-adds of one clip, each counted once as in papers (r3d_18 at 16x112x112 is about 40)."


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the backbones and the weights that are known for them.

    \b
    parameters  of the backbone, without the heads
    GFLOPs      10^9 multiply-adds of one default clip, each counted once, as is
                usual in this field: r3d_18 at 16x112x112 is about 40
    input       the preprocessing that it has unless weights bring their own
    weights     how many are known, and how many lie in pretrain/ or in
                torchvision's cache
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError(f"--json must stand behind {context.invoked_subcommand}, not before it.")
        return
    from c3dhash.model_list import all_backbones

    backbones = all_backbones()
    if as_json:
        print_json([facts.to_dict() for facts in backbones])
        return
    _print_backbones(backbones)
    _print_weights(backbones)


@models.command()
@click.argument("backbone", metavar="BACKBONE")
@json_option
def show(backbone: str, as_json: bool) -> None:
    """Show all that is known of one backbone."""
    from c3dhash.model_list import backbone_facts, describe_preprocessing

    facts = backbone_facts(backbone)
    if as_json:
        print_json(facts.to_dict())
        return
    steps = [
        f", {what} in steps of {step}"
        for what, step in zip(("frames", "size"), facts.clip_multiple, strict=True)
        if step > 1
    ]
    lines = [
        ("backbone", facts.name),
        ("feature", str(facts.feature_dim)),
        ("parameters", f"{facts.num_parameters:,}"),
        ("GFLOPs", f"{facts.gflops:.2f} (multiply-adds of one default clip)"),
        ("default clip", _clip(facts.clip_size)),
        ("smallest clip", _clip(facts.min_clip_size) + "".join(steps)),
        ("shortcuts", ", ".join(facts.shortcuts) or "-"),
        ("input", describe_preprocessing(facts.preprocessing)),
    ]
    for known, path in facts.weights:
        where = f"found: {path}" if path else f"from {known.source}"
        lines.append(("weights", f"{known.name}: {known.file_name}, {where}"))
        if path is None:
            advice = f"downloaded with --weights {known.name}" if known.torchvision else "put it into pretrain/"
            lines.append(("", advice))
    for title, text in lines:
        click.echo(f"{title:15}{text}")


@models.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--onnx", "path", type=click.Path(path_type=Path), required=True, metavar="FILE", help="What to write.")
@click.option("--batch-size", type=int, default=None, metavar="N", help="Clips of a batch; by default any number.")
@json_option
def export(run: Path, path: Path, batch_size: int | None, as_json: bool) -> None:
    """Write the run RUN as an ONNX file, and check it against PyTorch.

    Needs the extra `onnx`: pip install 'c3dhash[onnx]'. Sizes of clips are fixed. The preprocessing is part of the
    graph:

    \b
    clips         uint8 [N, T, H, W, 3], pixels 0-255, always RGB: T frames spread
                  evenly over at most 10 s, of each the middle square with 7/8 of
                  the short side, resized to H x W
    embedding     float32 [N, hash_length], in (-1, 1); bit = embedding > 0,
                  packed as numpy.packbits does
    class_scores  float32 [N, num_classes]; softmax makes probabilities (sigmoid
                  where a video may have several labels)

    \b
    metadata_props: backbone, clip_size, preprocessing, input, hash_length,
    fingerprint, labels, is_multi_label; what is not text is JSON.
    """
    from c3dhash.model import find_run, load_run
    from c3dhash.onnx_export import export_onnx

    report = export_onnx(load_run(find_run(run)), path, batch_size=batch_size)
    if as_json:
        print_json({**dataclasses.asdict(report), "path": str(report.path)})
        return
    shape = ", ".join(map(str, report.input_shape))
    click.echo(f"{report.path}: {report.num_bytes / 1e6:.1f} MB, opset {report.opset}, clips uint8 [{shape}]")
    for name, difference in report.differences.items():
        click.echo(f"{name}: at most {difference:.1e} from PyTorch")


def _print_backbones(backbones: list[Any]) -> None:
    from c3dhash.model_list import describe_preprocessing

    rows = []
    for facts in backbones:
        num_found = sum(path is not None for _, path in facts.weights)
        parameters = f"{facts.num_parameters / 1e6:.1f} M"
        numbers = (str(facts.feature_dim), parameters, f"{facts.gflops:.1f}", _clip(facts.clip_size))
        reads = describe_preprocessing(facts.preprocessing, with_std=False)
        rows.append((facts.name, *numbers, reads, f"{len(facts.weights)}, {num_found} found" if facts.weights else "-"))
    header = ("backbone", "feature", "parameters", "GFLOPs", "clip", "input", "weights")
    print_table(header, rows, right=(1, 2, 3, 4))
    click.echo(f"\n{UNIT}")


def _print_weights(backbones: list[Any]) -> None:
    click.echo("\nWeights, for --weights NAME; files go into pretrain/, and pretrain/README.md tells more:\n")
    rows = [
        (known.name, facts.name, known.file_name, _where(known, path))
        for facts in backbones
        for known, path in facts.weights
    ]
    print_table(("name", "backbone", "file", "where"), rows, max_width=MAX_WIDTH)


def _clip(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _where(known: Any, path: Path | None) -> str:
    if path is not None:
        return "found in pretrain/" if path.parent == Path("pretrain") else "found in torchvision's cache"
    return "downloaded when named" if known.torchvision else known.source
