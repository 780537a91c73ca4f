"""Clip scores -> actions.

In:     videos and a run with a class head.
Out:    the most probable actions of each video, and when each is seen.

    over_time     windows -> smoothed answers -> segments, subtitles
    timeline      answers, kept small: for a picture, and for every frame
    tracks        boxes in pictures -> who is where when
    results       what is found out about a video
    recognize     `c3dhash classify`
    detectors     pictures -> boxes of people
    boxes         files of boxes, to read and to write
    shots         the frames of a video -> clips, each cut in its own way
    tubes         the square around a person -> what a network says of it
    scenes        whole pictures and boxes -> what a network for them says of each person
    people        `c3dhash classify --people`
    answer_file   the answers about many videos in a CSV file, to be gone on with
    overlay       the video with what is seen written on it
    live          a camera -> what it sees now
"""

__all__ = [
    "answer_file",
    "boxes",
    "live",
    "over_time",
    "overlay",
    "people",
    "recognize",
    "results",
]  # the modules that other wings import from
