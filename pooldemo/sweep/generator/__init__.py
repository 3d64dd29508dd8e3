"""What the load generator knows beside Locust, the standard library alone: `locustfile.py` is the rest.

Here is what it and the sweep that starts it say to each other.
"""

THEIRS = "POOLDEMO_THEIR_LOAD"  # in the environment: another locustfile makes the load, ours watches
PREFIX = "pooldemo_"  # of the names of our options then: theirs may have the same
BEGINS = "the load begins"  # a master's line of output; until then it waits for its workers
