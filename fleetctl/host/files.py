"""Files that stay whole: replaced at once or not at all, and on the disk when that was asked for."""

import json
import os

from . import ballast
from .ballast import forget, sync_folder
from .proc import SHORTAGE


def replace(path: str, content: bytes, durable: bool) -> None:
    """Put the content in place of what was there. `durable`: not before it is on the disk."""
    temporary = path + ".new"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        forget(temporary)  # on a full disk, what was half written takes room
        raise
    if durable:
        sync_folder(os.path.dirname(path) or ".")


def replace_json(path: str, value, durable: bool) -> None:
    replace(path, packed(value), durable)


def write_down(root: str, path: str, content: bytes, least: int = 0) -> None:
    """Like `replace`, durably, and on a full disk too, as long as the ballast lasts. `least`: see ballast.become."""
    try:
        replace(path, content, durable=True)
    except OSError as error:
        if error.errno not in ballast.FULL:
            raise
        ballast.become(root, path, content, least)


def write_down_json(root: str, path: str, value) -> None:
    write_down(root, path, packed(value))


def packed(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def read_json(path: str, otherwise):
    """What was written there, or `otherwise` where nothing was, or not by us, or not whole.

    OSError where nobody can tell, for want of descriptors or memory.
    """
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read().decode("utf-8"))
    except OSError as error:
        if error.errno in SHORTAGE:
            raise
        return otherwise
    except ValueError:
        return otherwise
    return value if isinstance(value, type(otherwise)) else otherwise
