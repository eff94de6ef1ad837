"""Where every process of the host program begins: `python3 -I -S -E main.py supervisor|agent|check …`.

-I leaves this folder out of the module path, so it is put there; the package is then imported by its folder's name.
"""

import os
import sys

NEEDED = (3, 6)


def run(arguments) -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(here))
    package = os.path.basename(here)
    role = arguments[0]
    if role == "check":  # every module loads, which also leaves the compiled forms for the processes to share
        for name in sorted(os.listdir(here)):
            if name.endswith(".py") and name not in ("main.py", "entry.py", "__init__.py"):
                __import__(package + "." + name[:-3])
        return 0
    module = getattr(__import__(package + "." + role), role)
    if role == "supervisor":
        return int(module.main(arguments[1], int(arguments[2]), int(arguments[3])))
    return int(module.main(arguments[1], int(arguments[2]), int(arguments[3])))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
