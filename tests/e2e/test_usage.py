"""A mistake in a file is told with its place, before anything is touched."""

from tests.e2e.machines import HOSTS


def test_a_typo_in_the_playbook_is_named_with_its_place_and_no_connection_is_opened(fleet):
    for host in HOSTS:
        fleet.machines.connections_counted(host)
    fleet.write(repicas=3)
    line = 1 + next(n for n, text in enumerate(fleet.playbook.read_text().splitlines()) if "repicas" in text)

    refused = fleet.deploy().ends(2)

    assert f"web.yml:{line}:" in refused.stderr
    assert "repicas" in refused.stderr
    assert '"replicas"' in refused.stderr
    assert {host: fleet.machines.connections_counted(host) for host in HOSTS} == dict.fromkeys(HOSTS, 0)
