"""The files that pages load, as a project deploys them."""

from pathlib import Path
from typing import Any

from django.core.management import call_command


def test_every_project_can_collect_them_under_names_of_their_content(settings: Any, tmp_path: Path) -> None:
    """A reference to a file that is not there would stop a project's whole deployment."""
    settings.STATIC_ROOT = str(tmp_path)
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": storage}}
    call_command("collectstatic", verbosity=0, interactive=False)
    assert (tmp_path / "staticfiles.json").exists()
    assert list(tmp_path.glob("pooldemo/figures.*.js"))
