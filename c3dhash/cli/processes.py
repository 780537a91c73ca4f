"""Several processes of one command, as torchrun starts them: which of them speaks."""

from __future__ import annotations

import logging
import os


def is_one_of_several() -> bool:
    """Tell whether a launcher has started this process beside others."""
    return {"RANK", "MASTER_ADDR"} <= os.environ.keys() and os.environ.get("WORLD_SIZE", "1") != "1"


def is_first() -> bool:
    """Tell whether this process prints the results of all."""
    return not is_one_of_several() or os.environ["RANK"] == "0"


def speaks() -> bool:
    """Tell whether this process says what all of its machine find, as that an option is wrong."""
    return not is_one_of_several() or os.environ.get("LOCAL_RANK", "0") == "0"


def keep_quiet() -> None:
    """Leave log lines and progress bars to the first process."""
    if not is_first():
        logging.getLogger("c3dhash").setLevel(logging.CRITICAL)
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported


def is_restarted() -> bool:
    """Tell whether the launcher has started this command before, and it failed."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
