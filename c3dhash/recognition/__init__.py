"""Clip scores -> actions.

In:     videos and a run with a class head.
Out:    the most probable actions of each video, and when each is seen.

    over_time     windows -> smoothed answers -> segments, subtitles
    timeline      answers, kept small: for a picture, and for every frame
    recognize     `c3dhash classify`
    answer_file   the answers about many videos in a CSV file, to be gone on with
    overlay       the video with what is seen written on it
    live          a camera -> what it sees now
"""

__all__ = [
    "answer_file",
    "live",
    "over_time",
    "overlay",
    "recognize",
]  # the modules that other wings import from
