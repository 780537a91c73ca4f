"""Clip scores -> actions.

In:     videos and a run with a class head.
Out:    the most probable actions of each video.

    recognize     `c3dhash classify`
"""

__all__ = [
    "recognize",
]  # the modules that other wings import from
