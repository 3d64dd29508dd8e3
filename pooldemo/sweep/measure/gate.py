"""A locustfile that waits: named before the real one, it holds Locust, imported and ready, until a byte comes on stdin.

Locust takes most of a second to import. So it starts together with the server under test, and goes when that is ready.
"""

import os
import sys

WAITING = "waiting at the gate"  # said on standard output

if __name__ == "gate":  # the name that Locust gives it: importing the package must not wait
    sys.stdout.write(f"{WAITING}\n")
    sys.stdout.flush()
    if not os.read(0, 1):
        sys.exit("the sweep that started this load is gone")
