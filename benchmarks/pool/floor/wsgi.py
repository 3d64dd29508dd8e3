"""This site over the floor, for gunicorn. It is started as the stack `persistent`, whose driver and database it has."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.DATABASES["default"] |= {"ENGINE": "benchmarks.pool.floor", "CONN_MAX_AGE": 0}
application = get_wsgi_application()
