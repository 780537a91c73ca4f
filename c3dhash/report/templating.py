"""The templates of a package, read in one way: what they show is escaped, and nothing that they name is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where a page is written
    import jinja2


def templates(package: str) -> jinja2.Environment:
    """Return the templates in the folder `templates` of a package, as "c3dhash.report"."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
