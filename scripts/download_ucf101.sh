#!/usr/bin/env bash
# Fetches UCF101 (6.9 GB) and its lists: bash scripts/download_ucf101.sh [DIR], by default data/ucf101.
# Of the lists the SHA-256 is known, of the videos the size; their archive checks itself while it is unpacked.
source "$(dirname "${BASH_SOURCE[0]}")/archives.sh"

url=${UCF101_URL:-https://www.crcv.ucf.edu/data/UCF101}
lists_sha256=${UCF101_LISTS_SHA256:-5c0d1a53b8ed364a2ac830a73f405e51bece7d98ce1254fd19ed4a36b224bd27}
videos_bytes=${UCF101_VIDEOS_BYTES:-6932971618}
num_videos=${UCF101_NUM_VIDEOS:-13320}

start "${1:-$root/data/ucf101}"
need_zip
need_rar
if [ ! -d "$target/ucfTrainTestlist" ]; then
    fetch "$url/UCF101TrainTestSplits-RecognitionTask.zip"
    check_sum UCF101TrainTestSplits-RecognitionTask.zip sha256 "$lists_sha256"
    unpack "$archives/UCF101TrainTestSplits-RecognitionTask.zip" "$unpacked/lists"
    mv "$(folder_with "$unpacked/lists" classInd.txt)" "$target/ucfTrainTestlist"
fi
if [ ! -d "$target/UCF-101" ]; then
    fetch "$url/UCF101.rar"
    check_bytes UCF101.rar "$videos_bytes"
    unpack "$archives/UCF101.rar" "$unpacked/videos"
    mv "$(dirname "$(folder_with "$unpacked/videos" 'v_*.avi')")" "$target/UCF-101"
fi
finish "$target/UCF-101" "$num_videos"
