"""A folder -> samples in splits: one reader for each convention that data sets are published in.

In:     a folder.
Out:    `samples.Dataset`: classes, and `records.Sample`s in the splits train, val, gallery and query.

    samples       what a data set is
    find          which reader knows a folder; READERS
    ucf101 jhmdb hmdb51 ccv kinetics json_lists lists folders
                  the readers: what lists say, nothing of the disk
    conventions text places groups
                  how lists are written, where videos may lie, which of them were cut from one recording
    assemble      what a reader found -> samples that are on disk
    splitting     splits of our own, groups kept together
    check         `c3dhash data check`
    split         `c3dhash data split`
    frames copied_lists
                  `c3dhash data frames`
    flow          `c3dhash data flow`
    known         `c3dhash data list`
    synth         `c3dhash data synth`: videos made up, to try things with
"""

__all__ = [
    "check",
    "find",
    "flow",
    "frames",
    "groups",
    "known",
    "samples",
    "split",
    "splitting",
    "synth",
]  # the modules that other wings import from
