"""Data sets as their authors publish them: UCF101, HMDB51, JHMDB, CCV, Kinetics, and JSON lists."""

from __future__ import annotations

import json

import pytest
from trees import found, make_tree, write_list

from c3dhash.datasets.find import find_dataset, recognise
from c3dhash.errors import DatasetError
from c3dhash.records import FrameFolder, Segment


class TestUCF101:
    CLASSES = "1 Archery\r\n2 HandstandPushups\r\n3 YoYo\r\n"
    MEDIA = (
        "Archery/v_Archery_g01_c01.avi",
        "HandstandPushups/v_HandStandPushups_g01_c01.avi",
        "HandstandPushups/v_HandStandPushups_g02_c04.avi",
        "YoYo/v_YoYo_g25_c01.avi",
    )
    TRAIN = "Archery/v_Archery_g01_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g01_c01.avi 2\r\n"
    TEST = "HandstandPushups/v_HandStandPushups_g02_c04.avi\r\nYoYo/v_YoYo_g25_c01.avi\r\n"

    def tree(self, root, prefix="", folder="ucfTrainTestlist", **lists):
        lists = {"classInd": self.CLASSES, "trainlist01": self.TRAIN, "testlist01": self.TEST, **lists}
        media = [prefix + name for name in self.MEDIA]
        return make_tree(root, *media, **{f"{folder}__{name}": text for name, text in lists.items()})

    @pytest.mark.parametrize("prefix", ["", "UCF-101/", "UCF101/", "videos/"])
    def test_official_lists(self, tmp_path, prefix):
        dataset = find_dataset(self.tree(tmp_path, prefix))
        assert dataset.format == "ucf101"
        assert dataset.classes == ("Archery", "HandstandPushups", "YoYo")
        assert found(dataset) == [
            (prefix + self.MEDIA[0], ("Archery",), "train"),
            (prefix + self.MEDIA[1], ("HandstandPushups",), "train"),
            (prefix + self.MEDIA[2], ("HandstandPushups",), "query"),
            (prefix + self.MEDIA[3], ("YoYo",), "query"),
        ]
        assert [sample.group for sample in dataset.samples] == [
            "Archery/g01", "HandstandPushups/g01", "HandstandPushups/g02", "YoYo/g25",
        ]  # fmt: skip

    def test_lists_where_mmaction2_puts_them(self, tmp_path):
        assert find_dataset(self.tree(tmp_path, "videos/", folder="annotations")).format == "ucf101"

    def test_split(self, tmp_path):
        self.tree(tmp_path, trainlist03=self.MEDIA[3] + " 3", testlist03=self.MEDIA[0])
        assert [name for name, _, _ in found(find_dataset(tmp_path, split=3))] == [self.MEDIA[3], self.MEDIA[0]]

    def test_frame_folders_beside_the_lists(self, tmp_path):
        make_tree(tmp_path, *(f"rawframes/{name[:-4]}/" for name in self.MEDIA))
        for path in self.tree(tmp_path / "other").glob("ucf*/*"):
            write_list(tmp_path / "ucfTrainTestlist" / path.name, path.read_text())
        dataset = find_dataset(tmp_path, format="ucf101", allow_missing=False)
        assert [sample.frames for sample in dataset.samples] == [FrameFolder()] * 4
        assert dataset.samples[1].group == "HandstandPushups/g01"

    def test_other_suffix_and_no_class_folders(self, tmp_path):
        lists = {"classInd": self.CLASSES, "trainlist01": self.TRAIN, "testlist01": self.TEST}
        media = [f"videos/{name.rpartition('/')[2][:-4]}.mp4" for name in self.MEDIA]
        make_tree(tmp_path, *media, **{f"ucfTrainTestlist__{k}": v for k, v in lists.items()})
        dataset = find_dataset(tmp_path)
        assert found(dataset)[1] == (media[1], ("HandstandPushups",), "train")

    def test_split_that_is_not_there(self, tmp_path):
        with pytest.raises(DatasetError, match=r"split \(4\) of UCF101 needs .*trainlist04.txt"):
            find_dataset(self.tree(tmp_path), split=4)

    def test_unknown_class(self, tmp_path):
        with pytest.raises(DatasetError, match=r"trainlist01.txt' line 2: class 'Jump' of 'Jump/v.avi 9' is not in"):
            find_dataset(self.tree(tmp_path, trainlist01=self.MEDIA[0] + " 1\nJump/v.avi 9"))

    def test_line_without_a_class(self, tmp_path):
        with pytest.raises(DatasetError, match=r"line 1: class None of 'v.avi 1' is not in"):
            find_dataset(self.tree(tmp_path, trainlist01="v.avi 1"))

    def test_label_that_contradicts_the_directory(self, tmp_path):
        with pytest.raises(DatasetError, match=r"line 1: label 3 does not fit directory 'Archery', which is class 1"):
            find_dataset(self.tree(tmp_path, trainlist01=self.MEDIA[0] + " 3"))

    def test_wrong_class_list(self, tmp_path):
        with pytest.raises(DatasetError, match=r"classInd.txt' line 2: expected '2 ClassName', got '3 YoYo'"):
            find_dataset(self.tree(tmp_path, classInd="1 Archery\n3 YoYo"))

    def test_list_that_is_no_text(self, tmp_path):
        (self.tree(tmp_path) / "ucfTrainTestlist/trainlist01.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DatasetError, match=r"trainlist01.txt' cannot be read"):
            find_dataset(tmp_path)

    def test_missing_videos_of_both_lists_are_counted(self, tmp_path):
        self.tree(tmp_path)
        (tmp_path / self.MEDIA[0]).unlink()
        (tmp_path / self.MEDIA[3]).unlink()
        with pytest.raises(DatasetError, match=f"2 of 4 videos .*'{self.MEDIA[0]}', '{self.MEDIA[3]}'; put them there"):
            find_dataset(tmp_path)


class TestHMDB51:
    NASTY = (
        "April_[09]_#1;2&3!@~+_(a)_brush_hair_u_nm_np1_ba_goo_0.avi",
        "Trannydude___Brushing_SyntheticHair___OhNOES!__those_fukin_knots!_brush_hair_u_nm_np1_fr_goo_0.avi",
        "veronica.mars.s01_brush_hair_h_cm_np1_fr_med_3.avi",
    )
    SMILE = "smile_smile_h_nm_np1_fr_goo_1.avi"

    def tree(self, root, prefix="", folder="testTrainMulti_7030_splits", **lists):
        media = [f"{prefix}brush_hair/{name}" for name in self.NASTY] + [f"{prefix}smile/{self.SMILE}"]
        lists = {
            "brush_hair_test_split1": f"{self.NASTY[0]} 1 \n{self.NASTY[1]} 2 \r\n{self.NASTY[2]} 0 \n",
            "smile_test_split1": f"{self.SMILE} 1\n",
            **lists,
        }
        return make_tree(root, *media, **{f"{folder}__{name}": text for name, text in lists.items()})

    @pytest.mark.parametrize("prefix", ["", "videos/", "hmdb51_org/"])
    @pytest.mark.parametrize("folder", ["testTrainMulti_7030_splits", "splits", "annotations"])
    def test_official_lists(self, tmp_path, prefix, folder):
        dataset = find_dataset(self.tree(tmp_path, prefix, folder))
        assert dataset.format == "hmdb51"
        assert dataset.classes == ("brush_hair", "smile")
        assert found(dataset) == [
            (f"{prefix}brush_hair/{self.NASTY[0]}", ("brush_hair",), "train"),
            (f"{prefix}brush_hair/{self.NASTY[1]}", ("brush_hair",), "query"),
            (f"{prefix}smile/{self.SMILE}", ("smile",), "train"),
        ]
        assert dataset.samples[0].group == "brush_hair/April_[09]_#1;2&3!@~+_(a)"

    def test_split(self, tmp_path):
        self.tree(tmp_path, brush_hair_test_split2=f"{self.NASTY[2]} 1", smile_test_split2=f"{self.SMILE} 2")
        assert [name for name, _, _ in found(find_dataset(tmp_path, split=2))] == [
            f"brush_hair/{self.NASTY[2]}", f"smile/{self.SMILE}",
        ]  # fmt: skip

    def test_classes_unpacked_into_a_folder_of_their_name(self, tmp_path):
        make_tree(tmp_path, f"smile/smile/{self.SMILE}", splits__smile_test_split1=f"{self.SMILE} 1")
        assert found(find_dataset(tmp_path))[0][0] == f"smile/smile/{self.SMILE}"

    def test_split_that_is_not_there(self, tmp_path):
        with pytest.raises(DatasetError, match=r"split \(3\) is not in '.*7030_splits'; splits are 1\."):
            find_dataset(self.tree(tmp_path), split=3)

    @pytest.mark.parametrize("line", ["a.avi 3", "a.avi", "1", "a.avi one"])
    def test_wrong_line(self, tmp_path, line):
        text = f"{self.SMILE} 1\n\n{line}"
        with pytest.raises(DatasetError, match=f"smile_test_split1.txt' line 3: expected 'FILE 0|1|2', got '{line}'"):
            find_dataset(self.tree(tmp_path, smile_test_split1=text))


class TestJHMDB:
    VIDEOS = ("Aussie_catch_u_nm_np1_fr_goo_0", "Bea_catch_f_cm_np1_fr_med_1")
    LISTS = {"splits__catch_test_split1": f"{VIDEOS[0]}.avi 1\n{VIDEOS[1]}.avi 2\n"}  # noqa: RUF012

    def test_videos(self, tmp_path):
        media = [f"JHMDB_video/ReCompress_Videos/catch/{name}.avi" for name in self.VIDEOS]
        dataset = find_dataset(make_tree(tmp_path, *media, **self.LISTS))
        assert dataset.format == "jhmdb"
        assert found(dataset) == [(media[0], ("catch",), "train"), (media[1], ("catch",), "query")]
        assert dataset.samples[0].frames is None

    @pytest.mark.parametrize("folder", ["Frames", "Rename_Images"])
    def test_frames(self, tmp_path, folder):
        media = [f"{folder}/catch/{name}/" for name in self.VIDEOS]
        dataset = find_dataset(make_tree(tmp_path, *media, "FlowBrox04/catch/x/", **self.LISTS))
        assert dataset.format == "jhmdb"
        assert [name + "/" for name, _, _ in found(dataset)] == media
        assert {sample.frames for sample in dataset.samples} == {FrameFolder()}
        assert dataset.samples[1].group == "catch/Bea"

    def test_videos_are_taken_where_both_are_there(self, tmp_path):
        media = [f"ReCompress_Videos/catch/{name}.avi" for name in self.VIDEOS]
        frames = [f"Frames/catch/{name}/" for name in self.VIDEOS]
        assert [name for name, _, _ in found(find_dataset(make_tree(tmp_path, *frames, *media, **self.LISTS)))] == media

    def test_frames_alone_without_flow(self, tmp_path):
        make_tree(tmp_path, "Frames/catch/a/", "Frames/clap/b/", "FlowBrox04/catch/a/", "FlowBrox04/clap/b/")
        assert find_dataset(tmp_path / "Frames").format == "frame_folders"

    def test_gallery_of_its_own(self, tmp_path):
        names = ["catch/c.v1.avi", "clap/d.avi"]
        frames = [f"Frames/{name[:-4]}{part}/" for name in names for part in ("t", "q", "g")]
        lists = {
            f"Label_Split__{list_name}": f"/catch/c.v1{part}.avi 0\n/clap/d{part}.avi 1\n"
            for list_name, part in (("train_10_210", "t"), ("test_10_210", "q"), ("db_20_420", "g"))
        }
        dataset = find_dataset(make_tree(tmp_path, *frames, **lists))
        assert (dataset.format, dataset.classes) == ("lists", ("catch", "clap"))
        assert sorted(found(dataset)) == sorted(
            (f"Frames/{name[:-4]}{part}", (name[: name.index("/")],), split)
            for name in names
            for part, split in (("t", "train"), ("q", "query"), ("g", "gallery"))
        )


class TestCCV:
    def tree(self, root, **lists):
        lists = {
            "trainVidID": "-0n50a7seNI\nabc\nnone\n",
            "trainLabel": "1 0 1\n0 1 0\n0 0 0\n",
            "testVidID": "xyz\r\n",
            "testLabel": "0 1 1 \r\n",
            **lists,
        }
        media = ("train/-0n50a7seNI.mp4", "train/abc.webm", "train/none.flv", "test/xyz.mp4")
        return make_tree(root, *media, **lists)

    def test_several_labels(self, tmp_path):
        dataset = find_dataset(self.tree(tmp_path, categoryName="Basketball\nDog\nBird\n"))
        assert dataset.format == "ccv"
        assert dataset.is_multi_label
        assert found(dataset) == [
            ("train/-0n50a7seNI.mp4", ("Basketball", "Bird"), "train"),
            ("train/abc.webm", ("Dog",), "train"),
            ("train/none.flv", (), "train"),
            ("test/xyz.mp4", ("Dog", "Bird"), "query"),
        ]
        assert dataset.labels(dataset.split("query")).tolist() == [[False, True, True]]

    def test_classes_without_names_are_numbers(self, tmp_path):
        assert find_dataset(self.tree(tmp_path)).classes == ("1", "2", "3")

    def test_names_that_do_not_fit(self, tmp_path):
        with pytest.raises(DatasetError, match=r"names 2 classes, its label files have 3 columns"):
            find_dataset(self.tree(tmp_path, labels="a\nb"))

    def test_as_many_ids_as_labels(self, tmp_path):
        with pytest.raises(DatasetError, match=r"trainVidID.txt' has 3 lines, '.*trainLabel.txt' has 1"):
            find_dataset(self.tree(tmp_path, trainLabel="1 0 1"))

    @pytest.mark.parametrize("row", ["0 1", "0 1 2", "0 1 1 0"])
    def test_wrong_row(self, tmp_path, row):
        with pytest.raises(DatasetError, match=f"testLabel.txt' line 1: expected 3 columns of 0 or 1, got '{row}'"):
            find_dataset(self.tree(tmp_path, testLabel=row))

    def test_one_split_only(self, tmp_path):
        with pytest.raises(DatasetError, match=r"split \(2\) must be 1"):
            find_dataset(self.tree(tmp_path), split=2)


class TestKinetics:
    HEADER = "label,youtube_id,time_start,time_end,split"

    def write(self, root, name, *rows, header=HEADER):
        write_list(root / f"{name}.csv", "\n".join([header, *rows]) + "\n")

    def test_train_val_and_test_with_labels(self, tmp_path):
        media = ("train/air drumming/-abc_000010_000020.mp4", "val/air_drumming/d_f_000001_000011.mkv",
                 "test/zumba_123456_123466.mp4")  # fmt: skip
        make_tree(tmp_path, *media)
        self.write(tmp_path, "annotations/train", '"air drumming",-abc,10,20,train')
        self.write(tmp_path, "annotations/validate", "air drumming,d_f,1,11,validate")
        self.write(tmp_path, "annotations/test", "zumba,zumba,123456,123466,test")
        dataset = find_dataset(tmp_path)
        assert dataset.format == "kinetics"
        assert found(dataset) == [
            (media[2], ("zumba",), "query"),
            (media[0], ("air drumming",), "train"),
            (media[1], ("air drumming",), "val"),
        ]

    def test_test_list_without_labels(self, tmp_path):
        make_tree(tmp_path, "a_000001_000011.mp4", "b_000001_000011.mp4", "test/c_000001_000011.mp4")
        self.write(tmp_path, "kinetics-400_train", "run,a,1,11,train,0", header=self.HEADER + ",is_cc")
        self.write(tmp_path, "kinetics-400_val", "run,b,1.0,11.0,val,0", header=self.HEADER + ",is_cc")
        self.write(tmp_path, "kinetics-400_test", "c,1,11", header="youtube_id,time_start,time_end")
        dataset = find_dataset(tmp_path)
        assert found(dataset) == [
            ("a_000001_000011.mp4", ("run",), "train"), ("b_000001_000011.mp4", ("run",), "query"),
        ]  # fmt: skip
        assert "1 test videos have no label and are left out." in dataset.notes

    def test_unlabelled_queries_stay_where_there_is_nothing_else(self, tmp_path):
        make_tree(tmp_path, "a_000001_000011.mp4", "c_000001_000011.mp4")
        self.write(tmp_path, "train", "run,a,1,11,train")
        self.write(tmp_path, "test", ",c,1,11,test")
        assert found(find_dataset(tmp_path))[0] == ("c_000001_000011.mp4", (), "query")

    def test_videos_that_are_gone_are_counted(self, tmp_path):
        make_tree(tmp_path, "a_000001_000011.mp4")
        self.write(tmp_path, "train", "run,a,1,11,train", "sit,gone,3,13,train")
        with pytest.raises(DatasetError, match=r"1 of 2 videos .*'sit/gone_000003_000013'"):
            find_dataset(tmp_path)
        dataset = find_dataset(tmp_path, allow_missing=True)
        assert dataset.classes == ("run", "sit")

    def test_wrong_time(self, tmp_path):
        self.write(tmp_path, "train", "run,a,1,11,train", "run,b,soon,11,train")
        with pytest.raises(DatasetError, match=r"train.csv' line 3: time_start and time_end must be seconds, .*'soon'"):
            find_dataset(tmp_path)

    def test_short_row(self, tmp_path):
        self.write(tmp_path, "train", "run,a")
        with pytest.raises(DatasetError, match=r"train.csv' line 2: time_start and time_end must be seconds"):
            find_dataset(tmp_path)

    def test_wrong_split(self, tmp_path):
        self.write(tmp_path, "train", "run,a,1,11,holdout")
        with pytest.raises(DatasetError, match=r"line 2: split 'holdout' must be train, validate or test"):
            find_dataset(tmp_path)

    def test_one_split_only(self, tmp_path):
        self.write(tmp_path, "train", "run,a,1,11,train")
        with pytest.raises(DatasetError, match=r"split \(2\) must be 1"):
            find_dataset(tmp_path, split=2)

    def test_other_csv_files_are_not_its_own(self, tmp_path):
        write_list(tmp_path / "train.csv", "a,b\nc,d\n")
        (tmp_path / "noise.csv").write_bytes(b"\xff\xfe")
        assert recognise(tmp_path) is None


class TestJSON:
    def write(self, root, name="ucf101_01.json", **content):
        write_list(root / name, json.dumps(content))
        return root

    def video(self, label, subset="training", **annotations):
        return {"subset": subset, "annotations": {"label": label, **annotations}}

    def test_3d_resnets_on_frames(self, tmp_path):
        make_tree(tmp_path, "jpg/Archery/v_A_g01_c01/", "jpg/YoYo/v_Y_g01_c01/", "jpg/YoYo/v_Y_g02_c01/")
        self.write(
            tmp_path,
            labels=["Archery", "YoYo"],
            database={
                "v_A_g01_c01": self.video("Archery", segment=[1, 166]),
                "v_Y_g01_c01": self.video("YoYo", segment=[3, 5]),
                "v_Y_g02_c01": self.video("YoYo", "validation"),
            },
        )
        dataset = find_dataset(tmp_path)
        assert (dataset.format, dataset.classes) == ("json", ("Archery", "YoYo"))
        assert found(dataset) == [
            ("jpg/Archery/v_A_g01_c01", ("Archery",), "train"),
            ("jpg/YoYo/v_Y_g01_c01", ("YoYo",), "train"),
            ("jpg/YoYo/v_Y_g02_c01", ("YoYo",), "query"),
        ]
        # Frames 1 .. 165, frames 3 and 4, all: counted from 1 in the list and from 0 here.
        assert [sample.frames for sample in dataset.samples] == [FrameFolder(0, 165), FrameFolder(2, 2), FrameFolder()]

    def test_3d_resnets_on_videos(self, tmp_path):
        make_tree(tmp_path, "videos/rope_skipping/abc_000001_000011.mp4")
        self.write(tmp_path, labels=["rope skipping"], database={
            "abc_000001_000011": self.video("rope skipping", segment=[1, 251])})  # fmt: skip
        (sample,) = find_dataset(tmp_path).samples
        assert (sample.frames, sample.segment) == (None, None)

    def test_a_video_without_a_subset_leaves_the_official_split_alone(self, tmp_path):
        make_tree(tmp_path, *(f"run/{name}.mp4" for name in "abcde"))
        subsets = {"a": "training", "b": "training", "c": "testing", "d": "", "e": None}
        database = {name: self.video("run", subset) for name, subset in subsets.items()}
        del database["d"]["subset"]
        dataset = find_dataset(self.write(tmp_path, labels=["run"], database=database))
        assert [(name, split) for name, _, split in found(dataset)] == [
            ("run/a.mp4", "train"), ("run/b.mp4", "train"), ("run/c.mp4", "query"),
        ]  # fmt: skip
        assert dataset.notes == (f"2 videos of '{tmp_path}/ucf101_01.json' have no subset and are left out: 'd', 'e'.",)

    def test_without_any_subset_the_split_is_our_own(self, tmp_path):
        make_tree(tmp_path, *(f"run/{number}.mp4" for number in range(9)))
        database = {str(number): self.video("run", "") for number in range(9)}
        dataset = find_dataset(self.write(tmp_path, labels=["run"], database=database))
        assert {split for _, _, split in found(dataset)} == {"train", "val", "query"}

    def test_a_subset_that_is_none_of_ours(self, tmp_path):
        self.write(tmp_path, labels=["run"], database={"a": self.video("run", 3)})
        with pytest.raises(DatasetError, match=r"'a': subset 3 must be training, validation or testing"):
            find_dataset(tmp_path)

    def test_part_of_a_video_in_frames_is_refused(self, tmp_path):
        make_tree(tmp_path, "run/a.mp4")
        self.write(tmp_path, labels=["run"], database={"a": self.video("run", segment=[11, 20])})
        with pytest.raises(DatasetError, match=r"'a': 10 frames of '.*a.mp4' are to be skipped.*c3dhash data frames"):
            find_dataset(tmp_path)

    def test_split_by_the_number_of_the_file(self, tmp_path):
        make_tree(tmp_path, "run/a.mp4", "run/b.mp4")
        self.write(tmp_path, "hmdb51_1.json", labels=["run"], database={"a": self.video("run")})
        self.write(tmp_path, "hmdb51_2.json", labels=["run"], database={"b": self.video("run")})
        assert found(find_dataset(tmp_path, split=2))[0][0] == "run/b.mp4"
        with pytest.raises(DatasetError, match=r"split \(3\) has no JSON list .*; there are: 1, 2"):
            find_dataset(tmp_path, split=3)

    def test_without_subsets_the_split_is_our_own(self, tmp_path):
        make_tree(tmp_path, *(f"run/{i}.mp4" for i in range(10)))
        self.write(tmp_path, labels=["run"], database={str(i): self.video("run", "") for i in range(10)})
        assert {sample.split for sample in find_dataset(tmp_path).samples} == {"train", "val", "query"}

    def test_activitynet(self, tmp_path):
        make_tree(tmp_path, "v_abc.mp4", "v_def.mkv", "v_ghi.mp4")
        self.write(
            tmp_path,
            database={
                "abc": {"subset": "training", "annotations": [
                    {"label": "run", "segment": [0.5, 2]}, {"label": "jump", "segment": [3.0, 4.5]}]},
                "def": {"subset": "validation", "annotations": [{"label": "run", "segment": [1, 2]}]},
                "ghi": {"subset": "testing", "annotations": []},
            },
        )  # fmt: skip
        dataset = find_dataset(tmp_path)
        assert dataset.classes == ("jump", "run")
        assert [(sample.video.name, sample.labels, sample.segment, sample.split) for sample in dataset.samples] == [
            ("v_abc.mp4", (1,), Segment(0.5, 2), "train"),
            ("v_abc.mp4", (0,), Segment(3, 4.5), "train"),
            ("v_def.mkv", (1,), Segment(1, 2), "query"),
        ]

    def test_unknown_label(self, tmp_path):
        self.write(tmp_path, labels=["run"], database={"a": self.video("jump")})
        with pytest.raises(DatasetError, match=r"label 'jump' is not in 'labels'"):
            find_dataset(tmp_path)

    def test_unknown_subset(self, tmp_path):
        self.write(tmp_path, labels=["run"], database={"a": self.video("run", "holdout")})
        with pytest.raises(DatasetError, match=r"'a': subset 'holdout' must be"):
            find_dataset(tmp_path)

    @pytest.mark.parametrize("segment", [[5, 5], [5], "all", [0, 3], None])
    def test_wrong_segment(self, tmp_path, segment):
        self.write(tmp_path, labels=["run"], database={"a": self.video("run", segment=segment)})
        with pytest.raises(DatasetError, match=r"'a': segment .* must be \[start, end\]"):
            find_dataset(tmp_path)

    @pytest.mark.parametrize("video", [3, {"annotations": 3}, {"annotations": [3]}])
    def test_wrong_annotations(self, tmp_path, video):
        self.write(tmp_path, labels=["run"], database={"a": video})
        with pytest.raises(DatasetError, match=r"'annotations' of 'a' must be an object or a list, got"):
            find_dataset(tmp_path)

    def test_broken_file(self, tmp_path):
        write_list(tmp_path / "a.json", '{"database": {')
        with pytest.raises(DatasetError, match=r"a.json' cannot be read"):
            find_dataset(tmp_path)

    def test_database_that_is_none(self, tmp_path):
        write_list(tmp_path / "a.json", '{"database": 3}')
        with pytest.raises(DatasetError, match=r"expected an object with a 'database', got"):
            find_dataset(tmp_path)

    def test_other_json_files_are_left_alone(self, tmp_path):
        write_list(tmp_path / "settings.json", '{"labels": ["a"]}')
        assert recognise(tmp_path) is None
