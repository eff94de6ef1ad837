"""What a host's variables make of it, and which are refused by name."""

from __future__ import annotations

import pytest

from fleetctl.config.host_variables import refusal
from fleetctl.model.host import Capacity, HostSpec
from fleetctl.model.resources import Bytes, MilliCpu, Resources

GI = 1024**3


def host(files, variables: str):
    return files.inventory(f"all: {{hosts: {{h1: {variables}}}}}").hosts[0]


def refused(files, variables: str) -> list[str]:
    return files.refused_inventory(f"all: {{hosts: {{h1: {variables}}}}}")


def test_a_host_without_variables_is_reached_by_its_name(files):
    assert host(files, "{}") == HostSpec(name="h1", address="h1", port=22, python="python3")


def test_all_variables_have_their_place(files):
    found = host(
        files,
        "{ansible_host: 10.0.0.1, ansible_port: '2200', ansible_user: deploy, ansible_ssh_private_key_file: /k,"
        " labels: {zone: a, rack: r1}, capacity: {cpu: 4, memory: 8Gi, disk: 1Ti}, reserved: {cpu: 500m, memory: 1Gi},"
        " peer_address: 192.168.0.1, fleet_root: /srv/fleet/, fleet_python: /opt/python3.9, fleet_known_hosts: /kh}",
    )

    assert (found.address, found.port, found.user) == ("10.0.0.1", 2200, "deploy")
    assert (str(found.private_key), str(found.known_hosts)) == ("/k", "/kh")
    assert found.labels == (("rack", "r1"), ("zone", "a"))
    assert found.capacity == Capacity(MilliCpu(4000), Bytes(8 * GI), Bytes(1024 * GI))
    assert found.reserved == Resources(MilliCpu(500), Bytes(GI), Bytes(0))
    assert (found.peer_address, found.root, found.python) == ("192.168.0.1", "/srv/fleet", "/opt/python3.9")


def test_all_of_a_host_may_be_reserved(files):
    assert host(files, "{capacity: {cpu: 2}, reserved: {cpu: 2}}").reserved.cpu == 2000


@pytest.mark.parametrize(
    ("variables", "python"),
    [
        ("{ansible_python_interpreter: /opt/python3}", "/opt/python3"),
        ("{ansible_python_interpreter: auto_silent}", "python3"),
        ('{ansible_python_interpreter: "{{ x }}"}', "python3"),
        ("{ansible_python_interpreter: /opt/python3, fleet_python: python3.8}", "python3.8"),
    ],
)
def test_a_python_that_ansible_was_told_to_use_is_used(files, variables, python):
    assert host(files, variables).python == python


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("{ansible_host: 10.0.0}", 'h1.ansible_host: must be an IP address or a host name, not "10.0.0"'),
        ("{ansible_host: -oProxy}", 'h1.ansible_host: must be an IP address or a host name, not "-oProxy"'),
        ("{ansible_host: 5}", "h1.ansible_host: must be text, not 5"),
        ("{ansible_host: }", "h1.ansible_host: must be text, not empty"),
        ('{ansible_host: "{{ ip }}"}', "h1.ansible_host: not supported yet: a template in this variable"),
        ("{ansible_user: !vault x}", "h1.ansible_user: not supported yet: a value encrypted with ansible-vault"),
        ("{ansible_user: a b}", 'h1.ansible_user: must be the name of a user, not "a b"'),
        ("{ansible_port: 65536}", "h1.ansible_port: must be a port from 1 to 65535, not 65536"),
        ("{ansible_port: true}", "h1.ansible_port: must be a port from 1 to 65535, not True"),
        ("{peer_address: h 1}", 'h1.peer_address: must be an IP address or a host name, not "h 1"'),
        ("{fleet_root: srv}", 'h1.fleet_root: must be a folder of its own, from / or ~/ on, not "srv"'),
        ("{fleet_root: /}", 'h1.fleet_root: must be a folder of its own, from / or ~/ on, not "/"'),
        ("{fleet_root: /a/../..}", 'h1.fleet_root: must be a folder of its own, from / or ~/ on, not "/a/../.."'),
        ('{fleet_root: "/srv/a\\nb"}', "h1.fleet_root: must be one line of text"),
        ("{fleet_python: python3 -u}",
         'h1.fleet_python: must be the name or path of a Python, without arguments, not "python3 -u"'),
        ("{labels: {zone: 1}}", 'h1.labels.zone: must be text, not 1: write "1" in quotes'),
        ("{labels: {zone: no}}", 'h1.labels.zone: must be text, not false: write "no" in quotes'),
        ("{labels: {my zone: a}}", 'h1.labels.my zone: "my zone" is not a name for a label'),
        ("{labels: [a]}", "h1.labels: must be a mapping, not a list"),
        ("{capacity: {memory: 8}}", "h1.capacity.memory: needs a unit: 8Mi, 8Gi or 8M"),
        ("{capacity: {gpu: 1}}", "h1.capacity.gpu: not supported yet: gpu"),
        ("{capacity: {mem: 1Gi}}", 'h1.capacity.mem: unknown key (did you mean "memory"?)'),
        ("{capacity: {x: 1}}", "h1.capacity.x: unknown key: known are cpu, memory and disk"),
        ("{capacity: {cpu: 1}, reserved: {cpu: 2}}", "h1.reserved.cpu: is more than the host's capacity"),
        ("{repair: 'systemctl restart x'}", "h1.repair: not supported yet: repair"),
        ("{reboot: true}", "h1.reboot: not supported yet: reboot"),
        ("{fleet_rot: /srv}", 'h1.fleet_rot: unknown variable (did you mean "fleet_root"?)'),
        ("{fleet_colour: red}", "h1.fleet_colour: unknown variable"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused_with_its_place(files, variables, said):
    assert refused(files, variables) == [f"prod.yml:1: all.hosts.{said}"]


@pytest.mark.parametrize(
    "key",
    [
        "ansible_become", "ansible_become_user", "ansible_become_password", "ansible_become_method",
        "ansible_connection", "ansible_password", "ansible_ssh_pass", "ansible_ssh_args",
        "ansible_sftp_extra_args", "ansible_scp_extra_args", "ansible_ssh_executable",
        "ansible_shell_type", "ansible_shell_executable", "ansible_network_os", "ansible_host_key_checking",
        "ansible_ssh_host_key_checking", "ansible_ssh_timeout", "ansible_timeout", "ansible_winrm_transport",
        "ansible_paramiko_proxy_command", "ansible_sudo_pass", "ansible_docker_extra_args", "ansible_remote_user",
    ],
)  # fmt: skip
def test_a_connection_variable_that_is_not_honoured_yet_is_refused_by_name(key):
    assert refusal(key, "x") == f"not supported yet: {key}"


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("ansible_ssh_host", "ansible_host"),
        ("ansible_ssh_port", "ansible_port"),
        ("ansible_ssh_user", "ansible_user"),
        ("ansible_private_key_file", "ansible_ssh_private_key_file"),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(key, instead):
    assert refusal(key, "x") == f"not supported yet: {key} (write {instead})"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("ansible_hots", "ansible_host"),
        ("ansible_hosts", "ansible_host"),
        ("ansible_prot", "ansible_port"),
        ("ansible_usr", "ansible_user"),
        ("ansible_becom", "ansible_become"),
    ],
)
def test_a_mistyped_connection_variable_is_refused_with_the_right_one(key, meant):
    assert refusal(key, "x") == f'unknown variable (did you mean "{meant}"?)'


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ansible_connection", "ssh"),
        ("ansible_become", False),
        ("ansible_python_interpreter", "/usr/bin/python3"),
        ("ansible_ssh_pipelining", True),
        ("ansible_distribution", "Debian"),
        ("ansible_date_time", {}),
        ("http_port", 80),
        ("role", [1]),
        ("fleets", "any"),
    ],
)
def test_what_asks_nothing_of_the_connection_is_just_a_variable(key, value):
    assert refusal(key, value) is None


def test_plain_variables_are_kept_with_their_values(files):
    inventory = files.inventory("all: {hosts: {h1: {a: {b: [1, two]}, secret: !vault x}}}")

    assert inventory.variables["h1"] == {"a": {"b": [1, "two"]}, "secret": "***"}
