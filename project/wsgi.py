"""The WSGI application: `gunicorn -k gevent project.wsgi`, which on a fresh clone makes its database by itself."""

import os
import sys

from django.core.wsgi import get_wsgi_application

from .start import ensure_database, ensure_tables

GUNICORN_BOOT_ERROR = 3  # a worker that exits with it ends gunicorn; with another code it is started again, for ever

os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"  # one in the shell is another project's

try:
    ensure_database()
    application = get_wsgi_application()
    ensure_tables()
except SystemExit as end:  # the reason has been printed; 0: it was told to end meanwhile
    sys.exit(end.code and GUNICORN_BOOT_ERROR)
