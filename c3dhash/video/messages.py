"""What goes through the socket between a process and its decoder: pickles, with the arrays beside them as they lie.

number of parts | length of each | pickle (protocol 5) | array | array ...
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any


def send(connection: socket.socket, message: Any) -> None:
    """Send a message: the number and the lengths of its parts, then the parts: a pickle, and each array as it lies."""
    buffers: list[pickle.PickleBuffer] = []
    parts = [memoryview(pickle.dumps(message, protocol=5, buffer_callback=buffers.append))]
    parts += [buffer.raw() for buffer in buffers]
    connection.sendall(struct.pack(f">Q{len(parts)}Q", len(parts), *(part.nbytes for part in parts)))
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket) -> Any:
    (num_parts,) = struct.unpack(">Q", _receive_bytes(connection, 8))
    lengths = struct.unpack(f">{num_parts}Q", _receive_bytes(connection, 8 * num_parts))
    pickled, *buffers = (_receive_bytes(connection, length) for length in lengths)
    return pickle.loads(pickled, buffers=buffers)


def _receive_bytes(connection: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    rest = memoryview(content)
    while rest:
        num_read = connection.recv_into(rest)
        if not num_read:
            raise EOFError("the process hung up")
        rest = rest[num_read:]
    return content
