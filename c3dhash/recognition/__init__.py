"""Clip scores -> actions.

In:     videos and a run with a class head.
Out:    the most probable actions of each video, and when each is seen.

    over_time     windows -> smoothed answers -> segments, subtitles
    timeline      answers, kept small: for a picture, and for every frame
    recognize     `c3dhash classify`
    overlay       the video with what is seen written on it
"""

__all__ = [
    "over_time",
    "overlay",
    "recognize",
]  # the modules that other wings import from
