"""What a command says where the extra that it needs is not installed, and in a project that is not this site."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module, reload
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from served import ROOT

from pooldemo import management
from pooldemo.management import extras

NAMES = {"psycopg2-binary": "psycopg2", "prometheus-client": "prometheus_client"}  # of a package -> of its module


PAGES = {"prometheus_client"}  # what a page alone needs, which says so by itself


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_command_writes_to_nowhere_where_a_stream_is_closed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has None for it: `sweep >&-` ended in a traceback."""
    monkeypatch.setattr(sys, name, None)
    reload(management)
    with getattr(sys, name) as stream:
        assert stream.write("a verdict") == 9


@pytest.mark.parametrize("name", extras.MODULES)
def test_it_knows_what_an_extra_brings(name: str) -> None:
    brought = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][name]
    packages = {each.split(">")[0].split("[")[0] for each in brought}
    assert {NAMES.get(each, each) for each in packages} - PAGES <= set(extras.MODULES[name])


@pytest.mark.parametrize(("command", "extra"), [("sweep", "sweep"), ("judge", "sweep"), ("pool", "metrics")])
def test_it_says_what_to_install(
    command: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    module = f"pooldemo.management.commands.{command}"
    monkeypatch.delitem(__import__("sys").modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        import_module(module)
    assert ended.value.code == 2, "1 is a verdict"
    lacks = "are" if extra == "sweep" else "is"
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"This command needs .*rich, which {lacks} not installed: pip install 'pooldemo\[{extra}\]'\n", said
    )


def test_a_command_needs_no_more_than_it_says() -> None:
    """As where the extra of another command is not installed, nor a driver."""
    others = {each for modules in extras.MODULES.values() for each in modules} - {*extras.MODULES["metrics"]}
    script = f"import sys; sys.modules.update(dict.fromkeys({sorted(others | PAGES)}))\n"
    script += "import django.conf; django.conf.settings.configure(INSTALLED_APPS=['pooldemo']); django.setup()\n"
    script += "import pooldemo.management.commands.pool, pooldemo.management.commands.postgres"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [(["postgres", "status"], "no embedded PostgreSQL"), (["demo"], "python manage.py sweep --url /")],
)
def test_it_sends_a_project_of_ones_own_elsewhere(command: list[str], sentence: str, settings: Any) -> None:
    del settings.EMBEDDED
    with pytest.raises(CommandError, match=sentence) as refused:
        call_command(*command)
    assert refused.value.returncode == 2
