"""`--limit` freezes: all is looked at and counted, nothing outside it is started or stopped."""

from tests.e2e.fleet import SERVE


def test_a_deploy_limited_to_two_hosts_touches_nothing_outside_them(fleet):
    fleet.deployed(constraints=["labels.zone == 'a'"])
    before = fleet.programs()
    assert {program.host for program in before} == {"h1", "h2", "h3"}

    fleet.write(program=f"{SERVE}# second\n")
    fleet.deploy("--limit", "h4:h5").ends(0, 3)
    assert fleet.programs() == before
    fleet.heal("--limit", "h4:h5").ends(0, 3)
    assert fleet.programs() == before
    fleet.await_all_answer()
