"""The files that pages load, as a project deploys them."""

import re
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.templatetags.static import static
from django.test import Client

from project.static_files import hashed


def test_every_project_can_collect_them_under_names_of_their_content(settings: Any, tmp_path: Path) -> None:
    """A reference to a file that is not there would stop a project's whole deployment."""
    settings.STATIC_ROOT = str(tmp_path)
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": storage}}
    call_command("collectstatic", verbosity=0, interactive=False)
    assert (tmp_path / "staticfiles.json").exists()
    assert list(tmp_path.glob("pooldemo/figures.*.js"))


def test_it_lets_a_browser_keep_a_file_for_as_long_as_its_content_stays(client: Client, tmp_path: Path) -> None:
    url = static("pooldemo/admin.css")
    assert re.fullmatch(r"/static/pooldemo/admin\.[0-9a-f]{12}\.css", url)
    kept, plain = client.get(url), client.get("/static/pooldemo/admin.css")
    assert "immutable" in kept.headers["Cache-Control"]
    assert "max-age=60" in plain.headers["Cache-Control"]
    assert b"".join(kept.streaming_content) == b"".join(plain.streaming_content)  # type: ignore[attr-defined]
    one, other = tmp_path / "a.css", tmp_path / "b.css"
    one.write_text("a")
    other.write_text("b")
    assert hashed("x/a.css", str(one)) != hashed("x/a.css", str(other))
    assert client.get(url.replace("admin.", "admin.0", 1)).status_code == 404


def test_it_sends_files_and_pages_compressed(client: Client) -> None:
    answer = client.get(static("admin/css/base.css"), headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(b"".join(answer.streaming_content)) < 8000  # type: ignore[attr-defined]
