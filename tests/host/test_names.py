"""Names that a root has outside of itself."""

from __future__ import annotations

import os
import pwd

from fleetctl.host import names


def test_roots_of_one_host_never_share_a_name(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert names.service("/var/lib/fleetctl/") == "fleetctl.service"
    assert names.work_scope("/var/lib/fleetctl") == "fleetctl-work.scope"
    assert names.bare_group("/var/lib/fleetctl") == "fleetctl"
    assert names.service("/srv/one") == "fleetctl-875fb59d.service"
    assert names.work_scope("/srv/one") != names.work_scope("/srv/two")


def test_a_users_usual_root_is_in_their_home(monkeypatch):
    ours = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: ours)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert names.service(ours.pw_dir + "/.local/share/fleetctl") == "fleetctl.service"
    assert names.service("/var/lib/fleetctl") != "fleetctl.service"
