"""A gallery -> the run that made its codes, also where that was moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from c3dhash.errors import C3DHashError, ModelMismatchError
from c3dhash.gallery.searched import SearchedGallery
from c3dhash.gallery.store import MODEL_DIR
from c3dhash.models.runs import Run, is_finished, load_run


def run_of(gallery: SearchedGallery, *, runs_dir: Path = Path("runs")) -> Run:
    """Load the run that made a gallery's codes.

    It is looked for in the gallery's folder, where it was, and among the finished runs that lie there now or under
    `runs_dir`, the newest first: a run that was renamed or moved makes the same codes.

    Raises:
        ModelMismatchError: it is in none of these places.
    """
    why_not = None
    for path in _candidates(gallery, runs_dir):
        try:
            run = load_run(path)
            gallery.check_model(run.fingerprint, hash_length=run.hash_length)
        except C3DHashError as error:
            if path.is_dir() and not isinstance(error, ModelMismatchError):
                why_not = why_not or error
            continue
        return run
    name = f"the run '{gallery.model_name}'" if gallery.model_name else "a run whose place it does not know"
    if why_not is None:
        where = f"which is not there any more, nor under '{runs_dir}/'"
    else:
        where = f"and what may be it cannot be used ({str(why_not).rstrip('.')})"
    raise ModelMismatchError(
        f"gallery '{gallery.path}' holds codes of {name} ({gallery.model_fingerprint[:8]}…), {where}: say where it is "
        "with --model DIR, or index into another folder (--gallery NAME)."
    )


def _candidates(gallery: SearchedGallery, runs_dir: Path) -> Iterator[Path]:
    if isinstance(gallery.path, Path):
        yield gallery.path / MODEL_DIR
    folders = [runs_dir]
    if gallery.model_name:
        yield Path(gallery.model_name)
        folders.append(Path(gallery.model_name).parent)
    found = {path.resolve() for folder in folders for path in folder.glob("*") if is_finished(path)}
    yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
