"""Samples -> a run.

In:     a data set and a TrainConfig.
Out:    a run directory: weights, configuration, labels, metrics, curves.

    train         the loop, top to bottom; read it first
    start         which settings hold, and the network they begin with; a run that goes on
    state         what the next epoch depends on: saved after each, restored
    videos        which videos are trained on, and which choose the epoch
    inputs        augmented clips, or what frozen stages of the backbone give of them, computed once
    augmentation  frames of a video as an augmented clip
    mixing        mixup and cutmix of a batch
    pictures      whole pictures for frozen stages, and windows of what they give
    kept          what was computed once, in memory or in a file that goes with the process
    batches       classes x clips
    epoch         one pass over the training videos
    ranks         several processes: what they exchange, a batch among them
    launch        how they start and end, and which of them tells an error
    sync_norms    batch norms over all of them
    gradients     a batch that is too large for memory, in parts, exactly
    step          outputs -> losses; gradients -> new weights
    losses        the batch-all triplet loss, exactly; the losses of centres and of the class head
    centers       a code for each class, far from each other
    optimization  optimizer, schedule, the default margin
    validation    the figure that chooses the best epoch
    run_files     the best network and its settings, as a run that can be loaded
    log           metrics.jsonl, TensorBoard, curves
    computing     PyTorch as fast as it can, or the same each time
"""

__all__ = [
    "losses",
    "start",
    "train",
]  # the modules that other wings import from
