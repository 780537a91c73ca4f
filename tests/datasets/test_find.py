"""Recognising a data set, and what all readers share: missing videos, splits, labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import found, make_tree

from c3dhash.datasets.find import READERS, find_dataset, recognise
from c3dhash.datasets.groups import group_key, infer_group
from c3dhash.datasets.places import split_of_name
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.splitting import OWN_SHARES, carve_val, straddling_groups, stratified_split
from c3dhash.errors import DatasetError, UsageError
from c3dhash.records import FrameFolder, Sample, Segment


def samples_of(directory, *, classes: int, groups: int, clips: int) -> list[Sample]:
    """Make samples of several classes, groups in each and clips in those."""
    return [
        Sample(directory / f"{label}_{group}_{clip}.mp4", (label,), "train", f"{label}/g{group}")
        for label in range(classes)
        for group in range(groups)
        for clip in range(clips)
    ]


class TestFindDataset:
    def test_directory_is_the_set(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "train/run/a.mp4", "test/run/b.avi"))
        assert dataset.format == "folders"
        assert dataset.directory == tmp_path
        assert repr(dataset) == f"Dataset(folders in '{tmp_path}': 1 classes, 1 train, 1 query)"

    def test_set_lies_inside(self, tmp_path):
        make_tree(tmp_path / "motion", "train/run/a.mp4")
        assert find_dataset(str(tmp_path)).directory == tmp_path / "motion"

    def test_set_lies_three_folders_down(self, tmp_path):
        make_tree(tmp_path, "jhmdb/JHMDB/Frames/run/v1/", "jhmdb/JHMDB/Frames/walk/v2/")
        dataset = find_dataset(tmp_path)
        assert (dataset.format, dataset.directory.name) == ("frame_folders", "Frames")

    def test_hidden_folders_are_not_looked_into(self, tmp_path):
        make_tree(tmp_path, ".trash/old/train/run/a.mp4", "new/train/run/a.mp4")
        assert find_dataset(tmp_path).directory.name == "new"

    def test_no_folder(self, tmp_path):
        with pytest.raises(DatasetError, match=r"folder '.*nowhere' does not exist.*c3dhash data synth"):
            find_dataset(tmp_path / "nowhere")

    def test_nothing_inside(self, tmp_path):
        with pytest.raises(DatasetError, match=r"no data set in .* \(it holds nothing\)"):
            find_dataset(tmp_path)

    def test_content_that_is_no_set_is_named(self, tmp_path):
        make_tree(tmp_path, "notes.md", "pictures/a.gif.txt")
        with pytest.raises(DatasetError, match=r"it holds notes.md, pictures\)"):
            find_dataset(tmp_path)

    def test_several_sets(self, tmp_path):
        make_tree(tmp_path / "a", "train/run/a.mp4")
        make_tree(tmp_path / "b", train="x.mp4 0")
        with pytest.raises(DatasetError, match=r"2 data sets in .*: a \(folders\), b \(lists\). Name one: --data .*a$"):
            find_dataset(tmp_path)

    def test_unknown_format(self, tmp_path):
        with pytest.raises(UsageError, match=r"format \('ucf'\) must be one of ucf101, .*frame_folders"):
            find_dataset(tmp_path, format="ucf")

    def test_format_is_forced(self, tmp_path):
        make_tree(tmp_path, "run/a.mp4", "walk/b.mp4", train="run/a.mp4 0")
        assert find_dataset(tmp_path).format == "lists"
        assert len(find_dataset(tmp_path, format="folders").samples) == 2

    def test_forced_format_finds_the_set_inside(self, tmp_path):
        make_tree(tmp_path / "set", "run/a.mp4", train="run/a.mp4 0")
        assert find_dataset(tmp_path, format="folders").directory.name == "set"

    @pytest.mark.parametrize("name", READERS)
    def test_forced_format_that_does_not_fit_is_an_error(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError, match=f"'{tmp_path}"):
            find_dataset(tmp_path, format=name)

    def test_recognise_knows_nothing_of_an_empty_folder(self, tmp_path):
        assert recognise(tmp_path) is None


class TestFolders:
    def test_split_folders(self, tmp_path):
        media = ("training/b/1.mp4", "validation/a/2.mkv", "gallery/a/3.webm", "test/b/4.AVI", "test/c/5.mp4")
        dataset = find_dataset(make_tree(tmp_path, *media))
        assert dataset.classes == ("a", "b", "c")
        assert sorted(found(dataset)) == sorted(
            [
                ("training/b/1.mp4", ("b",), "train"),
                ("validation/a/2.mkv", ("a",), "val"),
                ("gallery/a/3.webm", ("a",), "gallery"),
                ("test/b/4.AVI", ("b",), "query"),
                ("test/c/5.mp4", ("c",), "query"),
            ]
        )
        assert dataset.notes == ()

    def test_without_split_folders_the_split_is_our_own(self, tmp_path):
        media = [f"{name}/v{number:02d}.mp4" for name in ("run", "walk") for number in range(25)]
        make_tree(tmp_path, *media)
        dataset = find_dataset(tmp_path)
        counts = Counter((sample.labels, sample.split) for sample in dataset.samples)
        assert counts == {
            ((label,), split): round(25 * share) for label in (0, 1) for split, share in OWN_SHARES.items()
        }
        assert dataset.notes == ("no split is given: own split 1, 64% train, 16% val, 20% query, by class and group.",)
        assert find_dataset(tmp_path) == dataset
        assert find_dataset(tmp_path, split=2).samples != dataset.samples

    def test_ucf_groups_stay_together(self, tmp_path):
        media = [f"{name}/v_{name}_g{g:02d}_c{c:02d}.avi" for name in ("A", "B") for g in range(8) for c in range(4)]
        dataset = find_dataset(make_tree(tmp_path, *media))
        assert straddling_groups(list(dataset.samples)) == {}
        assert {sample.split for sample in dataset.samples} == {"train", "val", "query"}

    def test_videos_in_subfolders_belong_to_their_class(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "train/run/a.mp4", "train/run/more/b.mp4"))
        assert found(dataset) == [("train/run/a.mp4", ("run",), "train"), ("train/run/more/b.mp4", ("run",), "train")]

    def test_a_class_whose_videos_lie_in_subfolders_only_is_there(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "run/a.mp4", "walk/2019/b.mp4", "walk/2020/x/c.mp4", "notes/a.pdf"))
        assert dataset.classes == ("run", "walk")
        assert sorted(name for name, _, _ in found(dataset)) == ["run/a.mp4", "walk/2019/b.mp4", "walk/2020/x/c.mp4"]
        assert {sample.group for sample in dataset.samples} == {None}

    def test_split_folders_whose_videos_all_lie_in_subfolders(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "train/run/x/a.mp4", "train/walk/y/b.mp4", "test/run/x/c.mp4"))
        assert [(label, split) for _, (label,), split in found(dataset)] == [
            ("run", "query"), ("run", "train"), ("walk", "train"),
        ]  # fmt: skip
        assert {sample.group for sample in dataset.samples} == {None}

    def test_a_class_of_frame_folders_in_subfolders_is_there(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "run/v1/", "walk/v2/", "sit/2019/v3/"))
        assert (dataset.format, dataset.classes) == ("frame_folders", ("run", "sit", "walk"))

    def test_many_subfolders_of_a_class_are_groups(self, tmp_path):
        media = [f"run/shooting_{g:02d}/{clip}.mp4" for g in range(10) for clip in range(3)]
        named = [f"run/shooting_00/v_run_g07_c{clip:02d}.mp4" for clip in range(2)]
        dataset = find_dataset(make_tree(tmp_path, "run/loose.mp4", *media, *named, "walk/a/1.mp4", "walk/b/2.mp4"))
        groups = Counter(sample.group for sample in dataset.samples)
        assert groups == {f"run/shooting_{g:02d}": 3 for g in range(10)} | {"run/g07": 2, None: 3}
        assert straddling_groups(list(dataset.samples)) == {}

    def test_nasty_names(self, tmp_path):
        names = ["train/a b/#1 [x];(y)&z!@~+.mp4", "train/a b/ä.v1.2.mp4", "train/-c/-d.mp4"]
        assert sorted(name for name, _, _ in found(find_dataset(make_tree(tmp_path, *names)))) == sorted(names)

    def test_a_test_folder_alone_is_a_class(self, tmp_path):
        assert find_dataset(make_tree(tmp_path, "test/a.mp4", "run/b.mp4")).classes == ("run", "test")

    def test_frame_folders(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "train/run/v1/", "train/walk/v2.x/", "val/run/v3/"))
        assert dataset.format == "frame_folders"
        assert [sample.frames for sample in dataset.samples] == [FrameFolder()] * 3
        assert [sample.video.name for sample in dataset.samples] == ["v1", "v2.x", "v3"]

    def test_a_folder_with_videos_wins_over_its_thumbnails(self, tmp_path):
        make_tree(tmp_path, "run/a.mp4", "walk/b.mp4", "run/thumbnails/", "walk/thumbnails/")
        assert recognise(tmp_path) == "folders"


class TestMissing:
    def test_all_are_counted_and_the_first_named(self, tmp_path):
        make_tree(tmp_path, "v0.mp4", train="\n".join(f"v{i}.mp4 {i % 2}" for i in range(6)), test="w.mp4 0")
        text = r"6 of 7 videos .* missing: 'v1.mp4', 'v2.mp4', 'v3.mp4' \.\.\.; .*--allow-missing"
        with pytest.raises(DatasetError, match=text):
            find_dataset(tmp_path)

    def test_allowed(self, tmp_path):
        make_tree(tmp_path, "a.mp4", "b.mp4", train="a.mp4 0\ngone.mp4 1", test="b.mp4 1")
        dataset = find_dataset(tmp_path, allow_missing=True)
        assert [sample.video.name for sample in dataset.samples] == ["a.mp4", "b.mp4"]
        assert dataset.missing == ("gone.mp4",)
        assert "1 of 3 videos" in dataset.notes[0]

    def test_when_all_are_missing_nothing_helps(self, tmp_path):
        make_tree(tmp_path, train="a.mp4 0")
        with pytest.raises(DatasetError, match=r"1 of 1 videos"):
            find_dataset(tmp_path, allow_missing=True)

    def test_empty_lists(self, tmp_path):
        make_tree(tmp_path, "a/v_a_g01_c01.avi", ucfTrainTestlist__classInd="1 a", ucfTrainTestlist__trainlist01="",
                  ucfTrainTestlist__testlist01="\n")  # fmt: skip
        with pytest.raises(DatasetError, match=r"read as ucf101, lists no videos"):
            find_dataset(tmp_path)


class TestSplits:
    def test_val_is_queried_where_there_is_no_test(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "train/run/a.mp4", "val/run/b.mp4"))
        assert [sample.split for sample in dataset.samples] == ["train", "query"]
        assert "val videos are the queries" in dataset.notes[0]

    def test_val_is_kept_where_there_is_a_test(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "train/run/a.mp4", "val/run/b.mp4", "test/run/c.mp4"))
        assert {sample.split for sample in dataset.samples} == {"train", "val", "query"}

    def test_gallery_is_train_where_there_is_none(self, tmp_path):
        dataset = find_dataset(make_tree(tmp_path, "train/run/a.mp4", "test/run/c.mp4"))
        assert dataset.split("gallery") == dataset.split("train") != []

    @pytest.mark.parametrize(
        ("name", "split"),
        [
            ("trainlist01", "train"),
            ("ucf101_val_split_1_videos", "val"),
            ("db_20_420", "gallery"),
            ("test-2", "query"),
            ("Validate", "val"),
            ("train_test_split", None),
            ("training.log", "train"),
            ("contest", None),
            ("labels", None),
        ],
    )
    def test_split_of_name(self, name, split):
        assert split_of_name(name) == split


class TestStratifiedSplit:
    def test_shares_hold_in_every_class(self, tmp_path):
        samples = samples_of(tmp_path, classes=5, groups=25, clips=4)
        dealt = stratified_split(samples, shares=OWN_SHARES, seed=3)
        assert [replace(sample, split="train") for sample in dealt] == samples
        counts = Counter((sample.labels[0], sample.split) for sample in dealt)
        shares = {split: round(100 * share) for split, share in OWN_SHARES.items()}
        assert counts == {(label, split): share for label in range(5) for split, share in shares.items()}
        assert straddling_groups(dealt) == {}

    @settings(max_examples=30)
    @given(
        groups=st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 3), max_size=3)), min_size=1, max_size=60),
        seed=st.integers(0, 100),
    )
    def test_no_group_is_divided_and_nothing_lost(self, tmp_path_factory, groups, seed):
        root = tmp_path_factory.getbasetemp()
        samples = [
            Sample(root / f"{i}.mp4", tuple(set(labels)), "train", f"g{group}")
            for i, (group, labels) in enumerate(groups)
        ]
        dealt = stratified_split(samples, shares={"train": 0.5, "query": 0.5}, seed=seed)
        assert [replace(sample, split="train") for sample in dealt] == samples
        assert {sample.split for sample in dealt} <= {"train", "query"}
        assert straddling_groups(dealt) == {}

    def test_a_small_class_is_in_every_split(self, tmp_path):
        dealt = stratified_split(samples_of(tmp_path, classes=3, groups=4, clips=1), shares=OWN_SHARES, seed=0)
        assert Counter((sample.labels[0], sample.split) for sample in dealt) == {
            (label, split): 2 if split == "train" else 1 for label in range(3) for split in OWN_SHARES
        }

    def test_groups_across_classes_stay_together(self, tmp_path):
        samples = [
            Sample(tmp_path / f"{label}_{person}.mp4", (label,), "train", f"person{person}")
            for label in range(4)
            for person in range(10)
        ]
        dealt = stratified_split(samples, shares={"train": 0.7, "query": 0.3}, seed=1)
        assert straddling_groups(dealt) == {}
        assert Counter(sample.split for sample in dealt) == {"train": 28, "query": 12}

    def test_segments_of_a_video_stay_together(self, tmp_path):
        samples = [
            Sample(tmp_path / f"{video}.mp4", (start % 2,), "train", None, Segment(start, start + 1))
            for video in range(6)
            for start in range(4)
        ]
        dealt = stratified_split(samples, shares={"train": 0.5, "query": 0.5}, seed=1)
        assert all(len({s.split for s in dealt if s.video == sample.video}) == 1 for sample in dealt)
        assert Counter(sample.split for sample in dealt) == {"train": 12, "query": 12}

    def test_multi_label(self, tmp_path):
        labels = [(0,), (0, 1), (1,), (2,), (1, 2), ()] * 20
        samples = [Sample(tmp_path / f"{i}.mp4", one, "train") for i, one in enumerate(labels)]
        dealt = stratified_split(samples, shares={"train": 0.75, "query": 0.25}, seed=0)
        queries = Counter(label for sample in dealt if sample.split == "query" for label in sample.labels)
        assert queries == {0: 10, 1: 15, 2: 10}
        assert sum(not sample.labels for sample in dealt if sample.split == "query") == 5

    def test_seed_decides(self, tmp_path):
        samples = samples_of(tmp_path, classes=2, groups=20, clips=1)
        one, same, other = (stratified_split(samples, shares=OWN_SHARES, seed=seed) for seed in (1, 1, 2))
        assert one == same != other


class TestCarveVal:
    def dataset(self, samples) -> Dataset:
        return Dataset(samples[0].video.parent, "folders", ("0", "1"), tuple(samples))

    def test_val_is_cut_from_train_by_group(self, tmp_path):
        samples = samples_of(tmp_path, classes=2, groups=10, clips=2)
        carved = carve_val(self.dataset([*samples, replace(samples[0], split="query")]), share=0.2, seed=0)
        assert [len(carved.split(name)) for name in ("train", "val", "gallery", "query")] == [32, 8, 40, 1]
        train, val = ({group_key(sample) for sample in carved.split(name)} for name in ("train", "val"))
        assert not train & val

    def test_the_gallery_stays_the_whole_training_list(self, tmp_path):
        samples = samples_of(tmp_path, classes=2, groups=10, clips=2)
        dataset = self.dataset(samples)
        before = {sample.video for sample in dataset.split("gallery")}
        assert {sample.video for sample in carve_val(dataset, share=0.2, seed=0).split("gallery")} == before

    def test_a_gallery_is_left_alone(self, tmp_path):
        samples = samples_of(tmp_path, classes=2, groups=10, clips=2)
        gallery = replace(samples[0], split="gallery")
        assert carve_val(self.dataset([*samples, gallery]), share=0.2, seed=0).split("gallery") == [gallery]

    def test_a_val_split_is_left_alone(self, tmp_path):
        samples = samples_of(tmp_path, classes=2, groups=2, clips=2)
        dataset = self.dataset([*samples, replace(samples[0], split="val")])
        assert carve_val(dataset, share=0.5, seed=0) is dataset

    def test_every_class_that_has_enough_groups_is_validated(self, tmp_path):
        samples = samples_of(tmp_path, classes=2, groups=3, clips=5)
        val = carve_val(self.dataset(samples), share=0.05, seed=0).split("val")
        assert {sample.labels for sample in val} == {(0,), (1,)}


class TestLabels:
    def test_single_label(self, tmp_path):
        samples = [Sample(tmp_path / "a", (1,), "train"), Sample(tmp_path / "b", (), "query")]
        dataset = Dataset(tmp_path, "lists", ("x", "y"), tuple(samples))
        labels = dataset.labels(samples)
        assert (labels.dtype, labels.tolist()) == (np.int64, [1, -1])

    def test_multi_label(self, tmp_path):
        samples = [Sample(tmp_path / "a", (0, 2), "train"), Sample(tmp_path / "b", (), "train")]
        dataset = Dataset(tmp_path, "ccv", ("x", "y", "z"), tuple(samples))
        assert dataset.is_multi_label
        labels = dataset.labels(samples)
        assert (labels.dtype, labels.tolist()) == (bool, [[True, False, True], [False, False, False]])


class TestGroups:
    @pytest.mark.parametrize(
        ("name", "class_name", "group"),
        [
            ("v_HandStandPushups_g01_c02.avi", "HandstandPushups", "HandstandPushups/g01"),
            ("v_Archery_g07_c01", "Archery", "Archery/g07"),
            ("My_brush_hair_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair", "brush_hair/My_brush_hair"),
            ("a.b_run_f_cm_np2_ri_bad_12", "run", "run/a.b"),
            ("my_run_1.mp4", "run", None),
            ("clip.mp4", "run", None),
        ],
    )
    def test_infer_group(self, tmp_path, name, class_name, group):
        assert infer_group(tmp_path / name, class_name=class_name) == group

    def test_straddling_groups(self, tmp_path):
        splits = {
            "a": ("train", "query"),
            "b": ("train", "gallery"),
            "c": ("gallery", "query"),
            "d": ("query", "query"),
        }
        samples = [
            Sample(tmp_path / f"{group}{i}", (0,), split, group)
            for group, both in splits.items()
            for i, split in enumerate(both)
        ]
        assert straddling_groups(samples) == {"a": Counter(train=1, query=1), "c": Counter(gallery=1, query=1)}

    def test_one_video_in_two_splits_straddles(self, tmp_path):
        samples = [Sample(tmp_path / "a.mp4", (0,), split) for split in ("train", "val")]
        assert list(straddling_groups(samples)) == [str(tmp_path / "a.mp4")]


class TestRecords:
    def test_frame_folder_refuses_nonsense(self):
        with pytest.raises(UsageError, match=r"got -1 and None"):
            FrameFolder(-1)
        with pytest.raises(UsageError, match=r"got 0 and 0"):
            FrameFolder(0, 0)


@pytest.mark.realdata
class TestRealClips:
    def test_lists(self, real_data):
        dataset = find_dataset(real_data / "jhmdb")
        assert dataset.describe() == "21 classes, 336 train, 268 query"
        assert dataset.format == "lists"
        assert straddling_groups(list(dataset.samples)) == {}
        assert all(sample.group for sample in dataset.samples)

    def test_class_folders(self, real_data):
        dataset = find_dataset(real_data / "jhmdb", format="folders")
        assert len(dataset.samples) == 604
        assert straddling_groups(list(dataset.samples)) == {}
        assert {sample.labels for sample in dataset.split("query")} == {(label,) for label in range(21)}
