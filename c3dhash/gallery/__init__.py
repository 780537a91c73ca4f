"""Codes -> hits: a gallery on disk, filled from folders of videos and searched by Hamming distance.

In:     codes of videos, or videos and a run.
Out:    `records.Hit`s: which video, which stretch of it, at which distance.

    roots         names of videos that survive a move of the gallery
    migrations    the tables of a catalog, schema by schema
    schema        an SQLite file with them: made, opened, brought up to date
    edits         what one transaction does to it
    filters       which videos may be found
    catalog       the truth about videos, clips and their codes
    search        exact Hamming search over arrays: nearest codes, nearest videos, near pairs
    index         codes, ids and starts of videos in memory; a FAISS file on disk
    segments      windows of a query, clips of a video -> the stretches that agree
    evidence      windows and clips -> which videos show the same, by how much speaks for it
    pairs         all videos -> the pairs that show the same, somewhere
    replica       the index as a cache of the catalog
    lock          one writer at a time
    store         the gallery: what these are together
    windows       how videos are cut, and what of them is seen: one way a gallery
    runs          the run that made a gallery's codes
    scan          places -> the video files that are there
    contents      content hashes of many files
    plan          what the gallery knows, what is there -> what to do
    indexing      scan, plan, apply
    fitting       a model of the gallery's own, without labels
    query         a video -> hits
    duplicates    a gallery -> groups of videos that show the same
"""

__all__ = [
    "catalog",
    "duplicates",
    "filters",
    "fitting",
    "index",
    "indexing",
    "lock",
    "query",
    "runs",
    "store",
    "windows",
]  # the modules that other wings import from
