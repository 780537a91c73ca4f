"""A root is found beside its gallery, or where it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from c3dhash.gallery.roots import common_folders, holds, join, locate_root, relative_root, split


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("project/gallery", "project/db"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project/db/a.mp4").touch()
    return tmp_path / "project"


def locate(gallery: Path, absolute: Path, relative: str | None, *paths: str) -> str:
    return locate_root(str(gallery), str(absolute), relative, paths=paths)


def test_a_root_moves_with_its_gallery(project: Path) -> None:
    relative = relative_root(str(project / "gallery"), str(project / "db"))
    assert relative == "../db"
    assert locate(project / "gallery", project / "db", relative) == str(project / "db")
    project.rename(moved := project.with_name("moved"))
    assert locate(moved / "gallery", project / "db", relative) == str(moved / "db")
    shutil.copytree(moved, project)
    assert locate(project / "gallery", moved / "db", relative, "a.mp4") == str(project / "db"), "a copy has its own"


def test_a_gallery_moved_alone_finds_its_root_where_it_was(project: Path) -> None:
    (project / "gallery").rename(moved := project.parent / "gallery")
    assert locate(moved, project / "db", "../db", "a.mp4") == str(project / "db")
    (project.parent / "db").mkdir()  # another folder of that name beside it
    assert locate(moved, project / "db", "../db", "a.mp4") == str(project / "db")
    assert locate(moved, project / "db", "../db") == str(project / "db"), "nothing tells: the one that it was"
    shutil.rmtree(project / "db")
    assert locate(moved, project / "db", "../db", "a.mp4") == str(project.parent / "db")
    (project.parent / "db").rmdir()
    assert locate(moved, project / "db", "../db", "a.mp4") == str(project / "db"), "not there: as it was called"


def test_a_root_keeps_the_name_that_it_was_given(project: Path) -> None:
    link = project.parent / "link"
    link.symlink_to(project)
    for gallery in (project / "gallery", link / "gallery"):
        relative = relative_root(str(gallery), str(link / "db"))
        assert relative == "../db"
        assert locate(gallery, link / "db", relative, "a.mp4") == str(link / "db")


def test_a_whole_drive_is_in_no_place_seen_from_a_gallery(project: Path) -> None:
    assert relative_root(str(project / "gallery"), "/") is None
    assert locate(project / "gallery", Path("/"), None) == "/"


@pytest.mark.parametrize(
    "folder, path, name", [("/x", "a/b.mp4", "/x/a/b.mp4"), ("/", "b.mp4", "/b.mp4"), ("", "a b", "a b")]
)
def test_names_are_joined_and_split(folder: str, path: str, name: str) -> None:
    assert join(folder, path) == name
    assert split(name, folder) == path


def test_few_folders_hold_all_files() -> None:
    names = ["/data/v/x/1.mp4", "/data/v/y/2.mp4", "/home/ann/3.mp4", "/home/ann/4.mp4", "/top.mp4"]
    assert sorted(common_folders(names)) == ["/", "/data/v", "/home/ann"]
    assert common_folders([]) == []


def test_a_root_on_a_server_is_its_url_wherever_the_gallery_is(tmp_path):
    root, name = "s3://films/db", "s3://films/db/a/b.mp4"
    assert (join(root, "a/b.mp4"), split(name, root)) == (name, "a/b.mp4")
    assert holds(root, name) and not holds(root, "s3://films/db2/b.mp4") and not holds(root, root)
    assert relative_root(str(tmp_path), root) is None and locate_root(str(tmp_path), root, None) == root
