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
