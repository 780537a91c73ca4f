"""List files in every convention, from every place, and what is wrong with some."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import found, make_tree, write_list

from c3dhash.datasets.conventions import CONVENTIONS, Line, format_line
from c3dhash.datasets.find import find_dataset, recognise
from c3dhash.datasets.text import read_class_names
from c3dhash.errors import DatasetError
from c3dhash.records import FrameFolder, Segment


class TestLines:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("a/b.mp4 3", Line("a/b.mp4", (3,))),
            ("a b/c 1.avi\t0", Line("a b/c 1.avi", (0,))),
            ("a.mp4 7.mp4 5", Line("a.mp4 7.mp4", (5,))),
            ("a.mp4,5", Line("a.mp4", (5,))),
            ("a.mp4 5 1 3", Line("a.mp4", (1, 3, 5))),
            ("a.mp4 -1", Line("a.mp4", ())),
            ("a.mp4", Line("a.mp4", None)),
            ("brush_hair/v 12", Line("brush_hair/v", (12,))),
            ("clip 12/v 9 3", Line("clip 12/v 9", (3,))),
            (r"a\b.mp4 3", Line("a/b.mp4", (3,))),
            ("a/b/ 3", Line("a/b", (3,))),
            ("A.MP4 3", Line("A.MP4", (3,))),
            ("a.mp4 1.5", None),
            ("a.mp4 -2", None),
        ],
    )
    def test_lists(self, line, expected):
        assert CONVENTIONS["lists"].parse(line) == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("a/v 120 3", Line("a/v", (3,), frames=FrameFolder(0, 120))),
            ("a/v 120 3 5", Line("a/v", (3, 5), frames=FrameFolder(0, 120))),
            ("a/v 3", None),
            ("a/v 0 3", None),
            ("a/v.mp4 120 3", None),
            ("a/v 1.5 3", None),
        ],
    )
    def test_rawframes(self, line, expected):
        assert CONVENTIONS["rawframes"].parse(line) == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("a/v 12 163 3", Line("a/v", (3,), frames=FrameFolder(12, 163))),
            ("a/v 0 163 3", Line("a/v", (3,), frames=FrameFolder(0, 163))),
            ("a/v 163 3", None),
            ("a/v 5 0 3", None),
            ("a/v.avi 12 163 3", None),
        ],
    )
    def test_rawframes_offset(self, line, expected):
        assert CONVENTIONS["rawframes_offset"].parse(line) == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("a.mp4 1.5 3 7", Line("a.mp4", (7,), Segment(1.5, 3))),
            ("a.mp4 0 10 7", Line("a.mp4", (7,), Segment(0, 10))),
            ("a/v 0.0 2.5 7", Line("a/v", (7,), Segment(0, 2.5))),
            ("a.mp4 10 0 7", None),
            ("a.mp4 0 10", None),
            ("a.mp4 0 10 1.5", None),
            ("a/v 0 10 7", None),
        ],
    )
    def test_segments(self, line, expected):
        assert CONVENTIONS["segments"].parse(line) == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("0 3 a b.mp4", Line("a b.mp4", (3,))),
            ("17\t0\ta/v", Line("a/v", (0,))),
            ("a.mp4 3", None),
            ("0 3 17", None),
            ("0 3 a.mp4 5", None),
        ],
    )
    def test_numbered(self, line, expected):
        assert CONVENTIONS["numbered"].parse(line) == expected

    @given(
        path=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="\\/"), min_size=1),
        label=st.integers(0, 400),
    )
    def test_any_name_of_a_video_is_read_back(self, path, label):
        line = Line(f"run/{path}.mp4", (label,))
        assert CONVENTIONS["lists"].parse(format_line(line)) == line

    @pytest.mark.parametrize(
        ("line", "text"),
        [
            (Line("a.mp4", (3,)), "a.mp4 3"),
            (Line("a.mp4", (1, 3)), "a.mp4 1 3"),
            (Line("a.mp4", (3,), Segment(0, 2.5)), "a.mp4 0.0 2.5 3"),
            (Line("a.mp4", ()), "a.mp4 -1"),
            (Line("a.mp4", None), "a.mp4"),
            (Line("a", (3,), frames=FrameFolder(2, 5)), "a 2 5 3"),
            (Line("a", (3,), frames=FrameFolder()), "a 3"),
        ],
    )
    def test_format_line(self, line, text):
        assert format_line(line) == text


class TestFormats:
    """One small set a convention, recognised by looking."""

    def test_path_and_label(self, tmp_path):
        make_tree(tmp_path, "run/a.mp4", "sit/b c.mp4", "run/d.mp4",
                  train="run/a.mp4 0\nsit/b c.mp4 1", test="run/d.mp4 0")  # fmt: skip
        dataset = find_dataset(tmp_path)
        assert (dataset.format, dataset.classes) == ("lists", ("run", "sit"))
        assert found(dataset) == [
            ("run/a.mp4", ("run",), "train"), ("sit/b c.mp4", ("sit",), "train"), ("run/d.mp4", ("run",), "query"),
        ]  # fmt: skip

    def test_five_splits_by_name(self, tmp_path):
        names = {"train": "train", "val": "val", "gallery": "gallery", "query": "query"}
        make_tree(tmp_path, *(f"{name}.mp4" for name in names), **{name: f"{name}.mp4 0" for name in names})
        expected = sorted((f"{name}.mp4", ("0",), split) for name, split in names.items())
        assert sorted(found(find_dataset(tmp_path))) == expected

    def test_mmaction2_videos_with_several_labels(self, tmp_path):
        make_tree(tmp_path, "videos/a.mp4", "videos/b.mp4", "videos/c.mp4", "videos/d.mp4",
                  k_train_list_videos="a.mp4 0 2\nb.mp4 1", k_val_list_videos="c.mp4 2",
                  k_test_list_videos="d.mp4 0 1 2")  # fmt: skip
        dataset = find_dataset(tmp_path)
        assert (dataset.format, dataset.is_multi_label) == ("lists", True)
        assert [sample.labels for sample in dataset.samples] == [(0, 2), (1,), (2,), (0, 1, 2)]
        assert [sample.split for sample in dataset.samples] == ["train", "train", "val", "query"]

    def test_mmaction2_rawframes(self, tmp_path):
        make_tree(tmp_path, "rawframes/run/v1/", "rawframes/sit/v2/",
                  ucf101_train_split_1_rawframes="run/v1 3 0", ucf101_val_split_1_rawframes="sit/v2 3 1")  # fmt: skip
        dataset = find_dataset(tmp_path)
        assert (dataset.format, dataset.classes) == ("rawframes", ("run", "sit"))
        assert found(dataset)[1] == ("rawframes/sit/v2", ("sit",), "query")
        assert {sample.frames for sample in dataset.samples} == {FrameFolder(0, 3)}

    def test_mmaction2_rawframes_with_offset(self, tmp_path):
        make_tree(tmp_path, "v1/", train="v1 0 2 0\nv1 1 2 1")
        dataset = find_dataset(tmp_path)
        assert dataset.format == "rawframes_offset"
        assert [sample.frames for sample in dataset.samples] == [FrameFolder(0, 2), FrameFolder(1, 2)]

    def test_mmaction2_rawframes_with_several_labels(self, tmp_path):
        make_tree(tmp_path, "v1/", "v2/", train="v1 3 0 2\nv2 3 1")
        dataset = find_dataset(tmp_path)
        assert dataset.format == "rawframes"
        assert [sample.labels for sample in dataset.samples] == [(0, 2), (1,)]

    def test_rawframes_list_of_videos(self, tmp_path):
        make_tree(tmp_path, "videos/run/v1.avi", train="run/v1 120 0")
        (sample,) = find_dataset(tmp_path).samples
        assert (sample.video.name, sample.frames) == ("v1.avi", None)

    def test_pytorchvideo(self, tmp_path):
        make_tree(tmp_path, "my videos/a b.mp4", "my videos/c.mp4", train=f"{tmp_path}/my videos/a b.mp4 0",
                  test=f"{tmp_path}/my videos/c.mp4")  # fmt: skip
        assert found(find_dataset(tmp_path)) == [
            ("my videos/a b.mp4", ("my videos",), "train"), ("my videos/c.mp4", (), "query"),
        ]  # fmt: skip

    def test_no_label_on_purpose(self, tmp_path):
        make_tree(tmp_path, "a.mp4", "b.mp4", train="a.mp4 0 1\nb.mp4 -1")
        assert [sample.labels for sample in find_dataset(tmp_path).samples] == [(0, 1), ()]

    def test_csv_without_header(self, tmp_path):
        make_tree(tmp_path, "a.mp4")
        write_list(tmp_path / "train.csv", "a.mp4,0\n")
        assert find_dataset(tmp_path).format == "lists"

    def test_three_columns(self, tmp_path):
        make_tree(tmp_path, "run/a b.mp4", "run/c.mp4", train="0 1 run/a b.mp4\n1 0 run/c.mp4")
        dataset = find_dataset(tmp_path)
        assert dataset.format == "numbered"
        assert [sample.video.name for sample in dataset.samples] == ["a b.mp4", "c.mp4"]
        assert [sample.labels for sample in dataset.samples] == [(1,), (0,)]

    def test_segments(self, tmp_path):
        make_tree(tmp_path, "a.mp4", train="a.mp4 0 2 0\na.mp4 2 4.5 1", test="a.mp4 5 6 1")
        dataset = find_dataset(tmp_path)
        assert dataset.format == "segments"
        assert [sample.segment for sample in dataset.samples] == [Segment(0, 2), Segment(2, 4.5), Segment(5, 6)]

    def test_three_labels_are_no_times(self, tmp_path):
        make_tree(tmp_path, "a.mp4", "b.mp4", train="a.mp4 0 2 1\nb.mp4 2 1 0")
        assert [sample.labels for sample in find_dataset(tmp_path).samples] == [(0, 1, 2), (0, 1, 2)]
        make_tree(tmp_path, train="a.mp4 0 2 1\nb.mp4 1 2 0")
        assert find_dataset(tmp_path).format == "segments"
        assert find_dataset(tmp_path, format="lists").samples[1].labels == (0, 1, 2)

    def test_numbers_at_the_end_of_folder_names(self, tmp_path):
        # "video 1 0" reads as one frame of "video" too; the folders that are there decide.
        make_tree(tmp_path, "run/video 1/", "run/video 2/", train="run/video 1 0\nrun/video 2 0")
        dataset = find_dataset(tmp_path)
        assert [name for name, _, _ in found(dataset)] == ["run/video 1", "run/video 2"]
        assert dataset.format == "lists"


class TestPlaces:
    @pytest.mark.parametrize("prefix", ["/home/someone/data/", "data/hmdb51/videos/", "./"])
    def test_paths_of_another_machine(self, tmp_path, prefix):
        make_tree(tmp_path, "videos/run/a.mp4", "videos/sit/b.mp4", train=f"{prefix}run/a.mp4 0\n{prefix}sit/b.mp4 1")
        assert [name for name, _, _ in found(find_dataset(tmp_path))] == ["videos/run/a.mp4", "videos/sit/b.mp4"]

    def test_leading_folders_are_left_off_of_all_paths_alike(self, tmp_path):
        make_tree(tmp_path, "run/a.mp4", "b.mp4", train="/x/run/a.mp4 0\n/x/sit/b.mp4 1")
        with pytest.raises(DatasetError, match=r"1 of 2 videos .*'sit/b.mp4'"):
            find_dataset(tmp_path)

    def test_each_split_has_its_own_folder(self, tmp_path):
        make_tree(tmp_path, "videos_train/1.mp4", "videos_val/1.mp4", train="1.mp4 0", val="1.mp4 0")
        assert [name for name, _, _ in found(find_dataset(tmp_path))] == ["videos_train/1.mp4", "videos_val/1.mp4"]

    def test_path_as_it_stands_comes_first(self, tmp_path):
        make_tree(tmp_path, "a.mp4", "train/a.mp4", train="a.mp4 0")
        assert found(find_dataset(tmp_path))[0][0] == "a.mp4"

    def test_other_suffix(self, tmp_path):
        make_tree(tmp_path, "run/a.mkv", "run/b.v2.mp4", train="run/a.avi 0\nrun/b.v2 0")
        assert [name for name, _, _ in found(find_dataset(tmp_path))] == ["run/a.mkv", "run/b.v2.mp4"]

    def test_videos_outside_the_folder_of_the_lists(self, tmp_path):
        make_tree(tmp_path, "videos_elsewhere/a.mp4", lists__train="../videos_elsewhere/a.mp4 0")
        (sample,) = find_dataset(tmp_path / "lists").samples
        assert sample.video.samefile(tmp_path / "videos_elsewhere/a.mp4")

    @pytest.mark.parametrize("folder", ["annotations", "Label_Split", "lists", "splits"])
    def test_list_folders(self, tmp_path, folder):
        make_tree(tmp_path, "run/a.mp4", **{f"{folder}__trainlist": "run/a.mp4 0"})
        assert recognise(tmp_path) == "lists"


class TestSplitNumbers:
    @pytest.mark.parametrize(
        "pattern", ["train{}", "trainlist0{}", "train_split_{}", "ucf_split{}_train", "train_{}", "fold{}_train"]
    )
    def test_number_in_the_name(self, tmp_path, pattern):
        names = {i: pattern.format(i) for i in (1, 2)}
        make_tree(tmp_path, "1.mp4", "2.mp4", **{name: f"{i}.mp4 0" for i, name in names.items()})
        assert found(find_dataset(tmp_path))[0][0] == "1.mp4"
        assert found(find_dataset(tmp_path, split=2))[0][0] == "2.mp4"
        with pytest.raises(DatasetError, match=r"split \(3\) has no list in .*; there are lists of split 1, 2\."):
            find_dataset(tmp_path, split=3)

    def test_common_test_list(self, tmp_path):
        make_tree(tmp_path, "a.mp4", "b.mp4", "t.mp4", train_split1="a.mp4 0", train_split2="b.mp4 0", test="t.mp4 0")
        assert [name for name, _, _ in found(find_dataset(tmp_path, split=2))] == ["b.mp4", "t.mp4"]

    def test_lists_without_a_number_are_split_1(self, tmp_path):
        make_tree(tmp_path, "a.mp4", train="a.mp4 0")
        with pytest.raises(DatasetError, match=r"split \(2\) has no list"):
            find_dataset(tmp_path, split=2)

    def test_counts_are_no_split(self, tmp_path):
        make_tree(tmp_path, "a.mp4", train_10_210="a.mp4 0")
        assert len(find_dataset(tmp_path).samples) == 1

    def test_resolution_is_no_split(self, tmp_path):
        make_tree(tmp_path, "a.mp4", train_256="a.mp4 0")
        assert len(find_dataset(tmp_path).samples) == 1

    def test_two_lists_for_the_same(self, tmp_path):
        make_tree(tmp_path, "a.mp4", train_10_210="a.mp4 0", train_5_105="a.mp4 0")
        with pytest.raises(DatasetError, match=r"two lists for train: '.*train_10_210.txt' and '.*train_5_105.txt'"):
            find_dataset(tmp_path)

    def test_lists_whose_videos_are_there_are_read(self, tmp_path):
        make_tree(tmp_path, "rawframes/run/v1/", train_videos="run/v1.mp4 0", train_rawframes="run/v1 3 0")
        dataset = find_dataset(tmp_path)
        assert dataset.format == "lists"  # a video list reads frame folders too
        assert "train_rawframes.txt' and what belongs to it is not read." in dataset.notes[0]
        assert find_dataset(tmp_path, format="rawframes").samples[0].frames == FrameFolder(0, 3)

    def test_notes_beside_the_lists(self, tmp_path):
        make_tree(tmp_path, "a.mp4", train="a.mp4 0", training_log="loss 3.5\nloss 2.1", test_results="")
        assert len(find_dataset(tmp_path).samples) == 1


class TestClassNames:
    @pytest.mark.parametrize(
        "text",
        ["Apply Eye Makeup\nYo Yo\n", "1 Apply Eye Makeup\r\n2 Yo Yo\r\n", "0 Apply Eye Makeup\n1\tYo Yo"],
    )
    def test_both_spellings(self, tmp_path, text):
        assert read_class_names(write_list(tmp_path / "labels.txt", text)) == ("Apply Eye Makeup", "Yo Yo")

    @pytest.mark.parametrize("text", ["2 girls\n1 cup", "10\n20", "1 a\n3 b"])
    def test_numbers_that_belong_to_the_name(self, tmp_path, text):
        assert read_class_names(write_list(tmp_path / "labels.txt", text)) == tuple(text.split("\n"))

    def test_name_twice(self, tmp_path):
        path = write_list(tmp_path / "labels.txt", "run\nsit\n\nrun")
        with pytest.raises(DatasetError, match=r"labels.txt' line 4: class 'run' is in line 1 too"):
            read_class_names(path)

    def test_byte_order_mark(self, tmp_path):
        path = tmp_path / "labels.txt"
        path.write_bytes(b"\xef\xbb\xbfrun\n")
        assert read_class_names(path) == ("run",)

    @pytest.mark.parametrize("name", ["labels", "annotations__classes", "label_map_ucf101"])
    def test_file_beats_folders(self, tmp_path, name):
        make_tree(tmp_path, "x/a.mp4", train="x/a.mp4 1", **{name: "run\nsit"})
        assert find_dataset(tmp_path).classes == ("run", "sit")

    def test_numbers_where_a_label_has_two_folders(self, tmp_path):
        make_tree(tmp_path, "x/a.mp4", "y/b.mp4", train="x/a.mp4 0\ny/b.mp4 0")
        assert find_dataset(tmp_path).classes == ("0",)

    def test_numbers_where_there_are_no_folders(self, tmp_path):
        make_tree(tmp_path, "a.mp4", "b.mp4", train="a.mp4 0\nb.mp4 2")
        assert find_dataset(tmp_path).classes == ("0", "1", "2")


class TestWrongLists:
    @pytest.mark.parametrize(
        ("good", "bad", "form"),
        [
            ("a.mp4 0", "a.mp4", "PATH LABEL"),
            ("a.mp4 0", "a.mp4 x", "PATH LABEL"),
            ("a.mp4 0", "a.mp4 0.5", "PATH LABEL"),
            ("a.mp4 0 1 0", "a.mp4 3 2 0", "PATH START END LABEL"),
            ("a 3 0", "a 0 0", "FOLDER NUM_FRAMES LABEL"),
            ("a 0 3 0", "a 3 0", "FOLDER OFFSET NUM_FRAMES LABEL"),
            ("0 0 a.mp4", "1 a.mp4", "INDEX LABEL PATH"),
        ],
    )
    def test_file_and_line(self, tmp_path, good, bad, form):
        make_tree(tmp_path, "a.mp4", "a/", train=f"{good}\n{good}\n\n{bad}\n")
        with pytest.raises(DatasetError, match=f"train.txt' line 4: expected '{form}.*got '{bad}'"):
            find_dataset(tmp_path)

    def test_a_label_that_is_none_in_a_test_list(self, tmp_path):
        make_tree(tmp_path, "a/", train="a 3 0", test="a 3")  # frames without a label, or a label without frames?
        with pytest.raises(DatasetError, match=r"test.txt' line 1: expected 'FOLDER NUM_FRAMES LABEL"):
            find_dataset(tmp_path)

    def test_labels_that_count_from_1(self, tmp_path):
        make_tree(tmp_path, "a.mp4", "b.mp4", train="a.mp4 1\nb.mp4 2", labels="run\nsit")
        text = r"train.txt' line 2: label 2 of 'b.mp4' must be between 0 and 1, .*from 0"
        with pytest.raises(DatasetError, match=text):
            find_dataset(tmp_path)

    def test_forced_convention_that_no_line_follows(self, tmp_path):
        make_tree(tmp_path, "a.mp4", train="a.mp4 0")
        with pytest.raises(DatasetError, match=r"no list of split 1 in .* has lines 'INDEX LABEL PATH'"):
            find_dataset(tmp_path, format="numbered")
