"""Other machines: engines that are there already, doing what this one would.

In:     what a command does here, and the address of a cluster.
Out:    the same as here.

    ray_encoding  videos -> codes, on a Ray cluster
"""

__all__ = [
    "ray_encoding",
]  # the modules that other wings import from; each imports its engine
