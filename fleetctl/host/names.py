"""What is named after a root outside of it: units, scopes, control groups. No two roots of a host share a name.

Every user has a systemd of their own, so users need not be told apart; their roots are.
"""

import os
import pwd


def usual_root() -> str:
    """Where the root is when nobody says otherwise; "" for a user that has no home. entry.py decides the same."""
    if os.getuid() == 0:
        return "/var/lib/fleetctl"
    try:
        return os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".local", "share", "fleetctl")
    except KeyError:
        return ""


def suffix(root: str) -> str:
    """Nothing for the usual root, `-1a2b3c4d` for any other."""
    root = os.path.normpath(root)
    if root == usual_root():
        return ""
    import hashlib  # see artifacts.py

    return "-" + hashlib.sha256(os.fsencode(root)).hexdigest()[:8]


def service(root: str) -> str:
    """The unit that keeps the supervisor alive."""
    return "fleetctl%s.service" % suffix(root)


def work_scope(root: str) -> str:
    """The scope beside it in whose control groups the programs run."""
    return "fleetctl-work%s.scope" % suffix(root)


def bare_group(root: str) -> str:
    """The control group that takes the scope's place where there is no systemd: right below the mount."""
    return "fleetctl%s" % suffix(root)
