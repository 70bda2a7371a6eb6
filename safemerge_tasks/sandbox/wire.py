"""Messages between processes: four bytes of length, then JSON.

JSON rather than pickle or marshal, because whoever wrote the bytes may be hostile.
"""

import json
import os
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


class ClosedError(Exception):
    """The other side is gone."""


class OversizeError(Exception):
    """A message is longer than the reader takes."""


def send(descriptor: int, message: Any) -> None:
    """Write one message.

    Raises:
        ClosedError: nobody reads any more.
    """
    body = json.dumps(message).encode()
    view = memoryview(_LENGTH.pack(len(body)) + body)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ClosedError from error


def receive(descriptor: int, limit: int) -> Any:
    """Read one message of at most `limit` bytes.

    Raises:
        ClosedError: the other side closed, also in the middle of a message.
        OversizeError: the message is longer.
        ValueError: it is not JSON.
    """
    (length,) = _LENGTH.unpack(_exactly(descriptor, _LENGTH.size))
    if length > limit:
        raise OversizeError
    return json.loads(_exactly(descriptor, length))


def _exactly(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        try:
            part = os.read(descriptor, min(length, 1 << 20))
        except ConnectionResetError as error:
            raise ClosedError from error
        if not part:
            raise ClosedError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
