"""Samples -> a run.

In:     a data set and a TrainConfig.
Out:    a run directory: weights, configuration, labels, metrics, curves.

    losses        the batch-all triplet loss, exactly, and the loss of the class head
    batches       classes x clips
    optimization  optimizer, schedule, the default margin
    frozen        features that are computed once
    validation    the figure that chooses the best epoch
    log           metrics.jsonl, TensorBoard, curves
    train         the loop
"""

__all__ = [
    "losses",
    "train",
]  # the modules that other wings import from
