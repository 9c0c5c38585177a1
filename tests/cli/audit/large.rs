//! A trail larger than memory should be: how fast it verifies, and how little that takes.

use std::{
    env,
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

use super::trail::Chain;

/// A request as large as they are with two secrets.
const REQUEST: &str = r#","request_id":"0190f0f0-0000-7000-8000-000000000000","call":"resolve","reason":"DELIVERED","duration_ms":84,"caller":{"uid":998,"gid":998,"pid":4711},"job":{"issuer":"https://gitlab.example.com","subject":"project_path:acme/shop:ref_type:branch:ref:main","audience":["api://AzureADTokenExchange"],"project_id":"20","project_path":"acme/shop","namespace_path":"acme","ref":"main","ref_type":"branch","ref_protected":true,"environment":"production","pipeline_id":"574","pipeline_source":"push","job_id":"812","user":"ann","runner_id":1,"sha":"714a629c0b401fdce83e847fc9589983fc6f46bc","jti_sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"policy":{"mode":"enforce","hash":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"delivery":"files","secrets":[{"variable":"DB_PASSWORD","vault":"https://acme-prod.vault.azure.net","name":"db-password","rule":"shop production","version_read":"4387e9f3d6e14c459867679a90fd0f79","key_vault_request_id":"8eea681d-a1eb-487d-9be7-d61225177f00","client_request_id":"d0f0de73-8a5d-4de0-99b6-83e71da1f7a4"},{"variable":"STRIPE_KEY","vault":"https://acme-prod.vault.azure.net","name":"stripe-key","rule":"shop production","version_read":"4387e9f3d6e14c459867679a90fd0f79","key_vault_request_id":"8eea681d-a1eb-487d-9be7-d61225177f00","client_request_id":"d0f0de73-8a5d-4de0-99b6-83e71da1f7a4"}]"#;

/// So many notes do not go through a pipe at once: the program waits when it has done its work.
const NOTES: u64 = 300;

#[test]
fn a_long_trail_verifies_in_little_memory() {
    let full = env::var_os("RUNNER_SECRETS_FULL").is_some();
    let records: u64 = if full { 1_000_000 } else { 50_000 };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let mut file = BufWriter::new(File::create_new(&path).unwrap());
    let mut chain = Chain::new();
    writeln!(file, "{}", chain.header("")).unwrap();
    let cause = "no space ".repeat(40);
    let fields = format!(r#","since":"x","cause":"{cause}","refused":1,"lost":0"#);
    for count in 1..records {
        let line = match count {
            1..=NOTES => chain.record("recovered", &fields),
            _ => chain.record("outcome", REQUEST),
        };
        writeln!(file, "{line}").unwrap();
    }
    drop(file);
    let bytes = fs::metadata(&path).unwrap().len();

    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_runner-secretsd"))
        .args(["audit", "verify", "--head", &chain.head()])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0; 1];
    stdout.read_exact(&mut text).unwrap();
    let took = start.elapsed();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    stdout.read_to_end(&mut text).unwrap();
    assert!(child.wait().unwrap().success());

    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("intact\n"), "{}", &text[..200]);
    assert!(text.contains(&format!("records      {records}, from 1 to {records}\n")));
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    let rate = f64::from(u32::try_from(records).unwrap()) / took.as_secs_f64();
    println!(
        "{records} records, {bytes} bytes: {took:?}, {rate:.0} records a second, peak {peak} kB"
    );
    assert!(peak * 1024 * 2 < bytes, "{peak} kB for {bytes} bytes");
}
