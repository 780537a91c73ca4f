"""Other machines: engines that are there already, doing what this one would. Imported only where one is asked for.

In:     what a command does here, and the address of a cluster, or of a database that many machines share.
Out:    the same as here.

    ray_encoding  videos -> codes, on a Ray cluster
    address       milvus://host:port/collection: a gallery in Milvus
    connection    a server that is asked, whose errors are ours
    expressions   which videos may be found, in the language of Milvus
    tables        the two collections of a gallery: made, checked, read, written
    push          a gallery on a disk -> its copy there
    remote_codes  codes there, as evidence searches them
    remote_videos videos there, looked up and listed
    remote        a gallery there, as queries search it and servers show it
    remote_place  where it lies, as a server looks after it
"""

__all__ = [
    "address",
    "push",
    "ray_encoding",
    "remote",
    "remote_place",
]  # the modules that other wings import from; each imports its engine
