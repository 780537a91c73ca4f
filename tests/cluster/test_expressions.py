"""Filters in the language of Milvus; what they find is tested where a server is asked."""

from __future__ import annotations

import pytest

from c3dhash.cluster.expressions import expression, label_of, literal, stored_label, with_content
from c3dhash.gallery.filters import VideoFilter

ROOTS = {0: "", 1: "/db", 2: "/films"}


@pytest.mark.parametrize("label", [None, "", "walk", "=", 'a "b" \\ c'])
def test_labels_come_back(label):
    assert label_of(stored_label(label)) == label


def test_by_hand():
    below = '(root_id == 1 and (path == "a" or (path > "a/" and path < "a0")))'
    chosen = VideoFilter(labels=("walk", 'r"un'), folder="/db/a", added_since="2026-05-01", without_content="h")
    assert expression(chosen, {1: "/db"}) == (
        f'id > 0 and label in ["=walk", "=r\\"un"] and ({below}) and added_at >= "2026-05-01"'
    )
    assert expression(VideoFilter(), ROOTS) == "id > 0"
    assert expression(VideoFilter(folder="/db"), {1: "/db", 2: "/films"}) == "id > 0 and (root_id == 1)"
    assert expression(VideoFilter(folder="/elsewhere"), {1: "/db"}) == "id > 0 and (id == 0)"
    assert expression(VideoFilter(place=("/films", "")), ROOTS) == "id > 0 and (root_id == 2)"
    assert with_content('"') == 'id > 0 and content_hash == "\\""'
    assert literal("ü\n") == '"ü\\n"'
