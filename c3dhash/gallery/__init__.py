"""Codes -> hits: a gallery on disk, filled from folders of videos and searched by Hamming distance.

In:     codes of videos, or videos and a run.
Out:    `records.Hit`s: which video, which stretch of it, at which distance.

    roots         names of videos that survive a move of the gallery
    checksums     clips of a video -> what tells later whether they are as they were written
    migrations    the tables of a catalog, schema by schema
    schema        an SQLite file with them: made, opened, brought up to date
    edits         what one transaction does to it
    filters       which videos may be found
    catalog       the truth about videos, clips and their codes
    kernels       passes over codes, compiled
    search        exact Hamming search over arrays: nearest codes, nearest videos, near pairs
    checked_file  files with a checksum at their end
    codes_file    codes and where videos begin, in a file that is mapped into memory
    lists         lists of nearest codes -> codes and videos, where the lists are long enough
    gpu           exact search on a GPU
    index         that file, and what was added or removed since, searched
    chance        clips of a gallery -> what a distance says, and what chance makes of it
    segments      windows of a query, clips of a video -> the stretches that agree
    finer         videos at distances near each other -> their order by the query's embedding
    searched      what a query asks of a gallery, wherever that is
    evidence      windows and clips -> which videos show the same, by how much speaks for it
    pairs         all videos -> the pairs that show the same, somewhere
    replica       the index as a copy of the catalog
    kinds         codes -> an index of FAISS that looks at some of them
    recall        how much of the exact answer it finds, and how hard it must search
    approximate_file  such an index in a file
    approximate   such an index, and what was added or removed since, searched
    companion     the approximate index of a gallery: chosen, built, kept
    lock          one writer at a time
    store         the gallery: what these are together
    served        what a server asks of a gallery, wherever that is
    reader        a catalog as it is, also a damaged one, for what looks at all of it
    entries       all that a gallery knows, a video at a time, also of a damaged one
    rows          a video <-> rows of a table
    csv_files     videos <-> a CSV file
    npz_files     videos <-> arrays
    parquet_files videos <-> a Parquet file
    exports       a gallery -> a file
    outgoing      a gallery -> what a copy of it elsewhere is made of
    windows       how videos are cut, and what of them is seen: one way a gallery
    intake        videos with their codes -> a gallery, what differs is told
    imports       a file -> a gallery
    merge         other galleries -> a gallery
    runs          the run that made a gallery's codes
    scan          places -> the video files that are there
    contents      content hashes of many files
    plan          what the gallery knows, what is there -> what to do
    failures      the videos that could not be taken in, remembered
    indexing      scan, plan, apply
    mirrors       codes -> those of the mirrored videos, where that is known
    fitting       a model of the gallery's own, without labels
    same_film     the score of a hit -> how often it is right
    query         a video -> hits
    arrivals      videos that arrive while others are encoded -> their codes
    layout        codes -> places on a map
    copies        videos of a gallery -> copies of them, found or not
    duplicates    a gallery -> groups of videos that show the same
    compact       a gallery -> the same on less disk
    removal       names or a filter -> the videos that are taken out
    inventory     a gallery -> what is in it, in figures
    verify        a gallery -> what is damaged, and which files are not as they were
"""

__all__ = [
    "arrivals",
    "catalog",
    "compact",
    "copies",
    "duplicates",
    "evidence",
    "exports",
    "filters",
    "fitting",
    "imports",
    "index",
    "indexing",
    "intake",
    "inventory",
    "layout",
    "lock",
    "merge",
    "mirrors",
    "outgoing",
    "plan",
    "query",
    "recall",
    "removal",
    "roots",
    "runs",
    "same_film",
    "scan",
    "searched",
    "served",
    "store",
    "verify",
    "windows",
]  # the modules that other wings import from
