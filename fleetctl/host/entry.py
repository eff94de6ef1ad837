"""The first words on a host: finds or makes the root, brings the host program, starts it, and links to its agent.

fleetctl runs one short loader over one SSH exec channel; the loader reads this file from standard input and executes it.
Nothing is installed beforehand. It must read fd 0 with os.read alone, never a byte beyond what it needs, and in `look`
write nothing at all.

THE HANDSHAKE. Lines are JSON objects that end in "\\n"; everything else is raw bytes. C is fleetctl, H the host.

1.  C runs `PYTHON -I -S -E -c LOADER`. LOADER writes its random marker and "\\n" to fd 1, reads exactly N bytes (this file)
    from fd 0 with os.read, and executes them with the globals {"__name__": "__fleetctl_entry__"}:
        import os;os.write(1,b"MARKER\\n");s=b""
        while len(s)<N:
         b=os.read(0,N-len(s))
         if not b:raise SystemExit(1)
         s+=b
        exec(compile(s,"entry","exec"),{"__name__":"__fleetctl_entry__"})
    What came before the marker on fd 1 is thrown away (noisy login shells). C may send steps 1 and 2 in one go.
2.  C -> H  one line, at most 64 KiB:
        {"mode": "drive"|"look", "root": str|null, "fleet": str,
         "program": {"version": "0.1.0", "digest": SHA256, "bytes": COUNT}}
    `root` null is the default root: /var/lib/fleetctl for uid 0, else ~/.local/share/fleetctl.
3.  H -> C  one line, the hello:
        {"hello": 1, "python": [3, 11, 2], "uid": 0, "root": ABSOLUTE, "address": STR, "installed": bool, "agent": bool,
         "running": null | {"version": str, "digest": str}, "send": bool, "error": null | ERROR}
    `address` is where sshd saw us arrive ("" where it can't be told). `running` is the living supervisor's program.
    ERROR is {"kind": str, "message": str, "hint": str}; after one H ends with status 1. Kinds: malformed, python, root.
4.  Only if `send` is true: C -> H  exactly COUNT raw bytes, the bundle.
    The bundle is zlib.compress(TEXT, 9), where TEXT is
        json.dumps({file name: file's text, for every *.py directly in fleetctl/host/},
                   sort_keys=True, separators=(",", ":")).encode("ascii")
    and the digest is hashlib.sha256(TEXT).hexdigest(): of TEXT, not of what zlib made of it.
5.  H -> C  one line, at most 30 s after the hello or the last byte of the bundle:
        {"linked": 1, "by": "agent"|"look"}   or   {"linked": 0, "error": ERROR}, and H ends with status 1.
    Kinds: bundle (not what its digest says), root (can't be written), start (the supervisor did not start),
    agent (its socket does not answer). In `drive` it is always `agent`.
6.  From here the channel carries the requests and answers of protocol.py until either side ends. EOF from C ends H, never
    the agent. EOF from H: the agent ended (upgraded, killed): connect again.

drive   makes the root (0700) with artifacts/ incoming/ instances/, unpacks the bundle to <root>/program-<digest>/ where it
        is not there yet, starts the supervisor where none lives, and asks one of an older version (or of the same version
        with another digest) to execute the new program in place. A newer one is left alone and linked to: see `running`.
look    writes nothing. A living agent is linked to, whatever its version. Without one, look.py (from the bundle or from
        the folder, never leaving a .pyc) answers observe, logs, await and probe from the files and /proc; anything else
        gets the error `no_agent`.
"""
