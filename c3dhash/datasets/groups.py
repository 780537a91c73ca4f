"""What must stay together when a data set is split: the clips that were cut from one source video."""

from __future__ import annotations

import re
from pathlib import Path

from c3dhash.records import Sample
from c3dhash.video.containers import VIDEO_SUFFIXES

# UCF101 names a clip v_<Class>_g<source>_c<clip>.
UCF_CLIP = re.compile(r"_g(\d+)_c\d+$")

# HMDB51 and JHMDB: <source>_<class>_<body part>_<camera motion>_np<people>_<view>_<quality>_<clip>.
HMDB_CLIP = re.compile(r"_(?P<attributes>[fulh]_[nc]m_np\d+_(fr|ri|le|ba)_(bad|med|goo)_\d+)$")


def infer_group(video: Path, *, class_name: str) -> str | None:
    """Tell from a name which source video a clip was cut from, where the name says so; else None.

    UCF101: `v_Archery_g07_c02` -> `Archery/g07`. HMDB51 and JHMDB: what stands before `_<class>_`. The class is
    part of the group, since the numbers of UCF101 start anew in each class.
    """
    name = video.stem if video.suffix.lower() in VIDEO_SUFFIXES else video.name
    if match := UCF_CLIP.search(name):
        return f"{class_name}/g{match[1]}"
    if match := HMDB_CLIP.search(name):
        source = name[: match.start()].removesuffix(f"_{class_name}")
        return f"{class_name}/{source}"
    return None


def group_key(sample: Sample) -> str:
    """Return what tells a sample's group apart: its group, or its file where it has none.

    Segments of one video are one group.
    """
    return sample.group or str(sample.video)
