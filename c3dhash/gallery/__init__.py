"""Codes -> hits: a gallery on disk, filled from folders of videos and searched by Hamming distance.

In:     codes of videos, or videos and a run.
Out:    `records.Hit`s: which video, which stretch of it, at which distance.

    schema        the tables, and migrations from earlier versions
    catalog       SQLite: the truth about videos, clips and their codes
    search        exact Hamming search over arrays: nearest codes, nearest videos
    index         codes, ids and starts of videos in memory; a FAISS file on disk
    replica       the index as a cache of the catalog
    store         the gallery: what the three are together
    fitting       a model of the gallery's own, without labels
    indexing      folders of videos -> a gallery
    query         a video -> hits
"""

__all__ = [
    "catalog",
    "fitting",
    "index",
    "indexing",
    "query",
    "store",
]  # the modules that other wings import from
