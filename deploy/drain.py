"""Serve until SIGTERM, then leave without losing a request: `python deploy/drain.py ADDRESS PORTS COMMAND...`.

gunicorn closes its listener at SIGTERM, and whoever stands in the kernel's line before it is cut off: a balancer has to
look elsewhere first. So on SIGTERM the file that POOLDEMO_DRAINING names appears, /readyz answers 503, the balancer
notices within DRAIN_S seconds (default 3), and only then is gunicorn told, or at once by a second SIGTERM. Every other
signal is passed on, but for SIGUSR2: the server that gunicorn starts then would be nobody's when the old one ends.

PORTS is one, or a range of which the first free one is taken: replicas on one address need no number. COMMAND finds
the listening socket as systemd hands it over (LISTEN_FDS). The port is written to the file PORT_FILE, if that is set.
"""

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

FIRST_FD = 3  # where systemd's way begins
PASSABLE = 0o711  # gunicorn's workers may be somebody else (--user), and look there
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU)
HANDLED = (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2, *PASSED_ON)


def refuse(text: str) -> NoReturn:
    print(text, file=sys.stderr)  # noqa: T201  there is no logging yet
    sys.exit(2)


def listen(address: str, ports: str) -> socket.socket:
    """A listening socket on the first port that is free. Exits with 2 and a sentence when there is none."""
    low, _, high = ports.partition("-")
    if not (low.isdecimal() and (high or low).isdecimal() and 0 < int(low) <= int(high or low) < 65536):
        refuse(f"{ports!r} is no port: give one, or a range, as in 8001-8004")
    reason: OSError | None = None
    for port in range(int(low), int(high or low) + 1):
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(2048)
        except OSError as error:
            reason = error
            listener.close()
        else:
            return listener
    refuse(f"no port of {ports} on {address} is to be had: {reason}")


def seconds() -> float:
    """DRAIN_S; read before anything is started, since SIGTERM is late to hear that it is no number."""
    given = os.environ.get("DRAIN_S") or "3"
    try:
        drain_s = float(given)
    except ValueError:
        drain_s = -1.0
    if not 0 <= drain_s <= 3600:
        refuse(f"DRAIN_S={given!r} is not accepted: give seconds, 0 to 3600")
    return drain_s


def start(listener: socket.socket, command: list[str]) -> int:
    """The command in a process of its own, with the socket; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
        if listener.fileno() == FIRST_FD:
            os.set_inheritable(FIRST_FD, True)
        else:
            os.dup2(listener.fileno(), FIRST_FD)
        os.execvp(command[0], command)  # noqa: S606  who started us wrote it
    except OSError as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr)  # noqa: T201
    os._exit(127)  # a child that goes on would clean up what is its parent's


def main() -> int:
    if len(sys.argv) < 4:
        refuse("usage: python deploy/drain.py ADDRESS PORTS COMMAND...")
    address, ports, *command = sys.argv[1:]
    drain_s, listener = seconds(), listen(address, ports)
    # A signal that comes before there is a handler, or after the command has ended, waits for its turn.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    with tempfile.TemporaryDirectory(prefix="pooldemo-drain-", ignore_cleanup_errors=True) as folder:
        draining = Path(folder, "draining")
        os.chmod(folder, PASSABLE)  # noqa: PTH101
        os.environ["POOLDEMO_DRAINING"] = str(draining)
        if path := os.environ.get("PORT_FILE"):
            try:
                Path(path).write_text(str(listener.getsockname()[1]))
            except OSError as error:
                refuse(f"PORT_FILE={path} cannot be written: {error.strerror}")
        pid = start(listener, command)
        listener.close()

        def pass_on(number: int, _frame: object) -> None:
            os.kill(pid, number)

        def end(_number: int, _frame: object) -> None:
            os.kill(pid, signal.SIGTERM)

        def leave(_number: int, _frame: object) -> None:
            signal.signal(signal.SIGTERM, pass_on)  # a second one does not wait
            # No sleep: the command may end meanwhile, of its own or by another signal.
            signal.setitimer(signal.ITIMER_REAL, drain_s or 1e-6)
            try:
                draining.parent.mkdir(exist_ok=True)  # many systems remove what lay in /tmp for ten days
                draining.parent.chmod(PASSABLE)
                draining.touch()
            except OSError as error:  # the command is told all the same
                print(f"/readyz goes on saying yes: {draining}: {error.strerror}", file=sys.stderr)  # noqa: T201

        def keep(_number: int, _frame: object) -> None:
            print("SIGUSR2 is not passed on: replace the host", file=sys.stderr)  # noqa: T201

        for number in PASSED_ON:
            signal.signal(number, pass_on)
        signal.signal(signal.SIGALRM, end)
        signal.signal(signal.SIGUSR2, keep)
        signal.signal(signal.SIGTERM, leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and until it is waited for has its number
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
