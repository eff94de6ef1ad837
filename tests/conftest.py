"""For every layer: what the tests start gets the signals of a terminal, however the tests themselves were started.

A shell gives what it starts in the background an ignored SIGINT, nohup an ignored SIGHUP, and every child inherits
that; fleetctl leaves an ignored signal ignored, on purpose.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
