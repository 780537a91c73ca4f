#!/usr/bin/env bash
# Fetches JHMDB (0.2 GB) and its lists: bash scripts/download_jhmdb.sh [DIR], by default data/jhmdb.
# No checksums are published; the archives check themselves while they are unpacked.
source "$(dirname "${BASH_SOURCE[0]}")/archives.sh"

url=${JHMDB_URL:-http://files.is.tue.mpg.de/jhmdb}
num_videos=${JHMDB_NUM_VIDEOS:-928}

start "${1:-$root/data/jhmdb}"
need_zip
if [ ! -d "$target/splits" ]; then
    fetch "$url/splits.zip"
    unpack "$archives/splits.zip" "$unpacked/lists"
    mv "$(folder_with "$unpacked/lists" '*_test_split1.txt')" "$target/splits"
fi
if [ ! -d "$target/ReCompress_Videos" ]; then
    fetch "$url/JHMDB_video.zip"
    unpack "$archives/JHMDB_video.zip" "$unpacked/videos"
    mv "$(dirname "$(folder_with "$unpacked/videos" '*.avi')")" "$target/ReCompress_Videos"
fi
finish "$target/ReCompress_Videos" "$num_videos"
