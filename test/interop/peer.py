"""What every peer shares: how it talks to test/interop/peers.ts, which started it.

stdout carries one JSON object a line; the first says {"ready": {...}}. stdin carries commands the
same way. When stdin ends, the test is gone, and so is the peer: nothing is left behind, not even
by a test that was killed.
"""

import json
import os
import sys
import threading


def emit(**record):
    """Sends one record to the test."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def ready(**info):
    """Says that the peer can be used, and how to reach it."""
    emit(ready=info)


def serve_commands(handle=lambda command: None):
    """Gives each command to `handle`, in a thread of its own; ends the process with stdin.

    What `handle` returns, where it is not None, is emitted as {"reply": ...}.
    """

    def loop():
        for line in sys.stdin:
            reply = handle(json.loads(line))
            if reply is not None:
                emit(reply=reply)
        os._exit(0)

    threading.Thread(target=loop, daemon=True).start()
