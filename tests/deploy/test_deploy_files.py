"""What deploy/ says is well formed, and speaks of the program as it is. No image is built and no cluster asked here."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from status_grpc._version import __version__
from status_grpc.server.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
FILES = [DEPLOY / "compose.yaml", DEPLOY / "Dockerfile", DEPLOY / "systemd" / "status-grpc.service", *MANIFESTS]
BIN = Path(sys.executable).parent


def run(*command: object) -> None:
    """Run a linter; it must have nothing to say against what it is given."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_has_no_finding() -> None:
    run(BIN / "hadolint", DEPLOY / "Dockerfile")


def test_the_compose_file_is_one() -> None:
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_the_yaml_has_no_finding() -> None:
    run(BIN / "yamllint", "--strict", "--config-file", DEPLOY / ".yamllint.yaml", DEPLOY)


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_the_manifests_are_what_kubernetes_takes(version: str) -> None:
    assert MANIFESTS
    run(BIN / "kubernetes-validate", "--strict", "--kubernetes-version", version, *MANIFESTS)


def manifest(kind: str) -> Any:
    """Return the manifest of this kind."""
    (found,) = [m for path in MANIFESTS for m in yaml.safe_load_all(path.read_text()) if m["kind"] == kind]
    return found


def pod(kind: str) -> tuple[Any, Any]:
    """Return the specification of its pods, and that of their one container."""
    spec = manifest(kind)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def test_the_probes_ask_for_what_the_server_answers() -> None:
    _, container = pod("Deployment")
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    paths = {name: probe["path"] for name, probe in asked.items()}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {probe["port"] for probe in asked.values()} == {"metrics"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listening = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert listening["STATUS_GRPC_LISTEN"].endswith(f":{ports['grpc']}")
    assert listening["STATUS_GRPC_METRICS"].endswith(f":{ports['metrics']}")
    assert [port["targetPort"] for port in manifest("Service")["spec"]["ports"]] == ["grpc"]


def test_pods_and_containers_are_given_the_time_to_drain() -> None:
    spec, container = pod("Deployment")
    drain = Settings.model_fields["drain_seconds"].default
    assert spec["terminationGracePeriodSeconds"] >= container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain + 5
    assert int(unit()["TimeoutStopSec"]) >= drain + 5
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name in ("replica-1", "replica-2"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= drain + 5


def unit() -> dict[str, str]:
    """Return the service section of the systemd unit."""
    parser = configparser.RawConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "status-grpc.service")
    return dict(parser["Service"])


def test_the_systemd_unit_asks_for_what_the_server_sends() -> None:
    assert unit()["Type"] == "notify"
    assert 5 <= int(unit()["WatchdogSec"]) <= Settings.model_fields["hang_seconds"].default
    assert unit()["ExecStart"].endswith("/bin/status-grpc serve")


def test_what_is_set_is_a_setting_and_what_is_run_a_command() -> None:
    known = {f"STATUS_GRPC_{name.upper()}" for name in Settings.model_fields} | {"STATUS_GRPC_CA"}
    text = "".join(path.read_text() for path in FILES)
    assert set(re.findall(r"STATUS_GRPC_[A-Z_]+", text)) - {"STATUS_GRPC_SERVER", "STATUS_GRPC_NAME"} <= known
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    commands = [pod(kind)[1]["args"] for kind in ("Deployment", "Job")] + [services["migrate"]["command"]]
    assert commands == [["serve"], ["migrate"], ["migrate"]]
    for command in ("serve", "migrate", "health"):
        run(BIN / "status-grpc", command, "--help")


def test_all_select_the_same_pods_and_run_this_release() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("Job")["spec"]["template"]["metadata"]["labels"] != labels
    assert {pod(kind)[1]["image"] for kind in ("Deployment", "Job")} == {f"status-grpc:{__version__}"}


def test_nobody_runs_as_root_and_no_secret_is_written_down() -> None:
    for kind in ("Deployment", "Job"):
        spec, container = pod(kind)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        (url,) = [variable for variable in container["env"] if variable["name"] == "STATUS_GRPC_DATABASE_URL"]
        assert url["valueFrom"]["secretKeyRef"]["key"] == "url"
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    user = re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    assert user == [str(pod("Deployment")[0]["securityContext"]["runAsUser"])]
    assert not re.search(r"://\w+:\w", (DEPLOY / "compose.yaml").read_text())


def test_the_image_is_made_of_files_that_exist_and_that_are_sent() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    sources = [
        source for line in re.findall(r"^COPY (?!--)(.*)$", dockerfile, re.MULTILINE) for source in line.split()[:-1]
    ]
    sent = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(path == source or path.startswith(f"{source}/") for path in sent), source
