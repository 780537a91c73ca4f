"""A video file or a folder of frames -> clips: the right frames of a stretch, uint8, and what a network reads of them.

In:     a path, the stretch that is wanted (`records.Segment`), the number of frames.
Out:    `records.Clip` with the time of every frame; float32 [C, T, H, W] after `normalization`.

In this order the files read as a story:

    clip_plan     which frames a clip shows, before anything is decoded
    containers    what the first bytes say: cut, damaged and mislabelled files are refused
    headers       what an MP4 or a Matroska file says of how its frames are shown
    display       frames as they are shown: turned, mirrored, with square pixels
    captures      an open video, a frame after the other, with OpenCV
    av_capture    the same with PyAV
    limits        the most that is read of a stranger's video
    decoder       frames and their times, with one of these
    timeline      what the packets of a file say of its frames, with PyAV
    packets       decode only what clips show, with PyAV
    passes        decode what clips show, with OpenCV
    reader        a file -> clips: the two ways behind one function
    views         what a network sees of them
    isolation     decoders in processes of their own, with limits
    decoder_process
                  the other end of it
    messages      what goes between the two
    pictures      single pictures: from a file, and to a size
    bars          black bars that were burnt into a picture
    flat          frames that show nothing
    still         a picture as a video of one frame
    frame_folder  a folder of pictures -> clips, as if it were a video
    every_frame   all frames of a video or a folder, with their times
    stored        all frames of a sample in one file, compressed
    samples       a sample, be it a video or a frame folder -> one clip, or its frames compressed
    hashes        content hashes of files that did not change, remembered on disk
    cache         the frames of samples, kept for the next epoch
    transforms    crop, resize and mirror
    clips         a sample -> the clip of a training step or of an evaluation
    loader        many clips at once, in order
    fetching      a video on a server -> a file here, for as long as it is read
    playback      every frame at its own size, from a process
    optical_flow  two pictures -> how everything moves
    writer        frames -> a video file, with the sound of another
    av_writer     the same with PyAV
    normalization a batch of clips -> what the network reads, on its device
"""

__all__ = [
    "cache",
    "clip_plan",
    "clips",
    "containers",
    "decoder",
    "fetching",
    "frame_folder",
    "isolation",
    "limits",
    "loader",
    "normalization",
    "optical_flow",
    "packets",
    "passes",
    "pictures",
    "playback",
    "reader",
    "samples",
    "still",
    "transforms",
    "views",
    "writer",
]  # the modules that other wings import from
