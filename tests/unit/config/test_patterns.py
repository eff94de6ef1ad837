"""Which hosts a pattern means. The table was compared with what `ansible --list-hosts` (2.19) gave for each."""

from __future__ import annotations

from itertools import permutations

import pytest

from fleetctl.config.patterns import match_hosts, match_remaining_hosts
from fleetctl.errors import UsageError

HOSTS = """
    solo
    [web]
    web1
    web2
    web3
    [db]
    db1.example.com
    db2.example.com
    [eu]
    web2
    db1.example.com
    web1
    [void]
    [site:children]
    web
    db
"""


@pytest.fixture
def inventory(files):
    return files.inventory(HOSTS, "prod.ini")


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("web", "web1 web2 web3"),
        ("all", "solo web1 web2 web3 db1.example.com db2.example.com"),
        ("*", "solo web1 web2 web3 db1.example.com db2.example.com"),
        ("web:db", "web1 web2 web3 db1.example.com db2.example.com"),
        ("web,db", "web1 web2 web3 db1.example.com db2.example.com"),
        ("web2, solo", "solo web2"),
        ("web:&eu", "web1 web2"),
        ("web:!web3", "web1 web2"),
        ("!web", "solo db1.example.com db2.example.com"),
        ("&eu", "web1 web2 db1.example.com"),
        ("site:&eu:!web2", "web1 db1.example.com"),
        ("all:!void", "solo web1 web2 web3 db1.example.com db2.example.com"),
        ("ungrouped", "solo"),
        ("*.example.com", "db1.example.com db2.example.com"),
        ("web?", "web1 web2 web3"),
        ("web[!3]", "web1 web2"),
        ("*2*", "web2 db2.example.com"),
        ("all:!*.example.com", "solo web1 web2 web3"),
        (r"~web\d", "web1 web2 web3"),
        ("~^db", "db1.example.com db2.example.com"),
        ("~(web|db).*2", "web2 db2.example.com"),
        (r"~web\d{1,2}:solo", "solo web1 web2 web3"),
        ("web[0]", "web1"),
        ("web[-1]", "web3"),
        ("web[0:1]", "web1 web2"),
        ("web[1:]", "web2 web3"),
        ("eu[0]", "web2"),
        ("eu[1:2]", "web1 db1.example.com"),
        ("w*[0]", "web1"),
        ("site:!web[0]", "web2 web3 db1.example.com db2.example.com"),
    ],
)
def test_a_pattern_means_its_hosts_in_the_inventorys_order(inventory, pattern, hosts):
    assert match_hosts(pattern, inventory) == tuple(sorted(hosts.split(), key=[*inventory.groups["all"]].index))


def test_the_order_of_the_parts_does_not_matter(inventory):
    found = {match_hosts(":".join(parts), inventory) for parts in permutations(["web", "db", "&eu", "!web2"])}

    assert found == {("db1.example.com", "web1")}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("wbe", 'no host or group matches "wbe" (did you mean "web"?)'),
        ("web:!wbe3", 'no host or group matches "wbe3" (did you mean "web3"?)'),
        ("web:&ue", 'no host or group matches "ue" (did you mean "eu"?)'),
        ("all:!typo", 'no host or group matches "typo"'),
        ("Web", 'no host or group matches "Web" (did you mean "web"?)'),
        ("*.example.org", 'no host or group matches "*.example.org" (did you mean "db2.example.com"?)'),
        ("web:!all", 'the pattern "web:!all" leaves no host'),
        ("void", 'the pattern "void" leaves no host'),
        ("", '"" is not a pattern of hosts, such as web:&eu:!web3'),
        ("web:!", '"web:!" is not a pattern of hosts, such as web:&eu:!web3'),
        ("web]", '"web]" is not a pattern of hosts, such as web:&eu:!web3'),
        ("web[5]", '"web[5]" takes none of the 3 hosts of "web"'),
        ("web[-4]", '"web[-4]" takes none of the 3 hosts of "web"'),
        ("web[2:1]", '"web[2:1]" runs backwards'),
        ("web[1-2]", '"web[1-2]": write [1:2], both ends included'),
        ("~[", '"~[" is not a pattern of hosts, such as web:&eu:!web3'),
        ("~*", '"~*" is not a regular expression: nothing to repeat at position 0'),
    ],
)
def test_what_matches_nothing_is_an_error_in_an_exclusion_too(inventory, pattern, said):
    with pytest.raises(UsageError) as caught:
        match_hosts(pattern, inventory)
    assert caught.value.message == said


def test_a_name_with_colons_is_one_host(files):
    inventory = files.inventory("all: {hosts: {'2001:db8::1': , h2: }}")

    assert match_hosts("2001:db8::1", inventory) == ("2001:db8::1",)
    assert match_hosts("all,!2001:db8::1", inventory) == ("h2",)


def test_a_pattern_of_old_passes_over_what_has_left_the_inventory(inventory):
    assert match_remaining_hosts("web:gone:!left", inventory) == match_hosts("web", inventory)
    assert match_remaining_hosts("web:&gone", inventory) == ()
    assert match_remaining_hosts("gone", inventory) == ()
