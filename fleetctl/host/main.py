"""Where every process of the host program begins: `python3 -I -S -E main.py supervisor|nursery|agent|boot|check …`.

-I leaves this folder out of the module path, so it is put there; the package is then imported by its folder's name.
"""

import posix
import sys

NEEDED = (3, 6)


def run(arguments) -> int:
    here = __file__.rpartition("/")[0]  # without os.path: the nursery is to load next to nothing
    above, _, package = here.rpartition("/")
    sys.path.insert(0, above)
    role = arguments[0]
    if role == "check":  # every module loads, which also leaves the compiled forms for the processes to share
        for name in sorted(posix.listdir(here)):
            if name.endswith(".py") and name not in ("main.py", "entry.py", "__init__.py"):
                __import__(package + "." + name[:-3])
        return 0
    module = getattr(__import__(package + "." + role), role)
    if role == "boot":
        return int(module.main(arguments[1], arguments[2]))
    return int(module.main(arguments[1], *(int(descriptor) for descriptor in arguments[2:])))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
