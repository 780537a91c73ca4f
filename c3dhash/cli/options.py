"""Make click options from the fields of a config, so that names, defaults and help stand in one place."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(
    config_type: type[DataclassInstance], *, only: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for each field of a config: `hash_length` -> `--hash-length`."""
    fields = [
        item for item in dataclasses.fields(config_type)
        if item.name not in without and (not only or item.name in only)
    ]  # fmt: skip
    hints = typing.get_type_hints(config_type)

    def decorate(command: Command) -> Command:
        for item in reversed(fields):
            command = _option(item, hints[item.name])(command)
        return command

    return decorate


def _option(item: dataclasses.Field[Any], hint: Any) -> Callable[[Command], Command]:
    kind = next(part for part in (typing.get_args(hint) or (hint,)) if part is not type(None))
    flag = f"--{item.name.replace('_', '-')}"
    text = item.metadata["help"]
    if kind is bool:
        is_shown = item.default is not None
        return click.option(
            f"{flag}/--no-{flag[2:]}", item.name, default=item.default, show_default=is_shown, help=text
        )
    # The config checks its values: choices are shown here, and refused there with the one message.
    choices = item.metadata["choices"]
    metavar = "|".join(choices) if choices else {int: "N", float: "X", str: "TEXT", Path: "PATH"}[kind]
    return click.option(
        flag, item.name, type=click.Path(path_type=Path) if kind is Path else kind, default=item.default,
        show_default=item.default is not None, metavar=metavar, help=text,
    )  # fmt: skip


def take(config_type: type[Config], options: dict[str, Any]) -> Config:
    """Build a config from the options of a command; fields that it does not offer keep their defaults."""
    names = {item.name for item in dataclasses.fields(config_type)}
    return config_type(**{name: value for name, value in options.items() if name in names})
