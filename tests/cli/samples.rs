//! The samples in deploy/config are what they say: configurations without a mistake, complete, with
//! cases that hold, and runners' files that go with them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use crate::{
    operator::{Operator, Ran, run},
    tree,
};

fn directory(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/config")
        .join(below)
}

/// The TOML files of a directory.
fn samples(below: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory(below)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|is| is == "toml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn sample(below: &str) -> String {
    fs::read_to_string(directory(below)).unwrap()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Checks a sample. Certificates that it names are made first, in a directory of the test's.
fn check(config: &Path) -> Ran {
    let operator = Operator::new("");
    let mut text = fs::read_to_string(config).unwrap();
    let names: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("tls_"))
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect();
    if let [chain, key] = &names[..] {
        let signing = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["gitlab.example.com".to_owned()]).unwrap();
        let certificate = params.self_signed(&signing).unwrap();
        let chain_is = operator.file("cert.pem", certificate.pem());
        let key_is = operator.file("key.pem", signing.serialize_pem());
        text = text.replace(chain, &chain_is).replace(key, &key_is);
    }
    operator.file("config.toml", text);
    operator.run(&["check-config"])
}

#[test]
fn samples_have_no_mistakes() {
    let mut checked = 0;
    let packaged = directory("../systemd/config.toml");
    for config in [samples(""), samples("policies"), vec![packaged]].concat() {
        if name(&config).ends_with("-cases.toml") {
            continue;
        }
        let ran = check(&config);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{config:?}");
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
}

/// Every sample of rules has cases, all of them hold, and every rule grants in one of them.
#[test]
fn every_sample_policy_grants_what_its_cases_say() {
    let with_rules = samples("policies");
    let with_rules = with_rules
        .iter()
        .filter(|path| !name(path).ends_with("-cases.toml"));
    let pairs = with_rules.map(|config| {
        let stem = config.file_stem().unwrap().to_str().unwrap();
        (
            config.clone(),
            directory(&format!("policies/{stem}-cases.toml")),
        )
    });
    let first = (directory("config.toml"), directory("policy-cases.toml"));
    for (config, cases) in pairs.chain([first]) {
        let ran = run(&config, &["policy", "test", cases.to_str().unwrap()]);
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        let passed = ran.stdout.strip_suffix(" passed, 0 failed\n");
        assert!(
            passed.unwrap().parse::<u32>().unwrap() > 3,
            "{}",
            ran.stdout
        );
        let rules = tree::toml(&fs::read_to_string(&config).unwrap());
        let cases = tree::toml(&fs::read_to_string(&cases).unwrap());
        for rule in rules["rule"].as_array().unwrap() {
            let mut cases = cases["case"].as_array().unwrap().iter();
            let grants = cases.any(|case| case["rule"] == rule["name"]);
            assert!(grants, "{config:?}: no case for {}", rule["name"]);
        }
    }
}

/// What can be there several times.
const LISTS: [&str; 4] = ["gateway", "issuer", "listen", "rule"];

/// Every key that the program knows is in the sample, with a value or commented out.
#[test]
fn the_full_sample_has_every_key() {
    let sample = sample("config.toml");
    // A key that no table has makes the program list those that the table has.
    let rule = "none = 1\n[[rule]]\nname = 'x'\nbound_claims = { sub = 'x' }\nvaults = []\n";
    let tables = LISTS.map(|table| format!("[[{table}]]\nnone = 1\n"));
    let operator = Operator::new("");
    for table in tables {
        operator.file("config.toml", &table);
        expect_keys(&operator, &sample);
    }
    operator.file("config.toml", rule);
    let ran = operator.run(&["check-config"]);
    let roots = ran.stderr.split("it has: ").nth(1).unwrap();
    for root in roots.lines().next().unwrap().split(", ") {
        if !LISTS.contains(&root) {
            operator.file("config.toml", format!("[{root}]\nnone = 1\n"));
            expect_keys(&operator, &sample);
        }
    }
}

fn expect_keys(operator: &Operator, sample: &str) {
    let ran = operator.run(&["check-config"]);
    assert_eq!(ran.status, 78, "{}", ran.stdout);
    let (_, known) = ran
        .stderr
        .split_once("none: is no key of this table; it has: ")
        .unwrap();
    let known = known.lines().next().unwrap();
    for key in known.split(", ") {
        let has = |line: &str| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.split(" = ").next() == Some(key)
        };
        assert!(sample.lines().any(has), "{key} is not in the sample");
    }
}

fn runner(name: &str) -> Value {
    let file = tree::toml(&sample(&format!("runner/{name}.toml")));
    let runners = file["runners"].as_array().unwrap();
    assert_eq!(runners.len(), 1, "{name}");
    runners[0].clone()
}

/// The hook is the documented one; containers see the directory of the daemon's socket and the
/// client's, and neither the leases nor anything above them.
#[test]
fn runners_of_the_socket_go_with_the_daemons_samples() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let block = readme.split("```toml\n[[runners]]").nth(1).unwrap();
    let block = format!("[[runners]]{}", block.split("```").next().unwrap());
    let hook = &tree::toml(&block)["runners"][0]["pre_build_script"];
    for name in ["shell", "docker"] {
        assert_eq!(runner(name)["executor"], name);
        assert_eq!(&runner(name)["pre_build_script"], hook);
    }
    let daemon = tree::toml(&sample("docker.toml"));
    let socket = daemon["listen"][0]["socket"].as_str().unwrap();
    let program = hook.as_str().unwrap().split("$(").nth(1).unwrap();
    let program = program.split(' ').next().unwrap();
    let seen = |path: &str| Path::new(path).parent().unwrap().display().to_string();
    let (socket, program) = (seen(socket), seen(program));
    let docker = runner("docker");
    let volumes = docker["docker"]["volumes"].as_array().unwrap();
    assert_eq!(volumes[0], format!("{program}:{program}:ro"));
    assert_eq!(volumes[1], format!("{socket}:{socket}"));
    assert_eq!(volumes.len(), 2);
    let every_key = tree::toml(&sample("config.toml"));
    for private in ["directory", "state_directory"] {
        let private = Path::new(every_key["files"][private].as_str().unwrap());
        assert!(!private.starts_with(&socket) && !private.starts_with(&program));
    }
}

/// Runners connect where the gateways listen, and trust what they have to.
#[test]
fn runners_of_the_gateway_go_with_the_daemons_samples() {
    let gateway = |name: &str| tree::toml(&sample(&format!("{name}.toml")))["gateway"][0].clone();
    let port = |address: &Value| {
        let address = address.as_str().unwrap();
        address.rsplit(':').next().unwrap().to_owned()
    };
    for (runs, stands) in [
        ("gateway", "gateway"),
        ("gateway-https", "gateway-https"),
        ("docker-autoscaler", "gateway-https"),
    ] {
        let (runner, gateway) = (runner(runs), gateway(stands));
        assert_eq!(port(&runner["url"]), port(&gateway["listen"]), "{runs}");
        let secure = runner["url"].as_str().unwrap().starts_with("https:");
        assert_eq!(secure, !gateway["tls_cert"].is_null(), "{runs}");
        assert_eq!(secure, !runner["tls-ca-file"].is_null(), "{runs}");
    }
    let connect = gateway("gateway-connect");
    assert_eq!(connect["connect"], true);
    for name in ["gateway-connect", "kubernetes"] {
        assert_eq!(runner(name)["url"], connect["gitlab_url"], "{name}");
        assert_ne!(runner(name)["executor"], "shell");
    }
    let port = port(&connect["listen"]);
    let proxy = format!("HTTPS_PROXY=http://10.0.0.7:{port} ");
    assert!(sample("runner/gateway-connect.toml").contains(&proxy));
    let values = tree::yaml(&sample("runner/kubernetes-values.yaml"));
    assert_eq!(values["gitlabUrl"], connect["gitlab_url"]);
    let proxy = format!("http://10.0.0.7:{port}");
    assert_eq!(values["envVars"][0]["name"], "HTTPS_PROXY");
    assert_eq!(values["envVars"][0]["value"], proxy);
    assert_eq!(values["envVars"][1]["name"], "NO_PROXY");
}

/// What the units hold and make is what the configuration beside them names.
#[test]
fn the_units_go_with_their_configuration() {
    let unit = |name: &str| sample(&format!("../systemd/{name}"));
    let every_key = tree::toml(&sample("config.toml"));
    let (service, socket) = (
        unit("runner-secrets.service"),
        unit("runner-secrets.socket"),
    );
    let config = tree::toml(&unit("config.toml"));
    let listens = |path: &Value| format!("\nListenStream={}\n", path.as_str().unwrap());
    assert!(socket.contains(&listens(&config["listen"][0]["socket"])));
    // The second one is commented out, and there with its unit.
    let second = unit("config.toml").replace("\n# [[listen]]\n# ", "\n[[listen]]\n");
    let second = second.replace("\n# socket_mode", "\nsocket_mode");
    let second = tree::toml(&second.replace("\n# delivery", "\ndelivery"));
    let docker = unit("runner-secrets-docker.socket");
    assert!(docker.contains(&listens(&second["listen"][1]["socket"])));
    assert_eq!(config["files"]["on_stop"], "keep");
    assert!(service.contains("\nRuntimeDirectoryPreserve=restart\n"));
    for (key, setting) in [
        ("directory", "RuntimeDirectory=runner-secrets-leases"),
        (
            "state_directory",
            "ReadWritePaths=/run/runner-secrets-state",
        ),
    ] {
        assert!(service.contains(&format!("\n{setting}\n")));
        let path = every_key["files"][key].as_str().unwrap();
        let named = setting.split('=').nth(1).unwrap();
        assert!(path.ends_with(named), "{path} is not {setting}");
    }
    // The keys that the example passes are those that the configuration has a name for.
    let keys = sample("config.toml");
    for line in unit("examples/credentials.conf").lines() {
        if let Some(credential) = line.strip_prefix("LoadCredential=") {
            let (key, _) = credential.split_once(':').unwrap();
            assert!(keys.contains(&format!("{key} = ")), "{key}");
        }
    }
}

/// Whoever looks into a directory finds every file of it in its page.
#[test]
fn every_sample_is_in_its_page() {
    for below in ["", "policies", "runner", "pipelines"] {
        let page = fs::read_to_string(directory(below).join("README.md")).unwrap();
        for entry in fs::read_dir(directory(below)).unwrap() {
            let path = entry.unwrap().path();
            let name = name(&path).replace("-cases.toml", ".toml");
            let listed =
                page.contains(&format!("]({name})")) || page.contains(&format!("]({name}/"));
            let is_file = path.is_file() && name != "README.md" && name != "policy.toml";
            assert!(listed || !is_file, "{below}/{name} is not in the page");
        }
    }
}
