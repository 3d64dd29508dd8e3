"""Folders for PostgreSQL servers of a test's own, which it may harm. Nothing of them outlives its process."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Such a server is nobody's child, so no signal of the kernel ends it with us; who reads a pipe sees its end.
ENDS = """
import contextlib, shutil, signal, sys
import psutil
sys.stdin.read()
folder, servers = sys.argv[1], []
for process in psutil.process_iter(["name", "cwd"]):
    if process.info["name"].startswith("postgres") and (process.info["cwd"] or "").startswith(f"{folder}/"):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGQUIT)
        servers.append(process)
for process in psutil.wait_procs(servers, timeout=10)[1]:
    process.kill()
shutil.rmtree(folder, ignore_errors=True)
"""


@contextmanager
def folder_of_servers(prefix: str) -> Iterator[Path]:
    """A new folder. When the block ends, or this process, what runs in it ends and it is gone.

    Not below pytest's own folder: each session that begins closes that to others, and root's stand-in must come in.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    folder.chmod(0o755)
    watch = subprocess.Popen([sys.executable, "-c", ENDS, folder], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield folder
    finally:
        watch.communicate()
