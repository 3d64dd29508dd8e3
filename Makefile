# Everything starts here: `make` lists the targets. Works with GNU make 3.81 (macOS) and later.
#   make PYTHON=python3.12 ...   the interpreter the environment is made with (default: the first of 3.11 to 3.14 found)
#   make sweep ARGS="--users 64" further arguments for the command behind a target

export PYTHON
unexport DJANGO_SETTINGS_MODULE PYTHONSAFEPATH  # what stands in the shell is for another project
SHELL = /bin/sh
VENV = .venv
PY = $(VENV)/bin/python
ARGS =

# A stamp per set of requirements. Its name holds a checksum of this folder's path: a checkout that was moved is made again.
HERE := $(shell pwd | cksum | cut -d ' ' -f 1)
RUNTIME = $(VENV)/.runtime-$(HERE)
DEVELOP = $(VENV)/.develop-$(HERE)

# Without a Python that runs, the stamps lie.
STUCK := $(shell $(PY) -c '' 2>/dev/null || rm -f $(VENV)/.runtime-* $(VENV)/.develop-* 2>/dev/null || echo yes)
$(if $(STUCK),$(error $(VENV) belongs to another user, whose Python you may not run: work in a copy of your own, cp -r . ~/pooldemo))

# $(call other,VENV): a prerequisite that makes VENV again, where PYTHON asks for another version than it has.
ASKED := $(if $(PYTHON),$(shell "$(PYTHON)" -c 'import platform; print("python%s.%s" % platform.python_version_tuple()[:2])' 2>/dev/null || echo none))
other = $(if $(and $(ASKED),$(wildcard $(1)/lib/python3*)),$(if $(wildcard $(1)/lib/$(ASKED)),,other-version))

.DEFAULT_GOAL = help
.PHONY: other-version $(shell sed -nE 's/^([a-z0-9-]+):.*## .*/\1/p' Makefile)
.DELETE_ON_ERROR:

help: ## list these targets
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

$(RUNTIME): requirements.txt requirements/fast.txt bin/environment $(call other,$(VENV))
	@bin/environment $(VENV) requirements.txt
	@touch $@

$(DEVELOP): requirements.txt requirements/fast.txt requirements/dev.txt bin/environment $(call other,$(VENV))
	@bin/environment $(VENV) requirements.txt requirements/dev.txt
	@touch $(RUNTIME) $@

# The embedded PostgreSQL stops with what used it, unless `manage.py postgres start` asked for it; gunicorn stops it by
# itself. `trap :` lets this line run after Ctrl-C, SIGTERM or a closed terminal, and unlike `trap ''` leaves them to the
# command.
ALL_ENDED = trap : INT TERM HUP;
AFTERWARDS = code=$$?; trap '' INT TERM HUP; [ -n "$$DATABASE_URL" ] || [ ! -d .local ] || $(PY) manage.py postgres stop --unless-asked; exit $$code

demo: $(RUNTIME) ## see a result: a sweep of this pool beside the usual one, the verdict, a login for the admin (3 minutes)
	@$(PY) manage.py demo $(ARGS)

run: $(RUNTIME) ## serve the site with gunicorn and gevent workers on http://127.0.0.1:8000 until Ctrl-C
	@case "$${WEB_CONCURRENCY:-1}" in 0 | *[!0-9]*) echo "WEB_CONCURRENCY='$$WEB_CONCURRENCY' is not accepted: give a" \
		"whole number from 1" >&2; exit 2 ;; esac  # gunicorn shows a traceback, before it reads a line of ours
	@exec $(PY) -m gunicorn -k gevent project.wsgi $(ARGS)

sweep: $(RUNTIME) ## measure throughput against pool size and say which to use: make sweep ARGS="--users 64 --sizes 4,8,16"
	@$(ALL_ENDED) $(PY) manage.py migrate --verbosity 0 && $(PY) manage.py sweep $(ARGS); $(AFTERWARDS)

environment: $(DEVELOP) ## make or repair the virtual environment .venv

test: $(DEVELOP) ## run all tests on real PostgreSQL (embedded, unless DATABASE_URL is set); one after the other: ARGS=-n0
	@$(ALL_ENDED) $(PY) -m pytest -n auto $(ARGS); $(AFTERWARDS)

check: $(DEVELOP) ## lint, format, types, import rules, migrations, deployment checks: all but the tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/test_architecture.py # the contracts of pyproject.toml, by import-linter
	$(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run # it warns where no database runs
	$(PY) manage.py check --deploy

screenshots: $(DEVELOP) ## make the README's pictures from the sweeps in docs/data, with Chromium
	@$(PY) -m pytest -q tests/browser/pictures.py $(ARGS)

# Environments of their own: what we compare with, and psycopg 3, which Django prefers as soon as it can be imported.
PEERS = .venv-peers/.made-$(HERE)
$(PEERS): requirements.txt requirements/peers.txt bin/environment $(call other,.venv-peers)
	@bin/environment .venv-peers requirements.txt requirements/peers.txt
	@touch $@

PSYCOPG3 = .venv-psycopg3/.made-$(HERE)
$(PSYCOPG3): requirements.txt requirements/dev.txt requirements/psycopg3.txt bin/environment $(call other,.venv-psycopg3)
	@bin/environment .venv-psycopg3 requirements.txt requirements/dev.txt requirements/psycopg3.txt
	@touch $@

DJANGO61 = .venv-django61/.made-$(HERE)
$(DJANGO61): requirements/django61.txt requirements/psycopg3.txt bin/environment $(call other,.venv-django61)
	@bin/environment .venv-django61 requirements/django61.txt requirements/psycopg3.txt
	@touch $@

peers: $(PEERS) $(PSYCOPG3) ## make the environments of the other stacks and of psycopg 3: .venv-peers, .venv-psycopg3

test-psycopg3: $(PSYCOPG3) ## run the backend's tests where psycopg 3 is installed, which Django then prefers
	@.venv-psycopg3/bin/python -m pytest -n auto tests/postgresql $(ARGS)

# What Django takes part in: neither Locust nor the embedded server.
ON_DJANGO = tests/postgresql tests/monitor tests/admin $(wildcard tests/demo/test_[!l]*.py) tests/project/test_settings.py
test-django61: $(DJANGO61) ## run the backend's and the site's tests on Django 6.1 and psycopg 3: make test-django61 PYTHON=python3.13
	@.venv-django61/bin/python -m pytest -n auto $(ON_DJANGO) $(ARGS)

test-django: $(DEVELOP) ## run Django's own tests on our ENGINE; what fails there, on Django's too (ARGS=--all: its whole suite)
	@$(ALL_ENDED) $(PY) -m tests.django_own $(ARGS); $(AFTERWARDS)

stacks: $(RUNTIME) peers ## measure every stack, see how it behaves, write docs/stacks.md (a quarter of an hour; can be cut off)
	@$(ALL_ENDED) $(PY) -m benchmarks.stacks $(ARGS); $(AFTERWARDS)

workloads: $(RUNTIME) ## sweep every workload twice, write docs/workloads.md (40 quiet minutes; can be cut off)
	@$(ALL_ENDED) $(PY) -m benchmarks.workloads $(ARGS); $(AFTERWARDS)

bench: $(RUNTIME) peers ## measure the pool against other pools, and few waiters against many; write docs/benchmarks.md
	@$(PY) -m benchmarks.pool $(ARGS)

chaos: $(RUNTIME) ## let PostgreSQL, the network, gunicorn and clients fail under load, write docs/chaos.md (a quarter of an hour)
	@$(ALL_ENDED) $(PY) -m benchmarks.chaos $(ARGS); $(AFTERWARDS)

fleet: $(RUNTIME) ## let web hosts, HAProxy, PgBouncer and PostgreSQL fail under load, write docs/fleet.md (ten minutes)
	@$(PY) -m benchmarks.fleet $(ARGS)

soak: $(RUNTIME) ## an hour of mixed load and trouble in both pool modes: does anything grow? write docs/soak.md
	@$(ALL_ENDED) $(PY) -m benchmarks.soak $(ARGS); $(AFTERWARDS)

compose: ## run the whole docker-compose.yml on loopback, load it, show that it works (COMPOSE="docker compose")
	@deploy/try $(ARGS)

PINNED = requirements.txt $(patsubst %.in,%.txt,$(filter-out requirements/django61.in,$(wildcard requirements/*.in)))
COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --no-emit-index-url --no-emit-find-links --custom-compile-command "make pins" $(ARGS)
pins: $(DEVELOP) ## compile each requirements*.in into its pinned .txt, with uv (ARGS=--upgrade: newer versions)
	@for file in $(PINNED); do echo "$$file"; \
	    $(COMPILE) --python-version 3.11 "$${file%.txt}.in" -o "$$file" || exit 1; done
	@echo requirements/django61.txt; cat requirements.in requirements/dev.in | grep -v '^-c ' | \
	    $(COMPILE) --python-version 3.12 - --override requirements/django61.in -o requirements/django61.txt

clean: ## remove the environments and caches; the database in .local/ stays (manage.py postgres reset)
	rm -rf $(VENV) .venv-peers .venv-psycopg3 .venv-django61 .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
