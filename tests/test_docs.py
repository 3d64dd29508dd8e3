"""What the documents say is true of the code: targets, commands, options, links, tables and the layout."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from pooldemo.monitor.metrics import exposition
from pooldemo.pool.options import ROWS
from pooldemo.sweep.report.lines import to_lines
from project.environment import POOL_VARIABLES

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)


def code(document: Path) -> Iterator[str]:
    """The lines of code of a document, fenced and inline, continued lines joined, comments cut."""
    for block, inline in CODE.findall(document.read_text()):
        for line in (block or inline).replace("\\\n", " ").splitlines():
            yield line.split(" #")[0].strip()


def table(document: str, first: str) -> list[list[str]]:
    """The rows, as cells, of the document's one table whose first heading is `first`."""
    lines = (ROOT / document).read_text().splitlines()
    (head,) = [i for i, line in enumerate(lines) if line.startswith(f"| {first} |")]
    rows = takewhile(lambda line: line.startswith("|"), lines[head + 2 :])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@cache
def help_of(command: str) -> str:
    """What `manage.py COMMAND --help` prints; fails when there is no such command."""
    commands = get_commands()
    assert command in commands, f"no such command: manage.py {command}"
    return load_command_class(commands[command], command).create_parser("manage.py", command).format_help()


def test_it_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (document.name, word)
        for document in DOCUMENTS
        for line in code(document)
        if line.startswith("make ")
        for word in line.split("ARGS=")[0].split()[1:]
        if re.fullmatch("[a-z-]+", word)
    }
    assert named
    assert {(where, word) for where, word in named if word not in targets} == set()


def test_it_names_only_commands_and_options_that_exist() -> None:
    seen = 0
    for document in DOCUMENTS:
        for line in code(document):
            for command, arguments in re.findall(r"manage\.py ([a-z_]+)(?![\w.])((?: [^|;&]+)?)", line):
                seen += 1
                for option in re.findall(r"(?<!\S)--[a-z-]+", arguments):
                    assert re.search(rf"{option}\b", help_of(command)), f"{document.name}: {line}"
                assert help_of(command)
    assert seen


TYPED = re.compile(r"python manage\.py [a-z]|gunicorn -k|locust -f")


@pytest.mark.parametrize("path", ["README.md", "docs/settings.md", "docs/timeline.md", "docs/stacks.md"])
def test_it_says_what_to_type_first_in_a_new_shell(path: str) -> None:
    lines = list(code(ROOT / path))
    assert any(TYPED.match(line) for line in lines)
    assert ". .venv/bin/activate" in lines


@pytest.mark.parametrize(
    "path", [each for each in sorted(ROOT.glob("pooldemo/templates/**/*.html")) if "card" not in each.name], ids=str
)
def test_its_pages_say_what_to_type_first_in_a_new_shell(path: Path) -> None:
    text = path.read_text()
    assert not (TYPED.search(text) or "{{ again }}" in text) or "<code>. .venv/bin/activate</code>" in text


def texts(path: Path) -> Iterator[str]:
    """The strings of a module that are no docstrings."""
    tree = list(ast.walk(ast.parse(path.read_text())))
    alone = {id(node.value) for node in tree if isinstance(node, ast.Expr)}
    for node in tree:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def test_it_shows_commands_as_they_are_typed() -> None:
    bare = re.compile(r"(?<!python )\bmanage\.py [a-z]+(?![\w.])")
    files = [*(ROOT / "pooldemo").rglob("*.py"), *(ROOT / "project").rglob("*.py")]
    shown = [(file.name, text) for file in files for text in texts(file)]
    shown += [(file.name, line) for file in DOCUMENTS if file.name != "CHANGELOG.md" for line in code(file)]
    assert [(where, text) for where, text in shown if bare.search(text)] == []


def test_it_links_only_to_files_that_exist() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_it_links_only_to_headings_that_exist() -> None:
    def anchors(document: Path) -> set[str]:  # as GitHub makes them
        headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^):#]*)#([^)]+)\)", document.read_text()):
            assert anchor in anchors(document.parent / target if target else document), f"{document.name}: #{anchor}"


def test_it_names_only_paths_that_exist() -> None:
    for document in DOCUMENTS:
        for line in code(document):
            for path in re.findall(r"(?<![\w./])(?:pooldemo|project|peers|tests|docs|benchmarks)/[\w./-]+", line):
                assert (ROOT / path.rstrip(".")).exists(), f"{document.name} names {path}"


def test_it_names_only_tests_that_exist() -> None:
    named = {name for document in DOCUMENTS for line in code(document) for name in re.findall(r"tests/\S+::\w+", line)}
    assert len(named) > 30
    for name in named:
        path, test = name.split("::")
        assert re.search(rf"^ *def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"no such test: {name}"


def shown(value: object) -> str:
    return f'`"{value}"`' if isinstance(value, str) else f"`{list(value) if isinstance(value, tuple) else value}`"


def test_it_describes_every_option_as_the_code_has_it() -> None:
    expected = [[f"`{row.name}`", shown(row.default), row.unit, row.accepted, row.help] for row in ROWS]
    lines = "\n".join("| " + " | ".join(cells) + " |" for cells in expected).replace("|  |", "| |")
    assert table("docs/options.md", "option") == expected, f"docs/options.md wants these rows:\n{lines}"


def variables() -> set[str]:
    """The environment variables that this site reads, found where it reads them."""
    files = [*(ROOT / "project").rglob("*.py"), ROOT / "gunicorn.conf.py", ROOT / "locustfile.py"]
    read = r"""environ(?:\.get\(|\.setdefault\(|\[|, )["']([A-Z_]+)["']|getenv\(["']([A-Z_]+)["']"""
    found = {name for file in files for pair in re.findall(read, file.read_text()) for name in pair if name}
    return (found | set(POOL_VARIABLES)) - {"DJANGO_SETTINGS_MODULE"}


def test_it_describes_every_variable_that_the_site_reads() -> None:
    described = {name for row in table("docs/settings.md", "variable") for name in re.findall(r"`([A-Z_]+)`", row[0])}
    assert described == variables()


def test_it_describes_every_metric_as_the_code_has_it() -> None:
    text = exposition([]).decode()
    helps, kinds = (dict(re.findall(rf"^# {what} (\S+) (.*)$", text, re.MULTILINE)) for what in ("HELP", "TYPE"))
    assert helps
    assert table("docs/metrics.md", "metric") == [[f"`{name}`", kinds[name], helps[name]] for name in helps]


def layout() -> Iterator[str]:
    """The paths of the layout tree of docs/design.md: two spaces a level, names, two spaces, what it is."""
    (tree,) = re.findall(r"## Layout\n.*?```\n(.*?)```", (ROOT / "docs/design.md").read_text(), re.DOTALL)
    folders: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"  +", line.strip())[0].split()
        del folders[depth:]
        yield from ("".join(folders) + name for name in names)
        folders.append(names[0])


def tracked() -> set[str]:
    """The paths that git tracks, folders with a slash at their end."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return set(files) | {f"{parent}/" for file in files for parent in Path(file).parents}


def test_it_draws_the_layout_as_it_is() -> None:
    drawn, real = set(layout()), tracked()
    assert drawn - real == set()
    listed = re.compile(r"\w[\w.-]*/?|(?:project|pooldemo)/[\w.-]+/?|tests/\w+/")
    assert {path for path in real if listed.fullmatch(path) and not path.endswith("__init__.py")} - drawn == set()


@pytest.mark.parametrize("path", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda path: path.stem)
def test_it_tells_of_a_decision_its_context_choice_cost_and_end(path: Path) -> None:
    assert re.findall(r"\*\*(Context|Choice|Cost|Revisit)", path.read_text()) == [
        "Context",
        "Choice",
        "Cost",
        "Revisit",
    ]


def test_it_names_every_extra_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [row[0] for row in table("docs/install.md", "extra")] == [f"`{name}`" for name in extras]


@pytest.mark.parametrize("path", sorted((ROOT / "docs/data").glob("*.json")), ids=lambda path: path.stem)
def test_it_keeps_a_trial_a_line(path: Path) -> None:
    assert path.read_text() == to_lines(json.loads(path.read_text()))
