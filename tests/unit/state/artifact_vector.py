"""One artifact with its listing and its digest, written out: both sides of the wire must give it."""

import os

FILES = {  # name -> (mode, content)
    b"a.txt": (0o644, b"hello\n"),
    b"a/empty": (0o600, b""),
    b"a/b/run": (0o755, b"#!/bin/sh\nexec sleep 1\n"),
    b"a-b": (0o711, b"\x00\xff" * 3),
    b"Z": (0o4755, b"upper case sorts first\n"),
    b"caf\xc3\xa9": (0o444, b"utf-8 name\n"),
    b"latin-\xe9": (0o477, b"only the owner's bit counts\n"),
    b"with space": (0o640, b"x"),
}
LINKS = {b"a/link": b"b/run", b"dangling": b"/no/such/place"}

# sha256sum of each content; sorted by the bytes of the names: "-" before "." before "/"
LISTING = b"""\
755 e67fa7b3e360606679268b764e90a636f400dfbfc8553809ec3faa177f96b7ac Z
755 47e37c66767711a2c885d2042cae4b2969ec800b46bfd45d0b422e62c77c6410 a-b
644 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 a.txt
755 a1a5c60edba160a27350cac06f20c9e852fd0febeb39a862f4ea41999986dd71 a/b/run
644 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 a/empty
link b/run a/link
644 3341333f4c186aed0477513890c75921ed0ec07afb3e81080bb2be19341a9140 caf\xc3\xa9
link /no/such/place dangling
644 672d13c7893b9b09b0a079c76e08d45a9a4b8a2a0fe1603ccdbe232cb8f02c08 latin-\xe9
644 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 with space
"""
DIGEST = "7d8cad5d104d3dd0bf872e1d58431c052e0b52980c6a33e6854e93b24303857c"  # sha256sum of LISTING


def make(folder):
    """Writes the artifact there, in no particular order, with an empty folder that does not count."""
    (folder / "nothing/in/here").mkdir(parents=True)
    for name, (mode, content) in reversed(FILES.items()):
        place = folder / os.fsdecode(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(mode)
    for name, target in LINKS.items():
        (folder / os.fsdecode(name)).symlink_to(os.fsdecode(target))
    return folder
