"""Codes and scores -> figures that do not depend on luck.

In:     codes with labels, or class scores with labels; or a run and a data set.
Out:    numbers under the names of the field, with the range that ties leave open.

    counts        how many items, and how many relevant ones, stand at each distance
    ties          what is expected over all orders of a tie: the derivations
    metrics       mAP and its kin, from counts
    accuracy      top-k, average precision of labels
    classification   precision, recall, F1 and calibration, class by class
    codes         codes of any method in a file
    comparison    a run's codes beside exact search, ITQ and LSH
    evaluate      `c3dhash evaluate`: from a run, or a file of codes
    evaluate_classes   `c3dhash evaluate --task classify`: from a run
    class_report  its rows, predictions.csv, plots and page
"""

__all__ = [
    "accuracy",
    "class_report",
    "classification",
    "codes",
    "comparison",
    "counts",
    "evaluate",
    "evaluate_classes",
    "metrics",
]  # the modules that other wings import from
