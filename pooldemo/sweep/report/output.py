"""Where a sweep writes: streams and files that may fail, without taking along what was measured."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pooldemo.sweep.facts import SweepResult

Reports = dict[str, Callable[[SweepResult], str]]  # file -> what makes its text


class Lasting:
    """A stream that falls silent when nobody reads it any more, or its disk is full: a sweep does not end of that."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._silenced():
            _write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        with self._silenced():
            self._stream.flush()

    @contextmanager
    def _silenced(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write(path: str, text: str) -> str:
    """The whole text or nothing, into a file or (`-`) to standard output; why it could not be (empty: it is there)."""
    try:
        if path == "-":
            _write(sys.stdout, text)
            sys.stdout.flush()
            return ""
        file = Path(path).resolve()
        if (file.is_file() or not file.exists()) and os.access(file.parent, os.W_OK):
            part = file.with_name(f"{file.name}.part")
            try:
                part.write_text(text, encoding="utf-8")
                part.replace(file)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        else:  # a pipe, a device, or a file in a folder that takes no other
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        if path == "-":
            _silence(sys.stdout)
        return f"the report {path} could not be written: {error.strerror or error}"
    return ""


def open_reports(options: Mapping[str, Any], makers: Reports) -> Reports:
    """The reports asked for, each of `makers` whose option is given, by their file.

    Raises ValueError now, not after the sweep, where one cannot be written.
    """
    asked: Reports = {}
    for name, make in makers.items():
        if (path := options[name]) is None:
            continue
        if path in asked:
            raise ValueError(f"--{name} {path} is given for another report as well: give each a file of its own")
        asked[path] = make
        file = Path(path)
        if path == "-":
            continue
        if file.is_dir():
            raise ValueError(f"no report can be written there: {path or 'an empty name'} is a folder; give a file")
        try:
            there = file.exists()
            file.touch()
            if not there:
                file.unlink()  # a sweep that does not come about leaves nothing
        except OSError as error:
            raise ValueError(
                f"no report can be written to {path} ({error.strerror}): give a file in a folder of yours"
            ) from error
    return asked


def write_reports(reports: Reports, sweep: SweepResult) -> str:
    """Each into its file; `-` is standard output. Which could not be written, and why, in a sentence."""
    return "; ".join(filter(None, (write(path, make(sweep)) for path, make in reports.items())))


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a tick, where the terminal knows ASCII alone
        stream.write(text.encode("ascii", "replace").decode())


def _silence(stream: IO[str]) -> None:
    """Lead `stream` nowhere, with what its buffer holds: Python's own flush at the end would fail as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
