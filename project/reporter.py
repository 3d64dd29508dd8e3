"""What Django leaves out where it shows settings and requests: on the pages of errors under DEBUG."""

import re

from django.views.debug import SafeExceptionReporterFilter


class Filter(SafeExceptionReporterFilter):
    """Also the database's address, which may hold a password. It is one of the settings, and `runserver` gives each
    request the whole environment."""

    hidden_settings = re.compile(f"{SafeExceptionReporterFilter.hidden_settings.pattern}|DATABASE_URL", re.IGNORECASE)
