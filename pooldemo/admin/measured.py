"""What sweeps and trials have in common in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest


class Measured(admin.ModelAdmin):
    """Rows that a sweep writes: not added here, and read-only but for `editable`."""

    editable: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields if field.name not in self.editable]
