"""Jump hosts in arguments for ssh: those are understood, everything else is refused by name."""

from __future__ import annotations

import re

import pytest

from fleetctl.config.jump_arguments import parse_jump_arguments
from fleetctl.model.host import Jump

BASTION = Jump("bastion")


@pytest.mark.parametrize(
    ("text", "jumps"),
    [
        ("", ()),
        ("-J bastion", (BASTION,)),
        ("-Jbastion", (BASTION,)),
        ("-J ops@10.0.0.1:2222", (Jump("10.0.0.1", 2222, "ops"),)),
        ("-J first,ops@second:2200", (Jump("first"), Jump("second", 2200, "ops"))),
        ("-J 'first, second'", (Jump("first"), Jump("second"))),
        ("-J [2001:db8::1]", (Jump("2001:db8::1"),)),
        ("-J ops@[2001:db8::1]:2222", (Jump("2001:db8::1", 2222, "ops"),)),
        ("-o ProxyJump=bastion", (BASTION,)),
        ("-oProxyJump=bastion", (BASTION,)),
        ('-o "ProxyJump bastion"', (BASTION,)),
        ("'-oProxyJump bastion'", (BASTION,)),
        ('-o ProxyJump="bastion"', (BASTION,)),
        ("-o proxyjump=bastion", (BASTION,)),
        ("-o ProxyJump=none", ()),
        ("-J bastion -o ProxyJump=bastion", (BASTION,)),
    ],
)
def test_a_jump_is_understood_however_ssh_lets_it_be_written(text, jumps):
    assert parse_jump_arguments(text) == jumps


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("-C", "not supported yet: -C (only -J and -o ProxyJump are)"),
        ("-J bastion -C", "not supported yet: -C (only -J and -o ProxyJump are)"),
        ("-o StrictHostKeyChecking=no",
         "not supported yet: -o StrictHostKeyChecking=no (only -J and -o ProxyJump are)"),
        ("-oStrictHostKeyChecking=no",
         "not supported yet: -o StrictHostKeyChecking=no (only -J and -o ProxyJump are)"),
        ("-o ProxyCommand=none",
         "not supported yet: -o ProxyCommand=none (only -J and -o ProxyJump are; for a jump host write -J HOST)"),
        ("bastion", "not supported yet: bastion (only -J and -o ProxyJump are)"),
        ("-J", "says nothing after -J"),
        ("-o", "says nothing after -o"),
        ("-J 'bastion", "has a quote that is not closed: -J 'bastion"),
        ("-J a -J b",
         "names more than one way: write all hosts that are passed through in one, with commas between"),
        ("-J 2001:db8::1", "has an IPv6 address without brackets: write [2001:db8::1]"),
        ("-J [bastion]", 'must have an IPv6 address in brackets, not "bastion"'),
        ("-J a:b:c", 'must name a jump host as [user@]host[:port], not "a:b:c"'),
        ("-J a,,b", 'must name a jump host as [user@]host[:port], not ""'),
        ("-J '-oX@b'", 'must name a jump host as [user@]host[:port], not "-oX@b"'),
        ("-J bastion:99999", "must be a port from 1 to 65535, not 99999"),
        (5, "must be text, not 5"),
    ],
)  # fmt: skip
def test_what_is_no_jump_is_refused_by_name(value, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        parse_jump_arguments(value)


def test_a_host_has_the_jumps_of_its_groups_arguments(files):
    inventory = files.inventory(
        "all: {vars: {ansible_ssh_common_args: -J ops@bastion},"
        " hosts: {h1: {}, h2: {ansible_ssh_common_args: '', ansible_ssh_extra_args: -o ProxyJump=other:2222}}}"
    )
    assert [host.jumps for host in inventory.hosts] == [(Jump("bastion", 22, "ops"),), (Jump("other", 2222),)]


def test_of_two_ways_the_first_that_ssh_would_see_counts(files):
    inventory = files.inventory(
        "all: {hosts: {h1: {ansible_ssh_extra_args: -J late, ansible_ssh_common_args: -J early}}}"
    )
    assert inventory.hosts[0].jumps == (Jump("early"),)


def test_other_arguments_are_refused_with_their_place(files):
    assert files.refused_inventory("all:\n  hosts:\n    h1:\n      ansible_ssh_common_args: -J bastion -C") == [
        "prod.yml:4: all.hosts.h1.ansible_ssh_common_args: not supported yet: -C (only -J and -o ProxyJump are)"
    ]
