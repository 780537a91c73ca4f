"""The data sets that c3dhash knows: what they are, where to get them, on what terms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class KnownSet:
    """A public data set.

    format: the reader of c3dhash.datasets. num_videos: as published; clips that come from YouTube vanish. size: of the
    download. protocol: its splits. script: that fetches it, where there is one; else how to get it is in `obtain`.
    """

    name: str
    format: str
    title: str
    num_classes: int
    num_videos: int
    size: str
    licence: str
    url: str
    protocol: str
    script: str | None
    obtain: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the facts for people."""
        lines = [
            f"{self.name}: {self.title}",
            f"  {self.num_classes} classes, {self.num_videos} videos, {self.size}; {self.protocol}",
            f"  licence: {self.licence}",
            f"  {self.url}",
            f"  get it: bash {self.script} ({self.obtain})" if self.script else f"  get it: {self.obtain}",
        ]
        return "\n".join(lines)


KNOWN_SETS = (
    KnownSet(
        name="UCF101",
        format="ucf101",
        title="A Dataset of 101 Human Actions Classes From Videos in The Wild (Soomro et al., 2012)",
        num_classes=101,
        num_videos=13_320,
        size="6.9 GB",
        licence="none stated; published for research, the videos are from YouTube",
        url="https://www.crcv.ucf.edu/data/UCF101.php",
        protocol="3 official splits, about 9,500 train and 3,800 test; groups of clips share a source video",
        script="scripts/download_ucf101.sh",
        obtain="needs unrar, 7z or bsdtar",
    ),
    KnownSet(
        name="HMDB51",
        format="hmdb51",
        title="HMDB: A Large Video Database for Human Motion Recognition (Kuehne et al., ICCV 2011)",
        num_classes=51,
        num_videos=6_766,
        size="about 2 GB",
        licence="CC BY 4.0",
        url="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        protocol="3 official splits, 70 train and 30 test videos a class",
        script="scripts/download_hmdb51.sh",
        obtain="needs unrar, 7z or bsdtar",
    ),
    KnownSet(
        name="JHMDB",
        format="jhmdb",
        title="Towards Understanding Action Recognition (Jhuang et al., ICCV 2013), cut from HMDB51",
        num_classes=21,
        num_videos=928,
        size="about 0.2 GB",
        licence="CC BY 4.0, as HMDB51",
        url="http://jhmdb.is.tue.mpg.de/",
        protocol="3 official splits, about 660 train and 268 test; retrieval lists with a gallery of their own exist",
        script="scripts/download_jhmdb.sh",
        obtain="needs unzip",
    ),
    KnownSet(
        name="Kinetics-400",
        format="kinetics",
        title="The Kinetics Human Action Video Dataset (Kay et al., 2017)",
        num_classes=400,
        num_videos=306_245,
        size="about 450 GB",
        licence="annotations CC BY 4.0; the videos belong to their owners on YouTube",
        url="https://github.com/cvdfoundation/kinetics-dataset",
        protocol="train, validation and a test list; about 250 to 1,000 train videos a class",
        script=None,
        obtain="follow the CVDF page, which hosts archives of the clips and the csv files",
    ),
    KnownSet(
        name="CCV",
        format="ccv",
        title="Consumer Video Understanding, the Columbia Consumer Videos (Jiang et al., ICMR 2011)",
        num_classes=20,
        num_videos=9_317,
        size="210 hours of video",
        licence="none stated; lists for research use, the videos belong to their owners on YouTube",
        url="http://www.ee.columbia.edu/ln/dvmm/CCV/",
        protocol="a train and a test list of about the same length; several labels a video, or none",
        script=None,
        obtain="fill in the form on the page for ids and labels, then fetch the videos from YouTube",
    ),
)


def describe_known_sets() -> str:
    """Return the facts of all known data sets for people."""
    return "\n\n".join(known.to_text() for known in KNOWN_SETS)
