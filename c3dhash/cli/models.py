"""c3dhash models."""

from __future__ import annotations

from pathlib import Path

import click

from c3dhash.cli.common import json_option, print_json, print_table


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the backbones, what each reads, and which weights are known and found in pretrain/."""
    import torch

    from c3dhash.backbones import BACKBONES, KNOWN_WEIGHTS, build_backbone

    with torch.device("meta"):  # shapes only: filling them would take long
        num_parameters = {name: sum(p.numel() for p in build_backbone(name).parameters()) for name in BACKBONES}
    facts = []
    for name, backbone in BACKBONES.items():
        known = [weights for weights in KNOWN_WEIGHTS if weights.backbone == name]
        facts.append(
            {
                "backbone": name,
                "feature_dim": backbone.feature_dim,
                "parameters": num_parameters[name],
                "clip_size": list(backbone.clip_size),
                "shortcuts": list(backbone.shortcuts),
                "weights": [
                    {
                        "name": weights.name,
                        "file": weights.file_name,
                        "source": weights.source,
                        "is_found": (Path("pretrain") / weights.file_name).is_file(),
                    }
                    for weights in known
                ],
            }
        )
    if as_json:
        print_json(facts)
        return
    rows = [
        (
            fact["backbone"],
            str(fact["feature_dim"]),
            f"{fact['parameters'] / 1e6:.1f} M",
            " x ".join(map(str, fact["clip_size"])),
            ", ".join(fact["shortcuts"]) or "-",
        )
        for fact in facts
    ]
    print_table(("backbone", "feature", "parameters", "clip", "shortcuts"), rows, right=(1, 2))
    click.echo("\nWeights, for --weights (pretrain/README.md tells more):\n")
    rows = [
        (weights["name"], fact["backbone"], weights["file"], "found" if weights["is_found"] else weights["source"])
        for fact in facts
        for weights in fact["weights"]
    ]
    print_table(("name", "backbone", "file in pretrain/", "where"), rows)
