"""What `sweep --against` compares with: settings, or a commit in a folder of its own for as long as the sweep lasts."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pooldemo.site.errors import Unfit
from pooldemo.sweep import plan as planning
from pooldemo.sweep.measure import process
from pooldemo.sweep.stacks import variant
from pooldemo.sweep.stacks.stack import ROOT, RUN_FOLDER
from pooldemo.sweep.stacks.variant import checkout, is_settings, settings_of

DIGITS = 12


def label(text: str) -> str:
    """What the name of a stack says of it: the settings, or the commit. Raises ValueError, in a sentence."""
    if is_settings(text):
        return ",".join(f"{name}={value}" for name, value in settings_of(text).items())
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    if found.returncode:
        said = found.stderr.decode(errors="replace").strip() or "git knows no such commit"
        raise ValueError(f"--against {text}: {said}; give a commit (main, HEAD~1) or settings (POOL_MODE=transaction)")
    return found.stdout.decode()[:DIGITS]


@contextmanager
def checked_out(stacks: Collection[str]) -> Iterator[None]:
    """The commits of these stacks stand in their folders until the block ends. Raises Unfit."""
    variants = [name for name in stacks if planning.label(name) and not is_settings(planning.label(name))]
    folders = {checkout(name): planning.label(name) for name in variants}
    try:
        for folder, commit in folders.items():
            archive = _git("archive", "--format=tar", commit)  # the folder of this project, where it is not all
            if archive.returncode:
                raise Unfit(f"the commit {commit} cannot be had: {archive.stderr.decode(errors='replace').strip()}")
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
                files.extraction_filter = getattr(tarfile, "data_filter", None)  # absent before Python 3.11.4
                files.extractall(folder)  # noqa: S202  git made it
        yield
    finally:
        shutil.rmtree(variant.CHECKOUTS, ignore_errors=True)


def clean_up() -> None:
    """Remove the commits that sweeps which were killed have left."""
    for folder in variant.CHECKOUTS.parent.glob("*"):
        if not (folder.name.isdecimal() and process.is_running(RUN_FOLDER, int(folder.name))):
            shutil.rmtree(folder, ignore_errors=True)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Raises Unfit where there is no git."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except OSError as error:
        raise Unfit(f"--against a commit needs git: {error}") from error
