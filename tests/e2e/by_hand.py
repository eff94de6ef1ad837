"""`python -m tests fleet`: the compose fleet for a person, at the addresses of inventories/compose.yml."""

import signal
from contextlib import suppress

from tests.e2e.machines import INVENTORY, Machines


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machines = Machines.up(INVENTORY.parent / ".compose", net="10.213.71")
    try:
        print("The fleet is up. Try it with `-i inventories/compose.yml`; `docker kill` and friends take:", flush=True)
        for host, container in machines.containers.items():
            print(f"  {host}  {machines.addresses[host]}  {container}", flush=True)
        print("Ctrl-C takes it down.", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
    finally:
        machines.down()


if __name__ == "__main__":
    main()
