"""The whole story: deploy, lose a host, heal."""


def test_a_deployed_job_outlives_the_host_it_ran_on(fleet):
    fleet.write(replicas=4)
    fleet.deploy().ends(0)
    fleet.await_all_answer()
    before = fleet.picture()
    assert len(before.programs) == 4

    fleet.deploy().ends(0)
    assert fleet.picture() == before

    gone = fleet.host_of("web.1")
    fleet.machines.kill(gone)
    fleet.heal().ends(4)
    fleet.await_all_answer(besides=(gone,))

    kept = [program for program in before.programs if program.host != gone]
    now = fleet.programs(besides=(gone,))
    assert all(program in now for program in kept)
    assert len(now) == 4
