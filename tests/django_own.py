"""Django's own tests on `ENGINE: "pooldemo.postgresql"`; what fails there, on Django's own PostgreSQL backend as well.

    make test-django ARGS="[--threads] [--transaction] [--all] [--fetch] [label ...]"

The sdist of the installed Django is fetched once, with pip. They run in processes that gevent has patched
(`--threads`: not patched). `--transaction`: ours gives its slots back after each transaction. What fails on ours and
not on Django's must be expected, below; the exit code says so.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LABELS = (
    "backends transactions transaction_hooks select_for_update basic bulk_create get_or_create delete_regress queries"
).split()
DJANGOS, OURS = "django.db.backends.postgresql", "pooldemo.postgresql"
_HEALTH = "backends.base.test_base.ConnectionHealthChecksTests"
_TESTS = "backends.postgresql.tests.Tests"
# They assert that a connection that was closed is a new one; from a pool it is not.
EXPECTED = [f"{_HEALTH}.{name}" for name in ("test_health_checks_enabled", "test_set_autocommit_health_checks_enabled")]
# They assert that a connection is kept from one request to the next.
EXPECTED_IN_TRANSACTION_MODE = [
    f"{_HEALTH}.{name}" for name in ("test_health_checks_disabled", "test_health_checks_enabled_errors_occurred")
]
# What Django says of its own pool, which takes its options elsewhere, and how that looks at its connections.
EXPECTED_ON_PSYCOPG3 = [
    *(f"{_TESTS}.{name}" for name in (
        "test_connect_pool", "test_pool_check_can_be_overridden", "test_pool_options_not_mutated",
        "test_pooling_health_checks", "test_pooling_not_support_persistent_connections",
    )),
]  # fmt: skip
# It asserts that `"pool": True` is refused on psycopg2, and leaves the connection open that it gets here.
OPPOSITE = "backends.postgresql.tests.Tests.test_connect_pool_setting_ignored_for_psycopg2"
RUNNER = f"""
from django.test.runner import DiscoverRunner
class Runner(DiscoverRunner):
    def build_suite(self, *args, **kwargs):
        suite = super().build_suite(*args, **kwargs)
        return self.test_suite(test for test in suite if test.id() != {OPPOSITE!r})
"""
SETTINGS = """
import json, os
TEST_RUNNER = "own_runner.Runner"
DATABASES = json.loads(os.environ["DJANGO_OWN_DATABASES"])
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
"""
RUN = """
import sys
if sys.argv.pop(1) == "gevent":
    from gevent import monkey
    monkey.patch_all()
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
    if not is_psycopg3:  # our ENGINE does this by itself; Django's own would block every greenlet
        from psycogreen.gevent import patch_psycopg
        patch_psycopg()
import runpy
sys.argv[0] = "runtests.py"
runpy.run_path("runtests.py", run_name="__main__")
"""


def label(name: str) -> str:
    """How a test is chosen: of `test_x (backends.tests.T.test_x) (n=1)` the part in the middle."""
    return name.split("(")[1].split(")")[0]


@dataclass(frozen=True)
class Figures:
    """What one engine made of it: how many tests ran, and those that failed by name."""

    ran: int
    failed: frozenset[str]
    skipped: int
    seconds: float

    @classmethod
    def read(cls, output: str) -> "Figures":
        """From unittest's report. Raises ValueError when it has none: the run itself broke."""
        ran = re.search(r"^Ran (\d+) tests? in ([\d.]+)s", output, re.MULTILINE)
        if not ran or "Traceback" in output[ran.end() :]:
            raise ValueError(f"the run itself broke; its output ends with\n{output[-3000:]}")
        failed = re.findall(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): (.*)$", output, re.MULTILINE)
        skipped = re.search(r"skipped=(\d+)", output)
        return cls(int(ran[1]), frozenset(failed), int(skipped[1]) if skipped else 0, float(ran[2]))

    @property
    def labels(self) -> list[str]:
        """What failed, as it is chosen."""
        return sorted({label(name) for name in self.failed})

    def __str__(self) -> str:
        return f"{self.ran:,} ran, {len(self.failed)} failed, {self.skipped} skipped, {self.seconds:.0f} s"


def sources(folder: Path) -> Path:
    """The tests folder of the installed Django's sdist, fetched with pip when it is not there yet."""
    import django

    name = f"django-{django.__version__}"
    if not (folder / name / "tests" / "runtests.py").exists():
        folder.mkdir(parents=True, exist_ok=True)
        requirement = f"Django=={django.__version__}"
        # An environment that uv made has no pip of its own; the Python that it was made with has.
        python = sys.executable if find_spec("pip") else str(Path(sys.base_prefix, "bin", "python3"))
        options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
        if subprocess.run([python, "-m", "pip", "download", *options, requirement]).returncode:
            sys.exit(f"the sdist of {requirement} cannot be fetched: put it, unpacked, into {folder}")
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # since 3.11.4
            archive.extractall(folder)
    return folder / name / "tests"


def databases(engine: str, pool_mode: str) -> dict[str, object]:
    """The two databases that Django's tests want. Blocks until the embedded PostgreSQL runs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.conf import settings

    if settings.EMBEDDED:
        settings.EMBEDDED.ensure()
    given = settings.DATABASES["default"]
    config = {key: given[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    options = {key: value for key, value in given["OPTIONS"].items() if not key.isupper()}
    name = "ours" if engine == OURS else "django"
    if engine == OURS:
        options["POOL_MODE"] = pool_mode
    return {
        alias: config | {"ENGINE": engine, "OPTIONS": options, "TEST": {"NAME": f"django_{name}_{alias}"}}
        for alias in ("default", "other")
    }


def run(tests: Path, engine: str, labels: list[str], mode: str, pool_mode: str) -> Figures:
    """Run Django's `labels` (none: all of them) on one engine. Blocks for seconds to many minutes."""
    environment = os.environ | {
        "DJANGO_OWN_DATABASES": json.dumps(databases(engine, pool_mode)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tests)]),
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    arguments = [mode, "--settings=own_settings", "--parallel=1", "--noinput", "--verbosity=1", *labels]
    log = tests.parent.parent / f"{engine}.log"
    with log.open("w") as output:
        subprocess.run(
            [sys.executable, "-c", RUN, *arguments], cwd=tests, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    return Figures.read(log.read_text(errors="replace"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("labels", nargs="*", help=f"of Django's tests (default: {' '.join(LABELS)})")
    parser.add_argument("--all", action="store_true", help="the whole of Django's suite, half an hour each")
    parser.add_argument("--fetch", action="store_true", help="fetch the sdist only")
    parser.add_argument("--transaction", action="store_true", help='ours with POOL_MODE "transaction"')
    parser.add_argument("--threads", action="store_true", help="without gevent's patch")
    given = parser.parse_args()
    labels = [] if given.all else given.labels or LABELS
    tests = sources(ROOT / ".local" / "django")
    if given.fetch:
        return 0
    mode = "threads" if given.threads else "gevent"
    pool_mode = "transaction" if given.transaction else "request"
    (tests / "own_settings.py").write_text(SETTINGS)
    (tests / "own_runner.py").write_text(RUNNER)
    ours = run(tests, OURS, labels, mode, pool_mode)
    print(f"{OURS:32} {ours}", flush=True)  # noqa: T201
    if not ours.failed:
        return 0
    theirs = run(tests, DJANGOS, ours.labels, mode, pool_mode)
    print(f"{DJANGOS:32} {theirs}", flush=True)  # noqa: T201
    new = ours.failed - theirs.failed
    ids = EXPECTED + (EXPECTED_ON_PSYCOPG3 if find_spec("psycopg") else [])  # Django prefers it
    ids += EXPECTED_IN_TRANSACTION_MODE if given.transaction else []
    for name in sorted(new):
        print(f"  {'expected' if label(name) in ids else 'NEW'}: {name}")  # noqa: T201
    return 0 if {label(name) for name in new} <= set(ids) else 1


if __name__ == "__main__":
    sys.exit(main())
