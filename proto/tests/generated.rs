//! The generated code is checked in, so that building needs no protobuf compiler. This test makes
//! it again and fails when the two differ; with `REGENERATE=1` it writes the new code instead.

use std::{env, fs, path::Path};

use prost::Message as _;

const PROTO: &str = "runner_secrets/v1/secrets_provider.proto";

/// These carry tokens or secret values; their `Debug` is written by hand.
const SENSITIVE: [&str; 4] = [
    ".runner_secrets.v1.ReleaseRequest",
    ".runner_secrets.v1.ResolveRequest",
    ".runner_secrets.v1.Secret",
    ".runner_secrets.v1.Variable",
];

#[test]
fn generated_code_is_what_the_contract_generates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([PROTO], [root.join("proto")]).unwrap();
    fs::write(
        made.path().join("runner_secrets.v1.bin"),
        descriptors.encode_to_vec(),
    )
    .unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .skip_debug(SENSITIVE)
        .out_dir(made.path())
        .compile_fds(descriptors)
        .unwrap();

    for file in ["runner_secrets.v1.rs", "runner_secrets.v1.bin"] {
        let new = fs::read(made.path().join(file)).unwrap();
        let checked_in = root.join("src/generated").join(file);
        if env::var_os("REGENERATE").is_some() {
            fs::write(&checked_in, &new).unwrap();
        }
        assert!(
            fs::read(&checked_in).is_ok_and(|old| old == new),
            "{file} is stale: run REGENERATE=1 cargo test -p runner-secrets-proto --test generated"
        );
    }
}
