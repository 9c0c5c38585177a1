"""Runs the pods that `test` rendered, as far as a Linux host can stand in for a node: their volumes,
users, groups and mounts, a root that cannot be written to, init containers, probes and the end. Images
are programs of this host. For root, in namespaces of its own (network, mounts, processes):

    pod.py BINARIES HELM DIRECTORY

BINARIES is the directory with runner-secretsd, runner-secrets and azure-emulator; DIRECTORY is empty.
"""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import yaml

HERE = pathlib.Path(__file__).parent
BINARIES, HELM, WORK = map(pathlib.Path, sys.argv[1:])


def run(*command, **more):
    return subprocess.run([str(word) for word in command], check=True, text=True, **more)


def mount(*words):
    run("mount", *words)


def loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))


def render(*values):
    chosen = [word for path in values for word in ("--values", path)]
    chart = [HELM, "template", "runner-secrets", HERE / "runner-secrets", "--kube-version", "1.30", *chosen]
    return [each for each in yaml.safe_load_all(run(*chart, capture_output=True).stdout) if each]


def status(port, path):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Pod:
    """A pod's volumes, and the containers that run on them."""

    def __init__(self, name, spec, claims, config_maps, given):
        self.name, self.spec, self.volumes, self.running = name, spec, {}, []
        group = (spec.get("securityContext") or {}).get("fsGroup", 0)
        for volume in spec.get("volumes", []) + [{"name": claim} for claim in claims]:
            place = self.volumes[volume["name"]] = WORK / f"{name}-volume-{volume['name']}"
            place.mkdir()
            if "emptyDir" in volume:
                assert volume["emptyDir"]["medium"] == "Memory"
                mount("-t", "tmpfs", "-o", "mode=0777", "tmpfs", place)
                continue
            if "configMap" in volume:
                files, mode = config_maps.get(volume["configMap"]["name"], given), 0o644
            else:
                files, mode = given if "secret" in volume else {}, volume.get("secret", {}).get("defaultMode")
            for key, text in files.items():
                file = place / key
                file.write_text(text)
                file.chmod(mode)
                os.chown(file, 0, group)
            # What the kubelet does for fsGroup.
            os.chown(place, 0, group)
            place.chmod(0o2775 if group else 0o755)

    def root(self, container):
        """What a container sees: an image of this host's programs, and its mounts."""
        root = WORK / f"{self.name}-root-{container['name']}-{len(list(WORK.iterdir()))}"
        root.mkdir()
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root)
        for name in ("bin", "lib", "lib64", "sbin", "usr", "proc", "dev"):
            source = pathlib.Path("/", name)
            if source.is_symlink():
                (root / name).symlink_to(source.readlink())
            elif source.is_dir():
                (root / name).mkdir()
                mount("--rbind", source, root / name)
        (root / "etc/ssl").mkdir(parents=True)
        mount("--bind", "/etc/ssl", root / "etc/ssl")
        for name in ("hosts", "nsswitch.conf", "passwd"):
            shutil.copy(f"/etc/{name}", root / "etc")
        for program in ("runner-secretsd", "runner-secrets"):
            place = root / "opt/runner-secrets" / program
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
            mount("--bind", BINARIES / program, place)
        for each in container.get("volumeMounts", []):
            place = root / each["mountPath"].lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            mount("--bind", self.volumes[each["name"]], place)
            if each.get("readOnly"):
                mount("-o", "remount,bind,ro", place)
        mount("-o", "remount,ro", root)
        return root

    def command(self, container, words, uid=None):
        context = container.get("securityContext", {})
        uid, gid = (uid, uid) if uid is not None else (context["runAsUser"], context["runAsGroup"])
        groups = (self.spec.get("securityContext") or {}).get("fsGroup", gid)
        bounds = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        ids = ["--reuid", uid, "--regid", gid, "--groups", groups]
        return [str(word) for word in ("chroot", self.root(container), "setpriv", *ids, *bounds, *words)]

    def start(self):
        for container in self.spec.get("initContainers", []):
            if container.get("restartPolicy") == "Always":
                self.daemon(container, "startupProbe")
            else:
                run(*self.command(container, container["command"]))
        for container in self.spec["containers"]:
            if "livenessProbe" in container:
                self.daemon(container, "livenessProbe")

    def daemon(self, container, probe):
        log = open(WORK / f"{self.name}.log", "a+", encoding="utf-8")
        words = self.command(container, ["/opt/runner-secrets/runner-secretsd", *container["args"]])
        self.running.append(subprocess.Popen(words, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}))
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        ask = container[probe]["httpGet"]
        for _ in range(100):
            if status(ports.get(ask["port"], ask["port"]), ask["path"]) == 200:
                return
            time.sleep(0.1)
        log.seek(0)
        sys.exit(f"{self.name}: {container['name']} does not come up:\n{log.read()}")

    def stop(self):
        while self.running:
            process = self.running.pop()
            process.send_signal(signal.SIGTERM)
            assert process.wait(45) == 0, f"{self.name} ended with {process.returncode}"


def secrets():
    """What every Secret and ConfigMap has that is not the chart's."""
    key, certificate, audit_key = WORK / "tls.key", WORK / "tls.crt", WORK / "audit-key.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=gitlab.example.com", "-addext", "subjectAltName=DNS:gitlab.example.com"]
    run("openssl", "req", "-x509", *curve, *names, "-keyout", key, "-out", certificate, stderr=subprocess.DEVNULL)
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", audit_key)
    given = {path.name: path.read_text() for path in (key, certificate, audit_key)}
    return given | {"ca.crt": given["tls.crt"]}


def config_maps(resources):
    return {each["metadata"]["name"]: each["data"] for each in resources if each["kind"] == "ConfigMap"}


def gateways(given):
    """Each workload starts, twice where it has a volume, and ends in order."""
    for name in ("connect", "grpc", "replicas"):
        resources = render(HERE / f"runner-secrets/ci/{name}-values.yaml")
        (workload,) = (each["spec"] for each in resources if each["kind"] == "StatefulSet")
        claims = [claim["metadata"]["name"] for claim in workload["volumeClaimTemplates"]]
        pod = Pod(name, workload["template"]["spec"], claims, config_maps(resources), given)
        for _ in range(2):
            pod.start()
            if name == "connect":
                greet(WORK / "tls.crt")
            pod.stop()
        container = pod.spec["containers"][0]
        verify = ["/opt/runner-secrets/runner-secretsd", "audit", "verify", "/var/lib/runner-secrets/audit"]
        said = run(*pod.command(container, verify), capture_output=True).stdout
        assert said.startswith("intact") and "runs         2" in said, said
        print(f"{name}: started twice on its volume as user 65532, without capabilities; the trail is whole")


def greet(authority):
    """A manager's first words: the gateway is GitLab, with the certificate in the Secret."""
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_connect}", "-x", "http://127.0.0.1:8930"]
    said = run(*command, "--cacert", authority, "https://gitlab.example.com/", capture_output=True).stdout
    assert said == "200", said


def syslog():
    """A server that takes records; gives its port and what it was told."""
    listener, told = socket.create_server(("127.0.0.1", 0)), []

    def take():
        while True:
            connection, _ = listener.accept()
            while data := connection.recv(65536):
                told.append(data)

    threading.Thread(target=take, daemon=True).start()
    return listener.getsockname()[1], told


def sidecar(given):
    """A job with the daemon in its pod gets a secret, by the hook that the runner has."""
    emulator = subprocess.Popen([BINARIES / "azure-emulator", "serve"], stdout=subprocess.PIPE, text=True)
    azure = json.loads(emulator.stdout.readline())
    port, told = syslog()
    values = yaml.safe_load((HERE / "runner-secrets/ci/sidecar-values.yaml").read_text())
    names = ("proxy_url", "tenant_id", "client_id", "vault_url")
    values["config"] |= {"azure": {name: azure[name] for name in names}}
    values["config"]["issuer"][0]["url"] = azure["issuer_url"]
    values["config"]["rule"][0] |= {"bound_claims": {"project_path": "acme/shop"}, "vaults": [azure["vault_url"]]}
    values["audit"]["syslog"] = {"server": f"tcp://127.0.0.1:{port}"}
    (WORK / "values.yaml").write_text(yaml.safe_dump(values))
    made = config_maps(render(WORK / "values.yaml"))
    patch = yaml.safe_load(made["runner-secrets"]["pod-spec.yaml"])
    given = given | {"ca.crt": pathlib.Path(azure["ca_file"]).read_text()}
    pod = Pod("sidecar", patch, [], made, given)
    pod.start()
    runner = yaml.safe_load((HERE / "gitlab-runner/sidecar-values.yaml").read_text())["runners"]["config"]
    hook = runner.split("'''")[1]
    (build,) = patch["containers"]
    for uid in (0, 1000):
        request = urllib.request.Request(f"{azure['control_url']}/id-tokens", b"{}", {"content-type": "application/json"})
        token = json.load(urllib.request.urlopen(request))["token"]
        spec = {"PASSWORD": {"token": "$TOKEN", "azure_key_vault": {"name": "db-password"}}}
        job = {"PATH": os.environ["PATH"], "CI": "true", "TOKEN": token, "RUNNER_SECRETS": json.dumps(spec)}
        # The socket's directory and the client are the job's to use, not to change.
        script = hook + 'stat -f -c %T "$PASSWORD"; stat -c %a:%u "$PASSWORD"; test -s "$PASSWORD"\n'
        script += "! touch /run/runner-secrets/api/x 2>/dev/null"
        words = pod.command(build, ["sh", "-ec", script], uid)
        said = run(*words, env=job, capture_output=True)
        assert said.stdout == f"tmpfs\n400:{uid}\n", said
    pod.stop()
    emulator.terminate()
    emulator.wait()
    assert b"".join(told).count(b'"outcome"') >= 2, told
    print("sidecar: jobs of two users got a secret as a file in memory, and syslog has the records")


loopback()
MADE = secrets()
gateways(MADE)
sidecar(MADE)
