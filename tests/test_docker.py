"""docker-compose.yml, Dockerfile and the workflow hold what their comments say, as far as a parser can tell."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pooldemo.monitor import readiness

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_it_publishes_ports_on_loopback_alone(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_it_publishes_no_database(compose: dict[str, Any]) -> None:
    assert [name for name in ("db", "pgbouncer") if "ports" in compose["services"][name]] == []


def test_it_publishes_the_balancer_and_not_the_hosts_behind_it(compose: dict[str, Any]) -> None:
    assert "ports" not in compose["services"]["web"]  # so --scale web=3 needs no three ports
    assert compose["services"]["balancer"]["ports"] == ["127.0.0.1:8080:8080"]


def test_it_pins_every_image_and_limits_every_service(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":(local|v?\d+\.\d+[\w.-]*)$", service["image"]), name
        assert service["mem_limit"], name
        assert service["logging"]["options"]["max-size"], name
    for file in ("Dockerfile", "deploy/Dockerfile"):
        base = re.findall(r"^FROM (\S+)", (ROOT / file).read_text(), re.MULTILINE)[0]
        assert base.partition(":")[2] not in ("", "latest")


def test_it_gives_a_check_of_health_to_whatever_serves(compose: dict[str, Any]) -> None:
    without = {name for name, service in compose["services"].items() if "healthcheck" not in service}
    assert without == {"migrate", "locust-worker"}  # one ends, one serves nobody


def test_it_gives_no_service_more_than_it_needs(compose: dict[str, Any]) -> None:
    """As docs/threats.md says of every one of them."""
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        own = name in ("db", "grafana")  # whose images are their makers', and Grafana's is not root's
        assert "build" in service or name == "postgres-exporter" or own, name
    for file in ("Dockerfile", "deploy/Dockerfile"):
        for stage in re.split(r"^FROM ", (ROOT / file).read_text(), flags=re.MULTILINE)[1:]:
            if "CMD" in stage:
                assert re.search(r"^USER (?!root)", stage, re.MULTILINE), stage


def test_it_has_an_image_without_a_shell_whose_commands_need_none(compose: dict[str, Any]) -> None:
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM site\n")[2]
    assert re.findall(r"^USER (\w+)", last, re.MULTILINE) == ["root", "pooldemo"]
    assert compose["services"]["web"]["build"]["target"] == "site"
    for document in yaml.safe_load_all((ROOT / "deploy/kubernetes/site.yaml").read_text()):
        if document["kind"] in ("Job", "Deployment"):
            (container,) = document["spec"]["template"]["spec"]["containers"]
            assert container["command"][0] == "python"
            assert "exec" not in container.get("lifecycle", {}).get("preStop", {})


def test_it_is_started_as_the_page_says(compose: dict[str, Any]) -> None:
    page = (ROOT / "docs/deploying.md").read_text() + (ROOT / "docker-compose.yml").read_text()
    services, lines = (
        compose["services"],
        re.findall(r"^(?:# )?((?:[A-Z_]+=\S+ )*docker compose .*)$", page, re.MULTILINE),
    )
    assert len(lines) > 6
    known = (ROOT / "docker-compose.yml").read_text() + (ROOT / "deploy/services/addresses").read_text()
    for line in lines:
        profiles = set(re.findall(r"--profile (\w+)", line))
        assert profiles <= {each for service in services.values() for each in service.get("profiles", [])}, line
        for name, number in re.findall(r"--scale ([\w-]+)=(\d+)", line):
            assert set(services[name].get("profiles", [])) <= profiles, line
            assert name != "web" or f"WEB_HOSTS={number} " in line, line
        for name in re.findall(r"([A-Z_]+)=\S+ ", line):
            assert f"${{{name}:-" in known, line


def test_it_holds_no_secret(compose: dict[str, Any]) -> None:
    assert {each["file"].rpartition("/")[0] for each in compose["secrets"].values()} == {".local/secrets"}
    assert not re.search(r"PASSWORD: *[^$\s]", (ROOT / "docker-compose.yml").read_text())
    assert not re.search(r"://\w+:\w+@", (ROOT / "docker-compose.yml").read_text())


def test_it_runs_for_each_service_a_script_that_is_there(compose: dict[str, Any]) -> None:
    scripts = {path.name for path in (ROOT / "deploy/services").iterdir() if os.access(path, os.X_OK)}
    assert scripts - {"manage"} == compose["services"].keys() - {"grafana"}  # whose image is its maker's
    loopback = (ROOT / "deploy/loopback.yml").read_text()
    assert [name for name in compose["services"] if f"\n  {name}:" not in loopback] == []


def test_it_keeps_postgresqls_data_where_version_18_has_it(compose: dict[str, Any]) -> None:
    assert compose["services"]["db"]["image"] == "postgres:18.4-bookworm"
    assert compose["services"]["db"]["volumes"][0] == "data:/var/lib/postgresql"


def test_it_waits_only_for_services_that_exist_and_run_without_a_profile_of_their_own(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed in service.get("depends_on", []):
            assert needed in services, f"{name} waits for {needed}"
            assert set(services[needed].get("profiles", [])) <= set(service.get("profiles", []))


def test_it_waits_for_the_health_of_services_that_have_a_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        if isinstance(service.get("depends_on"), dict):
            for needed, how in service["depends_on"].items():
                assert how["condition"] != "service_healthy" or "healthcheck" in services[needed]


def test_it_names_only_volumes_and_secrets_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in (each.split(":")[0] for each in service.get("volumes", [])):
            assert volume in compose["volumes"] or (ROOT / volume).exists()
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()


def test_it_runs_the_same_python_files_in_the_image_as_on_the_ground() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".local", ".git"} <= set(ignored)  # this machine's secret and history stay here
    for name in ("manage.py", "project", "pooldemo", "gunicorn.conf.py", "locustfile.py", "requirements.txt", "deploy"):
        assert name not in ignored


def test_it_does_not_run_as_root_in_the_image() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert lines.index("USER pooldemo") < next(i for i, line in enumerate(lines) if line.startswith("CMD"))


def test_it_calls_the_one_definition_of_green_on_every_python_and_django_we_accept() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["run"]
    runs = ["make test-django61 PYTHON=python", ".ci/run", "make test-psycopg3"]
    assert [step["run"] for step in job["steps"] if "run" in step] == runs
    matrix = job["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert matrix["django"] == ["5.2", "6.1"]
    assert matrix["exclude"] == [{"python": "3.11", "django": "6.1"}]
    assert 'requires-python = ">=3.11,<3.15"' in (ROOT / "pyproject.toml").read_text()
    for line, pinned in (("django==5.2.", "requirements.txt"), ("django==6.1.", "requirements/django61.txt")):
        assert line in (ROOT / pinned).read_text()


def test_it_never_lets_kubernetes_run_more_pods_than_the_budget_counts() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/site.yaml").read_text()))
    by_kind = {each["kind"]: each for each in documents}
    rollout = by_kind["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    replicas = by_kind["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    most = 2 * replicas + rollout["maxSurge"]  # those that a rollout has replaced drain meanwhile
    assert int(by_kind["ConfigMap"]["data"]["WEB_HOSTS"]) == most
    assert "replicas" not in by_kind["Deployment"]["spec"], "it would be the autoscaler's no more"
    (web,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert web["livenessProbe"]["httpGet"]["path"] == "/healthz"  # a full pool kills no worker
    assert web["readinessProbe"]["httpGet"]["path"].startswith("/readyz?waiting=")
    for kind in ("Deployment", "Job"):
        pod = by_kind[kind]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_no_host_is_killed_before_its_drain_is_over(compose: dict[str, Any]) -> None:
    gunicorn = (ROOT / "gunicorn.conf.py").read_text()
    [graceful_s] = map(int, re.findall(r"^graceful_timeout = (\d+)", gunicorn, re.MULTILINE))
    [drain_s] = map(int, re.findall(r'"DRAIN_S"\) or "(\d+)"', (ROOT / "deploy/drain.py").read_text()))
    assert int(compose["services"]["web"]["stop_grace_period"].removesuffix("s")) > drain_s + graceful_s
    documents = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/site.yaml").read_text()))
    by_kind = {each["kind"]: each for each in documents}
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    [web] = pod["containers"]
    before_s = web["lifecycle"]["preStop"]["sleep"]["seconds"] + int(by_kind["ConfigMap"]["data"]["DRAIN_S"])
    assert pod["terminationGracePeriodSeconds"] > before_s + graceful_s
    assert web["readinessProbe"]["timeoutSeconds"] > readiness.PATIENCE_S
