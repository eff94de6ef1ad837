"""The disk of the root hangs, a real one: device-mapper suspends it, or freezes the file system on it."""

from __future__ import annotations

import pytest

from tests.host.driven import RefusedError, wait_until
from tests.vm.host import VmHost


@pytest.mark.parametrize("way", ["suspend", "freeze"])
def test_a_host_whose_disk_hangs_answers_from_memory_until_it_is_back(machine, way):
    disk = machine.disk_of(f"/hangs-by-{way}")
    host = VmHost(machine, root=f"{disk.mount}/root")
    try:
        host.run("web.0@1", "exec sleep 1000")
        pid = host.ready("web.0@1")["pid"]
        claim = {"author": "tester", "fleet": "test", "serial": host.report()["serial"], "wishes": None}
        first = host.link
        getattr(disk, way)()
        asked = first.send("claim", generation=2, **claim)  # the agent sleeps over this
        with pytest.raises(EOFError):
            first.answer(asked)
        link = host.connect()
        assert link.linked == {"linked": 1, "by": "agent"}
        report = link.ask("observe")["report"]
        assert [(row["pid"], row["phase"]) for row in report["instances"]] == [(pid, "ready")]
        assert report["from_memory"] == f"the file system of {host.root} does not answer"
        with pytest.raises(RefusedError) as refused:
            link.ask("claim", generation=3, **claim)
        assert refused.value.kind == "root_hangs"
        disk.resume()
        wait_until(lambda: not host.connect("look").ask("observe")["report"].get("from_memory"), "the agent is back")
        assert host.row("web.0@1")["pid"] == pid
        assert host.report()["guard"]["generation"] == 2, "what it had read was carried out"
        host.generation = 2
        host.stop("web.0@1")
        host.stopped("web.0@1")
    finally:
        disk.resume()
        host.kill_everything()
        disk.remove()
