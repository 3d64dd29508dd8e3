"""What the commands share. Where a standard stream is closed (`>&-`), Python has None for it: they write to nowhere."""

import os
import sys
from pathlib import Path

for _name in ("stdout", "stderr"):
    if getattr(sys, _name) is None:
        setattr(sys, _name, Path(os.devnull).open("w"))  # noqa: SIM115  for as long as the process lasts
