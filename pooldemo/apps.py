"""The app's configuration."""

import contextlib

from django.apps import AppConfig


class PooldemoConfig(AppConfig):
    """The app: `pooldemo` in INSTALLED_APPS."""

    name = "pooldemo"
    verbose_name = "Pool sweeps"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from pooldemo.monitor import snapshots
        from pooldemo.postgresql import checks  # noqa: F401  importing registers them

        snapshots.share()
        with contextlib.suppress(ImportError):
            import opentelemetry.sdk.metrics  # noqa: F401  who has no SDK has nobody to tell

            from pooldemo.monitor import instruments

            instruments.instrument()
