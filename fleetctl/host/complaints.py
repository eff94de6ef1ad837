"""What this host's own processes have to complain of: a line each, into agent.log. Used by the lean processes."""

import posix
import time

LOG_BYTES_MAX = 1024 * 1024


def complain(text: str) -> None:
    """To agent.log, which is emptied when it is full: nobody's complaints may fill a disk."""
    try:
        if posix.fstat(2).st_size > LOG_BYTES_MAX:
            posix.ftruncate(2, 0)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        posix.write(2, ("%s %s\n" % (stamp, text)).encode("utf-8", "replace"))
    except OSError:
        pass


def in_words(error) -> str:
    """A failure as people are told it, such as `/srv/x: No space left on device`: no class and no number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or type(error).__name__
    name = error.filename.decode("utf-8", "replace") if isinstance(error.filename, bytes) else error.filename
    return "%s: %s" % (name, error.strerror) if name else error.strerror
