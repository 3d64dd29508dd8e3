"""The server's process, as its data folder tells of it: whether it lives, whether it is ready, what it left behind."""

import signal
import time

import psutil

from .errors import EmbeddedError
from .place import Place

ORPHANS_S = 5  # for the processes of a killed server to leave before they are killed as well


class Postmaster:
    """The parent of all processes of the server whose data are at `place`, be there one or not."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def process(self) -> psutil.Process | None:
        """The live one. A process that merely has the pid of a dead one works elsewhere."""
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        try:
            process = psutil.Process(int(lines[0]))
            return process if process.cwd() == str(self._place.data) else None
        except psutil.Error:
            return None

    def is_ready(self) -> bool:
        lines = self._pid_file()
        return len(lines) >= 8 and lines[7].strip() == "ready" and self.process() is not None

    def end_orphans(self) -> None:
        """End what a killed server left behind, whose shared memory keeps a new one from starting. Blocks for it.

        A backend notices the death when it next waits; one that computes does not. So with a folder deleted meanwhile.
        """
        homes = (str(self._place.data), f"{self._place.data} (deleted)")
        orphans = []
        for process in psutil.process_iter():
            try:
                if process.name().startswith("postgres") and process.cwd() in homes:
                    orphans.append(process)
                    process.send_signal(signal.SIGQUIT)  # leave at once, recovery is due anyway
            except psutil.Error:
                continue
        deadline = time.monotonic() + ORPHANS_S
        while alive := [process for process in orphans if not _is_dead(process)]:
            if time.monotonic() > deadline:
                for process in alive:
                    process.kill()
                break
            time.sleep(0.02)

    def _pid_file(self) -> list[str]:
        try:
            return (self._place.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise EmbeddedError(
                f"{self._place.data} belongs to another user: work as that user, or set DATABASE_URL"
            ) from error


def _is_dead(process: psutil.Process) -> bool:
    """Zombies are: their memory is free, and in a container nobody may ever collect them."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
