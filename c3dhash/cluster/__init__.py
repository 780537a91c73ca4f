"""A gallery in a database that many machines share: Milvus. Imported only where such a gallery is asked for.

In:     a gallery on a disk, to be copied there; or the windows of a query.
Out:    what `gallery.query` asks of a gallery: which videos, at which distances.

    address      milvus://host:port/collection
    connection   a server that is asked, whose errors are ours
    expressions  which videos may be found, in the language of Milvus
    tables       the two collections of a gallery: made, checked, read, written
    push         a gallery on a disk -> its copy there
    remote_codes codes there, as evidence searches them
    remote       a gallery there, as queries search it
"""

__all__ = ["address", "push", "remote"]  # the modules that other wings import from
