"""Measure how well people are found, followed and recognised: clips of people, pasted at known places into scenes.

    python scripts/people.py DATA OUT --model RUN [--detector hog] [--single point]

The test videos of a data set are pasted, three to a scene, at places, sizes and times that are drawn, on a ground full
of edges. Who is found there, and what the network of a run says of them, is compared with what was pasted:

    found       of the boxes in key pictures, which lie in a clip that is there then (precision); of the clips that show
                one person (--single names their classes), in which key pictures a box is found in them (recall), and
                how many tracks they are in
    purity      of the boxes of a track, how many lie in the clip in which most of them lie
    recognised  clips whose class is the one that is most probable: of the clip by itself (`classify --over-time`), in
                its scene with its rectangle as the box (`--boxes`), and by the tracks that are found in it, weighted by
                how long they last; a clip in which nobody is found counts as wrong

Written are the scenes and their boxes, into OUT.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import cv2
import numpy as np

from c3dhash.config import EncodeConfig, PeopleConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.errors import C3DHashError, UsageError
from c3dhash.models.runs import Run, find_run, load_run
from c3dhash.recognition.people import recognize_people
from c3dhash.recognition.recognize import recognize_over_time
from c3dhash.recognition.results import Person, Recognition
from c3dhash.recognition.tracks import Track
from c3dhash.records import Sample
from c3dhash.video.decoder import Decoder

WIDTH_PX, HEIGHT_PX, FPS = 960, 540, 30
PER_SCENE, NUM_EDGES = 3, 60
HEIGHTS_PX = (180, 320)  # of what is pasted
LATEST_SECONDS = 2.0  # at which a clip begins


@dataclass(frozen=True)
class Pasted:
    """A clip in a scene: its sample, x0 y0 x1 y1 in px, from when to when in seconds."""

    sample: Sample
    box: tuple[int, int, int, int]
    start_seconds: float
    end_seconds: float

    def holds(self, box: np.ndarray, seconds: float) -> bool:
        """Tell whether the middle of a box lies in it at a time."""
        x, y = (box[:2] + box[2:]) / 2
        x0, y0, x1, y1 = self.box
        return self.start_seconds <= seconds < self.end_seconds and x0 <= x <= x1 and y0 <= y <= y1


def read_frames(video: Path) -> list[np.ndarray]:
    """Return all frames, uint8 [H, W, 3] RGB."""
    with Decoder(video) as decoder:
        return [decoder.picture() for _ in decoder.times()]


def write_scene(path: Path, samples: Sequence[Sample], *, rng: np.random.Generator) -> list[Pasted]:
    """Write a scene, and say where what is."""
    slot = WIDTH_PX // PER_SCENE
    pasted, clips = [], []
    for place, sample in enumerate(samples):
        frames = read_frames(sample.video)
        height, width = frames[0].shape[:2]
        scale = min(rng.uniform(*HEIGHTS_PX) / height, (slot - 10) / width)
        size = round(width * scale), round(height * scale)
        x = place * slot + int(rng.integers(0, slot - size[0]))
        y = int(rng.integers(0, HEIGHT_PX - size[1]))
        first = int(rng.integers(0, round(LATEST_SECONDS * FPS)))
        clips.append([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
        box = (x, y, x + size[0], y + size[1])
        pasted.append(Pasted(sample, box, first / FPS, (first + len(frames)) / FPS))
    ground = draw_ground(rng)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH_PX, HEIGHT_PX))
    for number in range(max(round(each.end_seconds * FPS) for each in pasted) + FPS // 2):
        picture = ground.copy()
        for each, frames in zip(pasted, clips, strict=True):
            index = number - round(each.start_seconds * FPS)
            if 0 <= index < len(frames):
                x0, y0, x1, y1 = each.box
                picture[y0:y1, x0:x1] = frames[index]
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    return pasted


def draw_ground(rng: np.random.Generator) -> np.ndarray:
    """Draw something with many edges: uint8 [H, W, 3]."""
    ground = np.full((HEIGHT_PX, WIDTH_PX, 3), 128, np.uint8)
    for _ in range(NUM_EDGES):
        color = tuple(int(value) for value in rng.integers(60, 200, 3))
        corners = [(int(rng.integers(WIDTH_PX)), int(rng.integers(HEIGHT_PX))) for _ in range(2)]
        cv2.rectangle(ground, *corners, color, -1 if rng.random() < 0.5 else 3)
    return cv2.GaussianBlur(ground, (3, 3), 0)


def write_boxes(path: Path, pasted: Sequence[Pasted]) -> None:
    """Write the rectangles of clips as boxes, twice a second."""
    rows = ["seconds,x0,y0,x1,y1,id"]
    for number, each in enumerate(pasted):
        for seconds in np.arange(each.start_seconds, each.end_seconds, 0.5):
            rows.append(f"{seconds:.3f},{','.join(map(str, each.box))},{number}")
    path.write_text("\n".join(rows) + "\n")


def clip_of(track: Track, pasted: Sequence[Pasted]) -> tuple[int, float]:
    """Return the clip in which most boxes of a track lie, -1 for none of them, and their share: its purity."""
    places = [
        next((place for place, each in enumerate(pasted) if each.holds(box, seconds)), -1)
        for seconds, box in zip(track.seconds, track.boxes, strict=True)
    ]
    best = max(set(places), key=places.count)
    return best, places.count(best) / len(places)


def said_of(people: Sequence[Person]) -> str | None:
    """Return the label that is most probable of people, weighted by how long they are there; None for nobody."""
    total = dict[str, float]()
    for person in people:
        for prediction in person.top:
            seconds = person.track.end_seconds - person.track.start_seconds
            total[prediction.label] = total.get(prediction.label, 0) + prediction.probability * seconds
    return max(total, key=lambda label: total[label]) if total else None


@dataclass
class Counts:
    """What was found in all scenes."""

    boxes: int = 0
    good_boxes: int = 0
    moments: int = 0  # key pictures of clips that show one person
    found_moments: int = 0
    single_clips: int = 0
    single_tracks: int = 0
    purities: list[float] = field(default_factory=list)

    def add(self, tracks: Sequence[Track], pasted: Sequence[Pasted], single: set[int], every_seconds: float) -> None:
        owners = [clip_of(track, pasted) for track in tracks]
        self.purities += [purity for owner, purity in owners if owner >= 0]
        for track in tracks:
            for seconds, box in zip(track.seconds, track.boxes, strict=True):
                self.boxes += 1
                self.good_boxes += any(each.holds(box, seconds) for each in pasted)
        for place, each in enumerate(pasted):
            if each.sample.labels[0] in single:
                self.single_clips += 1
                self.single_tracks += sum(owner == place for owner, _ in owners)
                for seconds in np.arange(np.ceil(each.start_seconds / every_seconds) * every_seconds,
                                         each.end_seconds, every_seconds):  # fmt: skip
                    self.moments += 1
                    self.found_moments += any(
                        track.shows(seconds) and each.holds(track.at(seconds), seconds) for track in tracks
                    )


def only(recognitions: Sequence[Recognition]) -> Recognition:
    (recognition,) = recognitions
    if recognition.error is not None:
        raise recognition.error
    return recognition


def measure(
    run: Run,
    samples: list[Sample],
    out: Path,
    *,
    classes: Sequence[str],
    single: set[int],
    people: PeopleConfig,
    seed: int,
) -> str:
    """Write scenes, look at them, and return a table. classes: of the samples' labels."""
    rng, config = np.random.default_rng(seed), EncodeConfig()
    counts, right = Counts(), dict.fromkeys(("by itself", "its rectangle in the scene", "who is found in it"), 0)
    order = rng.permutation(len(samples))
    for number, start in enumerate(range(0, len(order), PER_SCENE)):
        scene = out / f"scene{number:02}.mp4"
        pasted = write_scene(scene, [samples[place] for place in order[start : start + PER_SCENE]], rng=rng)
        write_boxes(scene.with_suffix(".csv"), pasted)
        options = {"top": len(run.class_labels), "config": config}
        given = only(list(recognize_people(run, [scene], boxes=scene.with_suffix(".csv"), **options))).people or ()
        found = only(list(recognize_people(run, [scene], people=people, **options))).people or ()
        counts.add([person.track for person in found], pasted, single, people.every_seconds)
        owners = [clip_of(person.track, pasted)[0] for person in found]
        for place, each in enumerate(pasted):
            label = classes[each.sample.labels[0]]
            whole = only(list(recognize_over_time(run, [each.sample.video], top=1, config=config)))
            of_clip = [person for person, owner in zip(found, owners, strict=True) if owner == place]
            right["by itself"] += whole.top[0].label == label
            right["its rectangle in the scene"] += said_of([p for p in given if p.track.id == str(place)]) == label
            right["who is found in it"] += said_of(of_clip) == label
        click.echo(f"{scene.name}: {len(found)} tracks in {len(pasted)} clips", err=True)
    purity = float(np.mean(counts.purities or [np.nan]))
    rows = [
        f"boxes that lie in a clip: {counts.good_boxes / max(1, counts.boxes):.3f} of {counts.boxes}",
        f"moments of single people that have a box: {counts.found_moments / max(1, counts.moments):.3f} of "
        f"{counts.moments}, in {counts.single_tracks} tracks for {counts.single_clips} people",
        f"purity of tracks: {purity:.3f} (mean of {len(counts.purities)})",
        *(f"recognised, {name}: {number / len(samples):.3f} of {len(samples)}" for name, number in right.items()),
    ]
    return "\n".join(rows)


def check_classes(names: Sequence[str], known: Sequence[str], *, what: str) -> None:
    """Make sure that names are among those that are known."""
    if strange := sorted(set(names) - set(known)):
        raise UsageError(f"{what} does not know the class {strange[0]!r}, but {', '.join(known)}.")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), required=True, help="A run that knows the classes of DATA.")
@click.option("--detector", default="auto", show_default=True, help="As of `c3dhash classify`.")
@click.option("--single", multiple=True, default=("point",), show_default=True, help="Classes that show one person.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of places, sizes and times.")
def main(data: Path, out: Path, model: Path, detector: str, single: tuple[str, ...], seed: int) -> None:
    """Paste the test videos of DATA into scenes in OUT, and print how well people are found and recognised."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dataset, run = find_dataset(data), load_run(find_run(model))
    out.mkdir(parents=True, exist_ok=True)
    people = PeopleConfig(people=True, detector=detector)
    check_classes(dataset.classes, run.class_labels, what=f"run '{model}'")
    check_classes(single, dataset.classes, what=f"data set '{data}'")
    places = {dataset.classes.index(name) for name in single}
    samples = dataset.split("query")
    click.echo(measure(run, samples, out, classes=dataset.classes, single=places, people=people, seed=seed))


if __name__ == "__main__":
    try:
        main()
    except C3DHashError as error:
        raise SystemExit(f"people.py: {error}") from error
