"""At the interpreter's end, when no thread can be started any more, a first checkout is served all the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .world import GREEN, PATIENCE_S

ROOT = Path(__file__).parents[2]
SCRIPT = """
import atexit, threading
from pooldemo.pool import Options, Pool
class Connector:
    errors = (OSError,)
    def new(self): return object()
    def open(self, connection, timeout): pass
    def close(self, connection): pass
    def gone(self, connection): return True
    def check(self, connection): return True
    def ping(self, connection, timeout): return True
    def recycle(self, connection): return True
    def is_transient(self, error, first): return False
    def is_full(self, error): return False
    def statement(self, connection): return ""
pool = Pool(Connector(), Options.read(MAX_CONNS=1, MIN_CONNS=1, POOL_TIMEOUT=20))
def late():
    pool.checkin(pool.checkout())
    print(pool, flush=True)
def when_the_main_thread_has_ended():
    threading.main_thread().join()
    late()
def keep():
    pool.checkout()
    print(pool, flush=True)
"""
ENDINGS = {
    "in an atexit handler": "atexit.register(late)",
    "in a thread that outlives the main one": "threading.Thread(target=when_the_main_thread_has_ended).start()",
    "never given back": "atexit.register(keep)",
    "never given back, from before": "keep()",
}


@pytest.fixture(scope="module")
def pythons() -> list[str]:
    """This one; and those beside it, which have no gevent."""
    if GREEN:
        return [sys.executable]
    beside = sorted(Path(sys.executable).resolve().parents[2].glob("3.1[2-9]*/bin/python3"))  # as pyenv installs them
    named = filter(None, map(shutil.which, ("python3.12", "python3.13")))
    found = dict.fromkeys([sys.executable, *map(str, beside), *named])
    return [python for python in found if not subprocess.run([python, "-c", ""], stderr=-3).returncode]


@pytest.mark.parametrize("ending", ENDINGS)
def test_it_serves_at_the_interpreters_end(pythons, ending):
    # Python's own debug allocator ends it before 3.11.4 where a thread has just been started, without a pool as well.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONMALLOC": "pymalloc"}
    patch = "from gevent import monkey; monkey.patch_all()\n" if GREEN else ""
    held = 1 if "never" in ending else 0
    for python in pythons:
        done = subprocess.run(
            [python, "-X", "dev", "-c", patch + SCRIPT + ENDINGS[ending]],
            capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, env=env,
        )  # fmt: skip
        assert (done.stdout, done.stderr, done.returncode) == (
            f"<Pool pool: {held}/1 in use, {1 - held} idle, 0 waiting>\n", "", 0
        ), python  # fmt: skip
