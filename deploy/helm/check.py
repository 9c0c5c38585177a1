"""What `test` rendered, held against what it has to be.

    check.py DIRECTORY VERSION...

DIRECTORY has a NAME.yaml for each of the chart's values files. They are checked against Kubernetes'
published schemas of each VERSION and against the restricted Pod Security Standard; what is a resource
of somebody else's API has no schema here, and is named. Each configuration goes to NAME.toml. Then the
chart's schema is compared with the daemon's sample, and the values for the gitlab-runner chart with
what this chart makes. Exits with 1 if anything is wrong. The check of the standard is checked first.
"""

import copy
import pathlib
import re
import sys
import tomllib
import urllib.parse

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
    "secret",
}


def containers(pod):
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(kind) or []


def restricted(pod):
    """What the standard has against a pod's spec."""
    found = []
    own = pod.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            found.append(f"{name} is set")
    for volume in pod.get("volumes") or []:
        for kind in set(volume) - {"name"} - VOLUMES:
            found.append(f"the volume {volume['name']} is a {kind}")
    if own.get("sysctls"):
        found.append("sysctls are set")
    for container in containers(pod):
        context = container.get("securityContext") or {}
        probes = [container.get(f"{kind}Probe") or {} for kind in ("liveness", "readiness", "startup")]
        probes += (container.get("lifecycle") or {}).values()

        def effective(key):
            return context.get(key, own.get(key))

        capabilities = context.get("capabilities") or {}
        wrong = {
            "is privileged": context.get("privileged"),
            "may escalate privileges": context.get("allowPrivilegeEscalation") is not False,
            "does not drop all capabilities": "ALL" not in (capabilities.get("drop") or []),
            "adds capabilities": set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"},
            "may run as root": effective("runAsNonRoot") is not True,
            "runs as root": effective("runAsUser") == 0,
            "has no seccomp profile": (effective("seccompProfile") or {}).get("type")
            not in ("RuntimeDefault", "Localhost"),
            "has a port of the host": any(port.get("hostPort") for port in container.get("ports") or []),
            "has procMount": context.get("procMount", "Default") != "Default",
            "names a host to probe": any(
                (probe.get(kind) or {}).get("host") for probe in probes for kind in ("httpGet", "tcpSocket")
            ),
            # More than the standard asks.
            "can write to its root": context.get("readOnlyRootFilesystem") is not True,
        }
        found += [f"the container {container['name']} {what}" for what, is_so in wrong.items() if is_so]
    # More than the standard asks.
    if pod.get("automountServiceAccountToken") is not False:
        found.append("the service account's token is mounted")
    return found


def self_test():
    """Each thing that the standard forbids is found, and a manifest with a mistake is refused."""
    good = yaml.safe_load(
        """
        automountServiceAccountToken: false
        securityContext: {runAsNonRoot: true, runAsUser: 1, seccompProfile: {type: RuntimeDefault}}
        volumes: [{name: a, emptyDir: {}}]
        containers:
          - name: a
            securityContext:
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities: {drop: [ALL]}
        """
    )
    assert restricted(good) == [], restricted(good)
    container = ("containers", 0, "securityContext")
    mistakes = [
        (("hostNetwork",), True),
        (("hostPID",), True),
        (("hostIPC",), True),
        (("automountServiceAccountToken",), True),
        (("volumes", 0), {"name": "a", "hostPath": {"path": "/"}}),
        (("securityContext", "sysctls"), [{"name": "a", "value": "1"}]),
        (("securityContext", "runAsNonRoot"), False),
        (("securityContext", "runAsUser"), 0),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
        ((*container, "privileged"), True),
        ((*container, "allowPrivilegeEscalation"), True),
        ((*container, "readOnlyRootFilesystem"), False),
        ((*container, "capabilities"), {"drop": ["ALL"], "add": ["CHOWN"]}),
        ((*container, "capabilities"), {}),
        ((*container, "procMount"), "Unmasked"),
        (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}]),
        (("containers", 0, "startupProbe"), {"httpGet": {"host": "127.0.0.1", "port": 1}}),
    ]
    for path, value in mistakes:
        bad = copy.deepcopy(good)
        place = bad
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        assert len(restricted(bad)) == 1, (path, restricted(bad))
    misspelt = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}}
    assert list(invalid(misspelt, ["1.30"])), "a misspelt field is not found"
    print(f"the check itself: {len(mistakes)} pods that are not restricted and a wrong field, all refused")


def invalid(resource, versions):
    """What Kubernetes' schemas have against a resource."""
    group = resource["apiVersion"].split("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        print(f"  no schema here for {resource['apiVersion']} {resource['kind']}")
        return
    for version in versions:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"


def merged(into, patch):
    """A strategic merge as far as the sidecar's goes: lists of things with names go by the name."""
    if isinstance(into, dict) and isinstance(patch, dict):
        return into | {key: merged(into[key], value) if key in into else value for key, value in patch.items()}
    if isinstance(into, list) and all("name" in item for item in into + patch):
        items = {item["name"]: item for item in into}
        for item in patch:
            items[item["name"]] = merged(items.get(item["name"], {}), item)
        return list(items.values())
    return patch


def job(patch):
    """A job's pod after the runner has merged the patch into it; of its own it is restricted."""
    context = patch["initContainers"][0]["securityContext"]
    own = [{"name": name, "image": "image", "securityContext": context} for name in ("build", "helper")]
    spec = {"automountServiceAccountToken": False, "restartPolicy": "Never", "containers": own}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job"}, "spec": merged(spec, patch)}


def pod_of(resource):
    spec = resource.get("spec") or {}
    return spec if resource["kind"] == "Pod" else (spec.get("template") or {}).get("spec")


def violations(resource, versions):
    """Everything that is wrong with a resource."""
    yield from invalid(resource, versions)
    if pod := pod_of(resource):
        yield from restricted(pod)
        volumes = {volume["name"] for volume in pod.get("volumes") or []}
        volumes |= {claim["metadata"]["name"] for claim in resource["spec"].get("volumeClaimTemplates") or []}
        for container in containers(pod):
            for mount in container.get("volumeMounts") or []:
                if mount["name"] not in volumes:
                    yield f"the container {container['name']} mounts {mount['name']}, which is no volume"


def manifests(path, versions):
    """Checks a file; writes the configuration that is in it beside it."""
    with open(path, encoding="utf-8") as file:
        resources = [resource for resource in yaml.safe_load_all(file) if resource]
    assert resources, f"{path} is empty"
    for resource in list(resources):
        data = resource.get("data") or {}
        if "config.toml" in data:
            path.with_suffix(".toml").write_text(data["config.toml"], encoding="utf-8")
        if "pod-spec.yaml" in data:
            resources.append(job(yaml.safe_load(data["pod-spec.yaml"])))
    wrong = [
        f"{path.name}: {resource['kind']} {resource['metadata']['name']}: {violation}"
        for resource in resources
        for violation in violations(resource, versions)
    ]
    kinds = ", ".join(sorted(resource["kind"] for resource in resources))
    if not wrong:
        print(f"{path.stem}: Kubernetes {' and '.join(versions)} take {kinds}; pods are restricted")
    return wrong


# Keys of the daemon's sample that the chart sets itself, or that name files which it does not mount.
OWN = {
    "issuer": {"jwks_file", "ca_file"},
    "azure": {"ca_file"},
    "audit": {"file", "path", "syslog", "syslog_ca_file", "durable", "signing_key", "user_key"},
}


def schema():
    """The chart's schema has the keys that the daemon has."""
    text = (HERE / "../config/config.toml").read_text(encoding="utf-8")
    known = yaml.safe_load((HERE / "runner-secrets/values.schema.json").read_text(encoding="utf-8"))
    known = known["properties"]["config"]["properties"]
    wrong, tables = [], 0
    for section in re.split(r"^# --- ", text, flags=re.M):
        for table, body in re.findall(r"^\[+(\w+)\]+\n((?:(?!\[).*\n?)*)", section, flags=re.M):
            if table in known and table != "rule":
                keys = set(re.findall(r"^(?:# )?([a-z_0-9]+) = ", body, flags=re.M)) - OWN.get(table, set())
                part = known[table].get("items", known[table])
                for key in keys ^ set(part["properties"]):
                    wrong.append(f"values.schema.json: config.{table}.{key}: the daemon's sample differs")
                tables += 1
    assert tables == 6, f"{tables} tables in the sample"
    print(f"values.schema.json has the keys of {tables} tables of deploy/config/config.toml")
    return wrong


def runner(directory):
    """The values for the gitlab-runner chart go with what this chart makes."""
    values = {
        name: yaml.safe_load((HERE / f"gitlab-runner/{name}-values.yaml").read_text(encoding="utf-8"))
        for name in ("connect", "sidecar")
    }
    made = {}
    for name in values:
        resources = yaml.safe_load_all((directory / f"{name}.yaml").read_text(encoding="utf-8"))
        made[name] = {resource["kind"]: resource for resource in resources}

    environment = {entry["name"]: entry["value"] for entry in values["connect"]["envVars"]}
    proxy = urllib.parse.urlsplit(environment["HTTPS_PROXY"])
    service = made["connect"]["Service"]
    assert (proxy.scheme, proxy.hostname) == ("http", service["metadata"]["name"])
    assert proxy.port == service["spec"]["ports"][0]["port"]
    assert "$(KUBERNETES_SERVICE_HOST)" in environment["NO_PROXY"].split(",")
    gateway = tomllib.loads(made["connect"]["ConfigMap"]["data"]["config.toml"])["gateway"][0]
    assert gateway["gitlab_url"] == values["connect"]["gitlabUrl"] and gateway["connect"]

    config_map = made["sidecar"]["ConfigMap"]
    patch = yaml.safe_load(config_map["data"]["pod-spec.yaml"])
    (volume,), (mount,) = values["sidecar"]["volumes"], values["sidecar"]["volumeMounts"]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    assert volume["name"] == mount["name"]
    (settings,) = tomllib.loads(values["sidecar"]["runners"]["config"])["runners"]
    assert settings["feature_flags"]["FF_USE_ADVANCED_POD_SPEC_CONFIGURATION"] is True
    (spec,) = settings["kubernetes"]["pod_spec"]
    assert spec["patch_path"] == f"{mount['mountPath']}/pod-spec.yaml"
    assert spec["patch_type"] == "strategic"
    client = patch["initContainers"][0]["command"][-1]
    assert f"secrets=$({client} env) || exit $?" in settings["pre_build_script"]
    memory = {volume["name"] for volume in patch["volumes"] if "emptyDir" in volume}
    assert all(volume["emptyDir"]["medium"] == "Memory" for volume in patch["volumes"] if "emptyDir" in volume)
    places = {mount["mountPath"] for mount in patch["containers"][0]["volumeMounts"] if mount["name"] in memory}
    (listen,) = tomllib.loads(config_map["data"]["config.toml"])["listen"]
    assert places == {"/run/runner-secrets", "/dev/shm"} and listen["delivery"] == "inline"
    assert listen["socket"] == "/run/runner-secrets/api/api.sock", "not where the client looks"
    print("gitlab-runner/connect-values.yaml and sidecar-values.yaml go with what the chart makes")


def main(directory, *versions):
    self_test()
    directory = pathlib.Path(directory)
    wrong = schema()
    for path in sorted(directory.glob("*.yaml")):
        wrong += manifests(path, versions)
    runner(directory)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)


main(*sys.argv[1:])
