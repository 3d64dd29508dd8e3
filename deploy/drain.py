"""Serve until SIGTERM, then leave without losing a request: `python deploy/drain.py ADDRESS PORTS COMMAND...`.

gunicorn closes its listener at SIGTERM, and whoever stands in the kernel's line before it is cut off: a balancer has to
look elsewhere first. So on SIGTERM the file that POOLDEMO_DRAINING names appears, /readyz answers 503, the balancer
notices within DRAIN_S seconds (default 3), and only then is gunicorn told. Every other signal is passed on.

PORTS is one, or a range of which the first free one is taken: replicas on one address need no number. COMMAND finds
the listening socket as systemd hands it over (LISTEN_FDS). The port is written to the file PORT_FILE, if that is set.
"""

import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

FIRST_FD = 3  # where systemd's way begins


def listen(address: str, ports: str) -> socket.socket:
    """A listening socket on the first port that is free. Exits with a sentence when there is none."""
    low, _, high = ports.partition("-")
    for port in range(int(low), int(high or low) + 1):
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(2048)
        except OSError:
            listener.close()
        else:
            return listener
    sys.exit(f"no port of {ports} on {address} is free")


def start(listener: socket.socket, command: list[str]) -> int:  # noqa: RET503  the child does not return
    """The command in a process of its own, with the socket; its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    if listener.fileno() == FIRST_FD:
        os.set_inheritable(FIRST_FD, True)
    else:
        os.dup2(listener.fileno(), FIRST_FD)
    os.execvp(command[0], command)  # noqa: S606  who started us wrote it


def main() -> int:
    address, ports, *command = sys.argv[1:]
    listener = listen(address, ports)
    with tempfile.TemporaryDirectory(prefix="pooldemo-drain-") as folder:
        os.environ["POOLDEMO_DRAINING"] = str(Path(folder, "draining"))
        if path := os.environ.get("PORT_FILE"):
            Path(path).write_text(str(listener.getsockname()[1]))
        pid = start(listener, command)
        listener.close()

        def pass_on(number: int, _frame: object) -> None:
            os.kill(pid, number)

        def leave(_number: int, _frame: object) -> None:
            signal.signal(signal.SIGTERM, pass_on)  # a second one does not wait
            Path(os.environ["POOLDEMO_DRAINING"]).touch()
            time.sleep(float(os.environ.get("DRAIN_S") or 3))
            os.kill(pid, signal.SIGTERM)

        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, pass_on)
        signal.signal(signal.SIGTERM, leave)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
