"""c3dhash data split: lists that our readers read back as the split that was dealt."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from trees import make_tree, write_list

from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.split import split_dataset
from c3dhash.datasets.splitting import straddling_groups
from c3dhash.errors import DatasetError, UsageError
from c3dhash.records import FrameFolder, Segment

UCF = [f"{name}/v_{name}_g{g:02d}_c{c:02d}.avi" for name in ("Archery", "YoYo") for g in range(25) for c in range(4)]


def parts(dataset) -> dict[str, set]:
    """Return split -> (video, labels, segment, frames)."""
    found: dict[str, set] = {}
    for sample in dataset.samples:
        facts = (sample.video.resolve(), sample.labels, sample.segment, sample.frames)
        found.setdefault(sample.split, set()).add(facts)
    return found


class TestShares:
    def test_ucf101_groups(self, tmp_path):
        make_tree(tmp_path, *UCF)
        report = split_dataset(tmp_path)
        assert report.lists == {"train.txt": 128, "val.txt": 32, "test.txt": 40}
        assert (report.num_groups, report.format, report.notes) == (50, "lists", ())
        dataset = find_dataset(tmp_path)
        assert (dataset.format, dataset.classes) == ("lists", ("Archery", "YoYo"))
        assert straddling_groups(list(dataset.samples)) == {}
        counts = Counter((sample.labels, sample.split) for sample in dataset.samples)
        assert counts == {((i,), s): n for i in (0, 1) for s, n in (("train", 64), ("val", 16), ("query", 20))}

    def test_report(self, tmp_path):
        report = split_dataset(make_tree(tmp_path, *UCF), shares={"train": 0.5, "query": 0.5})
        assert report.to_text().splitlines() == [
            f"{tmp_path}/train.txt: 104 videos",
            f"{tmp_path}/test.txt: 96 videos",
            "50 groups",
        ]
        assert report.to_dict() == {
            "directory": str(tmp_path),
            "format": "lists",
            "lists": {"train.txt": 104, "test.txt": 96},
            "num_groups": 50,
            "notes": [],
        }

    def test_labels_that_say_the_same_stay(self, tmp_path):
        make_tree(tmp_path, *UCF, labels="1 Archery\n2 YoYo\n")
        split_dataset(tmp_path)
        assert (tmp_path / "labels.txt").read_text() == "1 Archery\n2 YoYo\n"

    def test_seed_decides(self, tmp_path):
        make_tree(tmp_path, *UCF)
        texts = []
        for seed in (1, 1, 2):
            split_dataset(tmp_path, seed=seed, overwrite=True, format="folders")
            texts.append((tmp_path / "train.txt").read_text())
        assert texts[0] == texts[1] != texts[2]

    def test_gallery_of_its_own(self, tmp_path):
        split_dataset(make_tree(tmp_path, *UCF), shares={"train": 0.25, "gallery": 0.5, "query": 0.25})
        dataset = find_dataset(tmp_path)
        assert {name: len(dataset.split(name)) for name in ("train", "gallery", "query")} == {
            "train": 48, "gallery": 104, "query": 48,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("shares", "text"),
        [
            ({"train": 0.5, "query": 0.4}, r"add up to 1, got 0.9"),
            ({"train": 1.2, "query": -0.2}, r"'query': -0.2"),
            ({"train": 0.5, "test": 0.5}, r"shares \(.*'test'.* of train, val, gallery, query"),
        ],
    )
    def test_wrong_shares(self, tmp_path, shares, text):
        with pytest.raises(UsageError, match=text):
            split_dataset(make_tree(tmp_path, *UCF), shares=shares)

    def test_too_few_groups(self, tmp_path):
        make_tree(tmp_path, "a/v_a_g01_c01.avi", "a/v_a_g01_c02.avi", "b/v_b_g01_c01.avi")
        with pytest.raises(DatasetError, match=r"has 2 groups, too few for 3 parts"):
            split_dataset(tmp_path)


class TestFolds:
    def test_every_sample_is_a_query_once(self, tmp_path):
        make_tree(tmp_path, *UCF)
        report = split_dataset(tmp_path, folds=5)
        assert len(report.lists) == 10
        queries = Counter()
        for fold in range(1, 6):
            dataset = find_dataset(tmp_path, split=fold)
            assert len(dataset.samples) == len(UCF)
            assert straddling_groups(list(dataset.samples)) == {}
            queries.update(sample.video for sample in dataset.split("query"))
            assert len(dataset.split("query")) == 40
        assert set(queries.values()) == {1}
        assert len(queries) == len(UCF)
        with pytest.raises(DatasetError, match=r"split \(6\)"):
            find_dataset(tmp_path, split=6)

    @pytest.mark.parametrize("folds", [0, 1, 100])
    def test_out_of_range(self, tmp_path, folds):
        with pytest.raises(UsageError, match=rf"folds \({folds}\) must be between 2 and 99"):
            split_dataset(tmp_path, folds=folds)

    def test_folds_and_shares(self, tmp_path):
        with pytest.raises(UsageError, match=r"folds \(5\) and shares .* exclude each other"):
            split_dataset(tmp_path, folds=5, shares={"train": 1.0})

    def test_too_few_groups(self, tmp_path):
        make_tree(tmp_path, "a/1.avi", "b/2.avi")
        with pytest.raises(DatasetError, match=r"has 2 groups, too few for 3 parts"):
            split_dataset(tmp_path, folds=3)


class TestGroupRegex:
    def tree(self, root):
        names = [f"{name}/person{p:02d}_{name}_d{d}.avi" for name in ("run", "sit") for p in range(10) for d in (1, 2)]
        return make_tree(root, *names)

    def test_groups_across_classes(self, tmp_path):
        report = split_dataset(self.tree(tmp_path), group_regex=r"person(\d+)_")
        assert report.num_groups == 10
        persons: dict[str, set] = {}
        for sample in find_dataset(tmp_path).samples:
            persons.setdefault(sample.video.name[:8], set()).add(sample.split)
        assert all(len(splits) == 1 for splits in persons.values())

    def test_without_a_group_the_whole_match_counts(self, tmp_path):
        assert split_dataset(self.tree(tmp_path), group_regex=r"\w+/person\d+").num_groups == 20

    def test_a_name_that_does_not_match(self, tmp_path):
        make_tree(self.tree(tmp_path), "sit/other.avi")
        with pytest.raises(DatasetError, match=r"group_regex \('person'\) does not match 'sit/other'"):
            split_dataset(tmp_path, group_regex="person")

    def test_no_regex(self, tmp_path):
        with pytest.raises(UsageError, match=r"group_regex \('\('\) is no regular expression"):
            split_dataset(self.tree(tmp_path), group_regex="(")


class TestSources:
    """What is read back is what was dealt, whatever the data set looks like."""

    def check(self, directory, convention, **options):
        before = find_dataset(directory, **options)
        report = split_dataset(directory, output_dir=directory / "new", **options)
        after = find_dataset(directory / "new")
        assert report.format == after.format == convention
        assert after.classes == before.classes
        assert set().union(*parts(after).values()) == set().union(*parts(before).values())
        split_of = {"train.txt": "train", "val.txt": "val", "test.txt": "query"}
        assert {split: len(found) for split, found in parts(after).items()} == {
            split_of[name]: count for name, count in report.lists.items()
        }
        return report

    def test_nasty_names(self, tmp_path):
        names = [f"#a;b/[{i}] (x) & ä!@~+,{i}.mp4" for i in range(5)] + [f"-c d/{i} 5.avi" for i in range(5)]
        self.check(make_tree(tmp_path, *names), "lists")

    def test_frame_folders(self, tmp_path):
        make_tree(tmp_path, *(f"{name}/video {i}/" for name in ("run", "sit") for i in range(5)))
        self.check(tmp_path, "lists")

    def test_parts_of_frame_folders(self, tmp_path):
        lines = [f"v{i} {offset} 2 {i % 2}" for i in range(8) for offset in (0, 1)]
        make_tree(tmp_path, *(f"v{i}/" for i in range(8)), train="\n".join(lines))
        self.check(tmp_path, "rawframes_offset")
        for sample in find_dataset(tmp_path / "new").samples:
            assert sample.frames in (FrameFolder(0, 2), FrameFolder(1, 2))

    def test_frame_folders_with_and_without_a_count(self, tmp_path):
        make_tree(tmp_path, *(f"run/{i}/" for i in range(6)))
        annotations = [{"label": "run"}, {"label": "run", "segment": [2, 4]}]
        database = {str(i): {"subset": "training", "annotations": annotations[i % 2]} for i in range(6)}
        write_list(tmp_path / "a.json", json.dumps({"database": database}))
        split_dataset(tmp_path, output_dir=tmp_path / "new")
        found = {sample.video.name: sample.frames for sample in find_dataset(tmp_path / "new").samples}
        assert found == {str(i): FrameFolder(1, 2) if i % 2 else FrameFolder(0, 3) for i in range(6)}

    def test_segments(self, tmp_path):
        lines = [f"v{i}.mp4 {start} {start + 1.5} {i % 2}" for i in range(8) for start in (0, 2.25)]
        make_tree(tmp_path, *(f"v{i}.mp4" for i in range(8)), train="\n".join(lines))
        self.check(tmp_path, "segments")
        assert find_dataset(tmp_path / "new").samples[0].segment in (Segment(0, 1.5), Segment(2.25, 3.75))

    def test_several_labels_and_none(self, tmp_path):
        labels = ["0 1", "1", "0", "-1"] * 5
        lines = [f"v{i}.mp4 {label}" for i, label in enumerate(labels)]
        make_tree(tmp_path, *(f"v{i}.mp4" for i in range(20)), train="\n".join(lines), labels="1 cat\n2 dog")
        report = self.check(tmp_path, "lists")
        assert sum(report.lists.values()) == 20

    def test_unlabelled_videos_are_left_out(self, tmp_path):
        train = "".join(f"v{i}.mp4 {i % 2}\n" for i in range(8))
        make_tree(tmp_path, *(f"v{i}.mp4" for i in range(9)), train=train, test="v8.mp4")
        report = split_dataset(tmp_path, output_dir=tmp_path / "new")
        assert "1 videos without a label are left out." in report.notes
        assert sum(report.lists.values()) == 8

    def test_a_video_in_two_splits_is_dealt_once(self, tmp_path):
        train = "".join(f"v{i}.mp4 {i % 2}\n" for i in range(8))
        make_tree(tmp_path, *(f"v{i}.mp4" for i in range(8)), train=train, gallery=train, test="v0.mp4 0")
        assert sum(split_dataset(tmp_path, output_dir=tmp_path / "new").lists.values()) == 8

    def test_class_names_that_begin_with_numbers(self, tmp_path):
        make_tree(tmp_path, *(f"{name}/{i}.mp4" for name in ("1 step", "2 steps") for i in range(5)))
        split_dataset(tmp_path)
        assert find_dataset(tmp_path, format="lists").classes == ("1 step", "2 steps")

    @pytest.mark.parametrize("name", ["run/a\nb.mp4", "a .mp4 3", " run/a.mp4"])
    def test_a_name_that_a_list_cannot_hold(self, tmp_path, name):
        make_tree(tmp_path, *(f"run/{i}.mp4" for i in range(5)))
        if name.endswith(" 3"):
            make_tree(tmp_path, f"sit/{name}/", *(f"sit/{i}/" for i in range(3)))
        else:
            make_tree(tmp_path, name)
        with pytest.raises(DatasetError, match=r"cannot be listed as 'PATH LABEL' with labels \(\d,\); rename it"):
            split_dataset(tmp_path, format="frame_folders" if name.endswith(" 3") else "folders")

    def test_missing_videos(self, tmp_path):
        make_tree(tmp_path, *(f"v{i}.mp4" for i in range(8)), train="".join(f"v{i}.mp4 {i % 2}\n" for i in range(9)))
        with pytest.raises(DatasetError, match=r"1 of 9 videos"):
            split_dataset(tmp_path, output_dir=tmp_path / "new")
        report = split_dataset(tmp_path, output_dir=tmp_path / "new", allow_missing=True)
        assert sum(report.lists.values()) == 8
        assert report.notes == ("1 listed videos are missing and left out.",)
        assert report.to_text().splitlines()[-1] == f"note: {report.notes[0]}"


class TestOutput:
    def test_lists_are_not_overwritten(self, tmp_path):
        make_tree(tmp_path, *UCF, test="Archery/v_Archery_g00_c00.avi 0")
        with pytest.raises(UsageError, match=r"there is a list '.*test.txt' already; --force replaces it"):
            split_dataset(tmp_path, format="folders")
        split_dataset(tmp_path, format="folders", overwrite=True)
        assert len(find_dataset(tmp_path).split("query")) == 40

    def test_lists_that_would_be_read_too(self, tmp_path):
        make_tree(tmp_path, *UCF)
        split_dataset(tmp_path, folds=3)
        with pytest.raises(UsageError, match=r"split_1.txt' already; move it away"):
            split_dataset(tmp_path, format="folders", overwrite=True)

    def test_other_class_names(self, tmp_path):
        make_tree(tmp_path, *UCF, new__labels="a\nb")
        with pytest.raises(UsageError, match=r"new/labels.txt' names other classes"):
            split_dataset(tmp_path, output_dir=tmp_path / "new")

    def test_published_lists_stay_and_a_note_says_how_to_read_ours(self, tmp_path):
        lists = {"classInd": "1 Archery\n2 YoYo", "trainlist01": "\n".join(UCF[:60] + UCF[100:160]),
                 "testlist01": "\n".join(UCF[60:100] + UCF[160:])}  # fmt: skip
        make_tree(tmp_path, *UCF, **{f"ucfTrainTestlist__{name}": text for name, text in lists.items()})
        report = split_dataset(tmp_path)
        assert "is read as ucf101; for these lists type: --format lists" in report.notes[-1]
        assert find_dataset(tmp_path).format == "ucf101"
        assert len(find_dataset(tmp_path, format="lists").split("val")) == 32

    def test_nothing_is_written_when_something_is_wrong(self, tmp_path):
        make_tree(tmp_path, *UCF)
        with pytest.raises(DatasetError, match=r"'nothing'"):
            split_dataset(tmp_path, output_dir=tmp_path / "new", group_regex="nothing")
        assert not (tmp_path / "new").exists()


@pytest.mark.realdata
def test_real_clips(real_data, tmp_path):
    report = split_dataset(real_data / "jhmdb", output_dir=tmp_path)
    assert sum(report.lists.values()) == 604
    dataset = find_dataset(tmp_path)
    assert straddling_groups(list(dataset.samples)) == {}
    assert {sample.labels for sample in dataset.split("query")} == {(label,) for label in range(21)}
