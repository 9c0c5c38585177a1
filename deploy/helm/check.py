"""Manifests against Kubernetes' published schemas and the restricted Pod Security Standard.

    check.py VERSION MANIFESTS [CONFIG]

MANIFESTS is a file of YAML documents; CONFIG is where the config.toml in their ConfigMap goes. Prints
every violation, and exits with 1 if there is one. What is a resource of somebody else's API has no
schema here, and is named. Before anything else, the check of the standard is checked itself.
"""

import copy
import sys

import kubernetes_validate
import yaml

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
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if pod.get(name) and name != "hostUsers":
            found.append(f"{name} is set")
    for volume in pod.get("volumes") or []:
        for kind in set(volume) - {"name"} - VOLUMES:
            found.append(f"the volume {volume['name']} is a {kind}")
    if own.get("sysctls"):
        found.append("sysctls are set")
    for container in containers(pod):
        context = container.get("securityContext") or {}

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
            # More than the standard asks.
            "can write to its root": context.get("readOnlyRootFilesystem") is not True,
        }
        found += [f"the container {container['name']} {what}" for what, is_so in wrong.items() if is_so]
    # More than the standard asks, where there is a whole pod.
    if "volumes" in pod and pod.get("automountServiceAccountToken") is not False:
        found.append("the service account's token is mounted")
    return found


def self_test():
    """Each thing that the standard forbids is found."""
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
    for path, value in [
        (("hostNetwork",), True),
        (("hostPID",), True),
        (("automountServiceAccountToken",), True),
        (("volumes", 0), {"name": "a", "hostPath": {"path": "/"}}),
        (("securityContext", "runAsNonRoot"), False),
        (("securityContext", "runAsUser"), 0),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
        ((*container, "privileged"), True),
        ((*container, "allowPrivilegeEscalation"), True),
        ((*container, "readOnlyRootFilesystem"), False),
        ((*container, "capabilities"), {"drop": ["ALL"], "add": ["CHOWN"]}),
        ((*container, "capabilities"), {}),
        (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}]),
    ]:
        bad = copy.deepcopy(good)
        place = bad
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        assert len(restricted(bad)) == 1, (path, restricted(bad))


def pod_of(resource):
    spec = resource.get("spec") or {}
    return spec if resource["kind"] == "Pod" else (spec.get("template") or {}).get("spec")


def violations(resource, version):
    """Everything that is wrong with a resource."""
    group = resource["apiVersion"].split("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        print(f"  no schema here for {resource['apiVersion']} {resource['kind']}")
    else:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
    if pod := pod_of(resource):
        yield from restricted(pod)


def main(version, manifests, config=None):
    self_test()
    with open(manifests, encoding="utf-8") as file:
        resources = [resource for resource in yaml.safe_load_all(file) if resource]
    assert resources, f"{manifests} is empty"
    wrong = 0
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        for violation in violations(resource, version):
            print(f"{manifests}: {name}: {violation}")
            wrong += 1
        if config and resource["kind"] == "ConfigMap":
            with open(config, "w", encoding="utf-8") as file:
                file.write(resource["data"]["config.toml"])
    print(f"{manifests.rsplit('/', 1)[-1]}: {len(resources)} resources")
    sys.exit(1 if wrong else 0)


main(*sys.argv[1:])
