"""Documents of sweeps in files, read with words for what is wrong with them."""

import json
import sys
from pathlib import Path

from pooldemo.sweep.analyse.document import judged, read_document
from pooldemo.sweep.analyse.shape import BadDocument
from pooldemo.sweep.facts import SweepResult


def read(name: str) -> SweepResult:
    """The sweep of the document in that file; `-` is standard input. Raises BadDocument, which names it."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        why = error.strerror or error
        raise BadDocument(f"{name} cannot be read ({why}): give a file written by sweep --json") from error
    try:
        sweep = read_document(json.loads(text))
    except (ValueError, RecursionError) as error:  # of JSON, or of what it says
        told = error if isinstance(error, BadDocument) else f"it is no JSON ({error})"
        raise BadDocument(f"{name} is no sweep: {told}; give a file written by sweep --json") from error
    return sweep if sweep.verdicts else judged(sweep)
