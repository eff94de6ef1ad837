"""Inventories on disk: their files, their order, their name, and everything wrong in them told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.config.inventory import load_inventory


def names(inventory) -> list[str]:
    return [host.name for host in inventory.hosts]


def test_hosts_come_in_the_order_of_the_file(files):
    inventory = files.inventory("""
        zeta: {hosts: {z1: , b2: }}
        alpha: {hosts: {a1: , z1: }}
    """)

    assert names(inventory) == ["z1", "b2", "a1"]
    assert inventory.groups == {
        "all": ("z1", "b2", "a1"),
        "ungrouped": (),
        "zeta": ("z1", "b2"),
        "alpha": ("a1", "z1"),
    }


def test_hosts_of_children_are_hosts_of_the_parent(files):
    inventory = files.inventory("[site:children]\nweb\n\n[web]\nw[1:2]\n", "prod.ini")

    assert inventory.groups["site"] == inventory.groups["web"] == ("w1", "w2")


def test_a_diamond_of_groups_counts_each_host_once(files):
    inventory = files.inventory("""
        top: {children: {left: {children: {bottom: {hosts: h1}}}, right: {children: bottom}}}
    """)

    assert inventory.groups["top"] == ("h1",)


def test_the_fleet_is_named_by_a_variable_of_all_or_else_by_the_file(files):
    assert files.inventory("all: {vars: {fleet: prod}, hosts: h1}", "x.yml").fleet == "prod"
    assert files.inventory("all: {hosts: h1}", "staging.yml").fleet == "staging"
    assert files.inventory("[all:vars]\nfleet=eu\n[web]\nh1\n", "hosts").fleet == "eu"


def test_group_vars_of_all_may_name_the_fleet(files):
    files.write("group_vars/all.yml", "fleet: prod")

    assert files.inventory("web: {hosts: h1}", "x.yml").fleet == "prod"
    assert files.inventory("all: {hosts: h1, vars: {fleet: old}}", "x.yml").fleet == "prod"


def test_the_command_that_tells_a_human_is_a_variable_of_all(files):
    assert files.inventory("all: {hosts: h1}", "x.yml").notify is None
    assert files.inventory("all: {hosts: h1, vars: {notify: ./tell 'on call'}}", "x.yml").notify == "./tell 'on call'"
    assert files.inventory("[all:vars]\nnotify=./tell --to us\n[web]\nh1\n", "hosts").notify == "./tell --to us"
    files.write("group_vars/all.yml", "notify: mail -s fleet us")
    assert files.inventory("web: {hosts: h1}", "x.yml").notify == "mail -s fleet us"


def test_a_folder_of_files_is_one_inventory_named_after_it(files):
    files.write("eu/10-web.yml", "web: {hosts: w1}")
    files.write("eu/20-db.ini", "[db]\nd1\n[web:vars]\ntier=front\n")
    files.write("eu/group_vars/db.yml", "tier: back")
    files.write("eu/notes.txt", "no inventory")

    inventory = load_inventory(files.folder / "eu")

    assert (inventory.fleet, names(inventory)) == ("eu", ["w1", "d1"])
    assert {host: inventory.variables[host]["tier"] for host in ("w1", "d1")} == {"w1": "front", "d1": "back"}


def test_in_a_folder_a_group_may_be_declared_in_a_later_file(files):
    files.write("eu/1.ini", "[site:children]\nweb\n")
    files.write("eu/2.ini", "[web]\nw1\n")

    assert load_inventory(files.folder / "eu").groups["site"] == ("w1",)


def test_relative_paths_are_taken_from_the_inventorys_folder_wherever_they_stand(files):
    files.write("inv/group_vars/web/keys.yml", "ansible_ssh_private_key_file: keys/web")
    path = files.write("inv/prod.yml", "web: {hosts: {w1: {fleet_known_hosts: known}}}")

    host = load_inventory(path).hosts[0]

    assert (host.private_key, host.known_hosts) == (files.folder / "inv/keys/web", files.folder / "inv/known")


def test_a_home_folder_is_looked_up(files, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")

    host = files.inventory("web: {hosts: {w1: {ansible_ssh_private_key_file: ~/.ssh/id}}}").hosts[0]

    assert host.private_key == Path("/home/me/.ssh/id")


def test_loading_twice_gives_the_same(files):
    text = "all: {vars: {fleet: prod}}\nweb: {hosts: {'w[1:20]': {labels: {zone: a, rack: b}}}}"

    assert files.inventory(text) == files.inventory(text)


def test_json_is_yaml(files):
    assert names(files.inventory('{"web": {"hosts": {"w1": {}}}}', "prod.json")) == ["w1"]


def test_a_file_without_ending_may_be_either(files):
    assert names(files.inventory("# yaml\nweb:\n  hosts:\n    w1:\n", "one")) == ["w1"]
    assert names(files.inventory("# ini\nw1:2222 x=1\n", "two")) == ["w1"]
    assert names(files.inventory("---\nall: {hosts: w1}\n", "three")) == ["w1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["prod.yml: is empty: an inventory names at least one host"]),
        ("[web]\nw1\n", ["prod.yml:2: not valid YAML: expected '<document start>', but found '<scalar>'"]),
        ("- web\n", ["prod.yml:1: an inventory is a mapping of groups, not a list"]),
        ("plugin: aws_ec2\n", ["prod.yml:1: plugin: not supported yet: inventory plugin aws_ec2"]),
        ("web: {}\n", ["prod.yml: names no host"]),
        ("web: {host: {w1: }}\n", ['prod.yml:1: web.host: unknown key (did you mean "hosts"?)']),
        ("web: {x: 1}\n", ["prod.yml:1: web.x: unknown key: a group has hosts, vars, children"]),
        ("web: w1\n", ['prod.yml:1: web: must be a group with hosts, vars, children, not "w1"']),
        ("web:\n  hosts: [w1, w2]\n",
         ['prod.yml:2: web.hosts: must be a mapping, each written as "name:", not a list']),
        ("web:\n  vars: x\n", ['prod.yml:2: web.vars: must be a mapping, not "x"']),
        ("web:\n  hosts:\n    1: {}\n", ['prod.yml:3: web.hosts.1: a host is named by text: write "1" in quotes']),
        ("web:\n  hosts:\n    w1: 10.0.0.1\n",
         ["prod.yml:3: web.hosts.w1: must be a mapping of the host's variables, or nothing, not \"10.0.0.1\""]),
        ("web:\n  hosts:\n    w[3:1]:\n", ["prod.yml:3: web.hosts.w[3:1]: [3:1] runs backwards"]),
        ("web:\n  hosts:\n    w1:\n    w1: {x: 1}\n",
         ["prod.yml:4: web.hosts.w1: duplicate key (first in line 3)"]),
        ("a b: {hosts: w1}\n", ['prod.yml:1: a b: "a b" is not a name for a group']),
        ("..: {hosts: w1}\n", ['prod.yml:1: ..: ".." is not a name for a group']),
        ("a:\n  children:\n    b:\n      children: a\n  hosts: w1\n",
         ["prod.yml:1: a: groups contain each other in a circle: a > b > a"]),
        ("a:\n  hosts: {w1: , 'w1:2222': }\n",
         ["prod.yml:2: a.hosts.w1:2222: w1 was named before without this port: give it there, or as ansible_port"]),
        ("a:\n  hosts: w1\n  vars: {ansible_group_priority: high}\n",
         ['prod.yml:3: a.vars.ansible_group_priority: must be a whole number, not "high"']),
        ("all: {hosts: w1, vars: {fleet: 5}}\n",
         ["prod.yml:1: all.vars.fleet: must be a name of letters, digits, dots, - and _, not 5"]),
        ("web:\n  hosts: w1\n  vars:\n    fleet: prod\n",
         ['prod.yml:4: web.vars.fleet: names the whole fleet: it belongs to the variables of "all"']),
        ("web:\n  hosts: w1\n  vars:\n    notify: ./tell\n",
         ['prod.yml:4: web.vars.notify: is for the whole fleet: it belongs to the variables of "all"']),
        ("all:\n  hosts:\n    w1: {notify: ./tell}\n",
         ['prod.yml:3: all.hosts.w1.notify: is for the whole fleet: it belongs to the variables of "all"']),
        ("all:\n  hosts: w1\n  vars:\n    notify: ''\n",
         ["prod.yml:4: all.vars.notify: must name a command, with a path or one to be found in PATH"]),
        ("all:\n  hosts: w1\n  vars:\n    notify: ./tell 'us\n",
         ['prod.yml:4: all.vars.notify: can\'t be split into words: no closing quotation: "./tell \'us"']),
        ("all:\n  hosts: w1\n  vars:\n    notify: [./tell, us]\n",
         ["prod.yml:4: all.vars.notify: must be a command with its arguments, as one text, not a list"]),
        ("all:\n  hosts: w1\n  vars:\n    notify: !vault x\n",
         ["prod.yml:4: all.vars.notify: must be a command with its arguments, as one text, not something else"]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_yaml_is_told_with_its_place(files, text, said):
    assert files.refused_inventory(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[web\nw1\n", ['prod.ini:1: "[web" has a bracket that is not closed']),
        ("[a b]\nw1 ?\n", ["prod.ini:1: [a b] is not a section, such as [web], [web:vars] or [web:children]"]),
        ("[web:var]\nw1 ?\n[db]\nd1",
         ['prod.ini:1: [web:var]: a section is of hosts, vars, children (did you mean "vars"?)']),
        ("---\nall:\n",
         ["prod.ini:1: --- begins a YAML file: give the file the ending .yml",
          'prod.ini:2: "all:" is not a host name: letters, digits, dots, - and _']),
        ("w1 a = 1\n",
         ['prod.ini:1: "a" is not key=value, without spaces around the =']),
        ("w1 a='1\n", ["prod.ini:1: can't be split into words: no closing quotation"]),
        ("[web]\nw1\n[web:vars]\nport 5\n", ['prod.ini:4: "port 5" is not key=value']),
        ("w1\n[wbe:vars]\na=1\n[web]\nw2\n",
         ['prod.ini:2: [wbe:vars] is about a group that is not there (did you mean "web"?)']),
        ("[web]\nw1\n[site:children]\nweb\nbd\n[db]\nd1\n",
         ['prod.ini:5: [site:children] names a group "bd" that is not there (did you mean "db"?)']),
        ("[web]\nw1\n[site:children]\nweb x\n", ['prod.ini:4: "web x" is not the name of a group']),
        ("w[2:1] x=1\n", ["prod.ini:1: [2:1] runs backwards"]),
        ("[web]\nw1 ansible_port=no\n", ["prod.ini:2: web.w1.ansible_port: must be a port from 1 to 65535, not no"]),
        ("[web]\nw1\n[web:vars]\nansible_port=0\n",
         ["prod.ini:4: web:vars.ansible_port: must be a port from 1 to 65535, not 0"]),
        ("[web]\nw1\n[web:vars]\nansible_group_priority=x\n", ['prod.ini:4: must be a whole number, not "x"']),
    ],
)  # fmt: skip
def test_what_is_wrong_in_ini_is_told_with_its_line(files, text, said):
    assert files.refused_inventory(text, "prod.ini") == said


def test_everything_wrong_is_told_together(files):
    files.write("group_vars/web.yml", "ansible_prot: 22")
    said = files.refused_inventory("web:\n  hosts:\n    w1: {labels: a}\n    w2: {capacity: {cpu: lots}}\n  vars: 5\n")

    assert said == [
        'group_vars/web.yml:1: ansible_prot: unknown variable (did you mean "ansible_port"?)',
        'prod.yml:3: web.hosts.w1.labels: must be a mapping, not "a"',
        'prod.yml:4: web.hosts.w2.capacity.cpu: must be a number of cores such as 2, 1.5 or 500m, not "lots"',
        "prod.yml:5: web.vars: must be a mapping, not 5",
    ]


def test_one_wrong_variable_of_a_group_is_told_once(files):
    said = files.refused_inventory("web:\n  hosts: {'w[1:9]': }\n  vars: {ansible_port: x}\n")

    assert said == ["prod.yml:3: web.vars.ansible_port: must be a port from 1 to 65535, not x"]


def test_a_missing_inventory_is_told(files):
    assert files.refused(load_inventory, files.folder / "none.yml") == ["none.yml: no such file"]


def test_a_folder_without_inventory_files_is_told(files):
    files.write("eu/group_vars/all.yml", "a: 1")

    assert files.refused(load_inventory, files.folder / "eu") == ["eu: has no inventory file in it"]


@pytest.mark.parametrize("start", ["#!/usr/bin/env python3\nprint('{}')\n", "\x7fELF"])
def test_a_program_is_not_run(files, start):
    path = files.write("prod.py", start)
    path.chmod(0o755)

    assert files.refused(load_inventory, path) == ["prod.py: not supported yet: an executable inventory"]


def test_an_executable_bit_alone_makes_no_program(files):
    path = files.write("prod.yml", "web: {hosts: w1}")
    path.chmod(0o755)

    assert names(load_inventory(path)) == ["w1"]


def test_toml_is_refused_by_name(files):
    assert files.refused_inventory("[all]\n", "prod.toml") == ["prod.toml: not supported yet: an inventory in TOML"]


def test_a_file_whose_name_can_not_be_the_fleets_asks_for_one(files):
    said = files.refused_inventory("web: {hosts: w1}", "my prod.yml")

    rule = "must be a name of letters, digits, dots, - and _"
    assert said == [f'my prod.yml: would name the fleet, which {rule}: write fleet: NAME into the vars of "all"']


def test_group_vars_that_are_no_mapping_are_told(files):
    files.write("group_vars/web.yml", "- a\n")
    files.write("host_vars/w1", "a: 1\na: 2\n")

    assert files.refused_inventory("web: {hosts: w1}") == [
        "group_vars/web.yml:1: must be a mapping of variables, not a list",
        "host_vars/w1:2: a: duplicate key (first in line 1)",
    ]
