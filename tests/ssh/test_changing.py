"""What a person does to a fleet, for real: drain, cordon, scale, restart, start, limit; on embedded hosts."""

from tests.ssh.test_cli import PLAYBOOK, Ended, user_of  # noqa: F401 (a fixture)


async def where(user):
    """replica -> host, of what is ready."""
    rows = (await user.status())["instances"]
    return {row["replica"]: row["host"] for row in rows if row["phase"] == "ready"}


async def test_a_drained_host_is_emptied_and_takes_work_again_once_uncordoned(user_of):  # noqa: F811
    async with user_of(3) as user:
        assert (await user.deploy()).exit == 0
        before = await where(user)
        drained = await user.run("drain", "h2", "--why", "new disk")
        assert drained.exit == 0, drained
        assert drained.out.endswith("h2 is drained: nothing of ours runs there; to end it: fleetctl uncordon h2\n")
        after = await where(user)
        assert set(after) == {"web.0", "web.1", "web.2"}
        assert "h2" not in after.values()
        assert after["web.0"] == before["web.0"], "only what was on h2 moves"
        status = await user.status()
        assert [(one["host"], one["drains"], one["why"]) for one in status["cordons"]] == [("h2", True, "new disk")]
        assert await user.run("heal") == Ended(0, "", ""), "the wish stays, and there is nothing to do"
        assert (await user.run("uncordon", "h2")).exit == 0
        assert (await user.status())["cordons"] == []
        scaled = await user.run("scale", "web=4")
        assert scaled.exit == 0, scaled
        assert (await where(user))["web.3"] == "h2"


async def test_a_drain_that_is_blocked_says_by_what_and_the_wish_stays(user_of):  # noqa: F811
    async with user_of(2) as user:
        text = PLAYBOOK.replace("      ports: [http]\n", "      ports: {http: 8123}\n").replace(
            "replicas: 3", "replicas: 2"
        )
        (user.project / "web.yml").write_text(text)
        assert (await user.deploy()).exit == 0
        before = await where(user)
        blocked = await user.run("drain", "h2", "--deadline", "0s")
        assert blocked.exit == 3, blocked
        assert "draining h2: blocked by h2: cordon: " in blocked.out
        assert "the wish stays: the next heals go on with it; to end it: fleetctl uncordon h2\n" in blocked.out
        assert await where(user) == before, "the fixed port is free on no other host"


async def test_scale_restart_stop_and_start(user_of):  # noqa: F811
    async with user_of(2) as user:
        assert (await user.deploy()).exit == 0
        assert (await user.run("scale", "web", "2")).exit == 0
        assert set(await where(user)) == {"web.0", "web.1"}
        assert "web was scaled to 2 by a person" in (await user.run("status")).out

        epochs = {row["instance"] for row in (await user.status())["instances"]}
        restarted = await user.run("restart", "web")
        assert restarted.exit == 0, restarted
        rows = (await user.status())["instances"]
        assert {row["replica"] for row in rows} == {"web.0", "web.1"}
        assert not epochs & {row["instance"] for row in rows}

        assert (await user.run("stop", "web")).exit == 0
        assert await where(user) == {}
        assert (await user.run("start", "web")).exit == 0
        assert set(await where(user)) == {"web.0", "web.1"}, "as it was scaled"
        deployed = await user.deploy()
        assert deployed.exit == 0, deployed
        assert deployed.out.startswith("notice: web was scaled to 2 by a person: this deploy sets 3\n")
        assert set(await where(user)) == {"web.0", "web.1", "web.2"}


async def test_nothing_outside_the_limit_is_touched(user_of):  # noqa: F811
    async with user_of(3) as user:
        assert (await user.deploy()).exit == 0
        await user.fleet.host("h2").kill()
        limited = await user.run("heal", "--limit", "h2")
        assert limited.exit in (3, 4), limited
        assert set(await where(user)) == {"web.0", "web.2"}
        healed = await user.run("heal", "--limit", "h3")
        assert healed.exit == 4, healed
        assert (await where(user))["web.1"] == "h3"


async def test_a_job_gone_from_its_playbook_runs_on_until_it_is_pruned(user_of):  # noqa: F811
    async with user_of(2) as user:
        assert (await user.deploy()).exit == 0
        (user.project / "web.yml").write_text(PLAYBOOK.replace("    web:\n", "    api:\n"))
        plain = await user.deploy()
        assert plain.exit == 0, plain
        assert len(await where(user)) == 6
        assert f"web is gone from {user.project.resolve() / 'web.yml'}" in (await user.run("status")).out
        planned = await user.run("plan", "web.yml", "-i", "inventory.yml", "--prune", cwd=user.project)
        assert planned.out.count("\n  stop web.") == 3
        pruned = await user.run("deploy", "web.yml", "-i", "inventory.yml", "--prune", cwd=user.project)
        assert pruned.exit == 0, pruned
        assert {name.partition(".")[0] for name in await where(user)} == {"api"}
