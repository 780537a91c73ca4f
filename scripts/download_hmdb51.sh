#!/usr/bin/env bash
# Fetches HMDB51 (2 GB) and its lists: bash scripts/download_hmdb51.sh [DIR], by default data/hmdb51.
# Of the lists the MD5 is known; the archives of the videos check themselves while they are unpacked.
source "$(dirname "${BASH_SOURCE[0]}")/archives.sh"

url=${HMDB51_URL:-https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10}
lists_md5=${HMDB51_LISTS_MD5:-15e67781e70dcfbdce2d7dbb9b3344b5}
num_videos=${HMDB51_NUM_VIDEOS:-6766}

start "${1:-$root/data/hmdb51}"
need_rar
if [ ! -d "$target/testTrainMulti_7030_splits" ]; then
    fetch "$url/test_train_splits.rar"
    check_sum test_train_splits.rar md5 "$lists_md5"
    unpack "$archives/test_train_splits.rar" "$unpacked/lists"
    mv "$(folder_with "$unpacked/lists" '*_test_split1.txt')" "$target/testTrainMulti_7030_splits"
fi
if [ ! -d "$target/videos" ]; then
    fetch "$url/hmdb51_org.rar"
    unpack "$archives/hmdb51_org.rar" "$unpacked/classes"
    mkdir -p "$unpacked/videos"
    find "$unpacked/classes" -name '*.rar' | sort | while read -r class_archive; do
        unpack "$class_archive" "$unpacked/videos"
    done
    mv "$(dirname "$(folder_with "$unpacked/videos" '*.avi')")" "$target/videos"
fi
finish "$target/videos" "$num_videos"
