"""A clip -> a feature -> an embedding and class scores.

In:     clips, float32 [B, C, T, H, W].
Out:    features [B, feature_dim], embeddings [B, hash_length] in (-1, 1), class scores; codes of whole videos.

    backbones/    one architecture a file; BACKBONES
    hashnet       the network: backbone, hash head, class head
    runs          the network as a run directory on disk
    calibration   what a distance means, measured and kept with a run
    scores        class scores -> probabilities
    scaling       features at one scale, while heads are trained
    fingerprints  what tells one network from every other
    known_weights published files, and the folders in which they are looked for
    checkpoints   a file -> its arrays, without running what is in it
    identify      arrays -> what they are: backbone, layout, preprocessing
    packages      weights that published packages carry -> a file in the user's cache
    weight_files  a name -> a file, found or fetched; what training starts from
    weights       a file -> a backbone with its weights and preprocessing
    published     a file -> a run with the class head that was published
    action_detector   a clip and boxes -> what each person does
    listing       what there is, and what it costs, from a table that is kept beside the backbones
    costs         parameters and multiply-adds, counted
    hashing       hash heads without labels: ITQ and LSH
    batch_norm    which batch norms keep their statistics in training
    precision     bf16 where it pays, and around what is wrong with it
    freezing      a backbone -> a copy for inference, its batch norms folded into its convolutions
    engines       who computes that copy: PyTorch, OpenVINO, onnxruntime
    openvino_engine   OpenVINO
    onnx_engine   onnxruntime
    clip_stream   videos -> clips, from many decoders, in one queue
    encode        clips and videos -> features, embeddings, codes
    fusion        several networks -> one answer
    windows       a video -> class scores, window after window
    onnx_export   a run -> ONNX, checked
"""

__all__ = [
    "action_detector",
    "backbones",
    "batch_norm",
    "calibration",
    "clip_stream",
    "encode",
    "engines",
    "fingerprints",
    "freezing",
    "fusion",
    "hashing",
    "hashnet",
    "known_weights",
    "listing",
    "onnx_export",
    "precision",
    "published",
    "runs",
    "scaling",
    "scores",
    "weight_files",
    "weights",
    "windows",
]  # the modules that other wings import from
