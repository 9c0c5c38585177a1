use super::{Config, Delivery};

const SMALLEST: &str = "\
[[listen]]
socket = '/run/x/api.sock'
[[issuer]]
url = 'https://gitlab.example.com'
audiences = ['api://AzureADTokenExchange']
";

#[test]
fn the_smallest_configuration_has_the_documented_defaults() {
    let config = Config::parse(SMALLEST).unwrap();
    assert_eq!(config.listeners[0].mode, 0o660);
    assert_eq!(config.listeners[0].delivery, Delivery::Files);
    assert_eq!(config.files.mode, 0o400);
    assert!(config.files.require_memory_backed);
    assert_eq!(config.limits.secrets, 100);
    let authority = config.azure.cloud.authority_host.as_str();
    assert_eq!(authority, "https://login.microsoftonline.com/");
}

#[test]
fn the_readmes_configuration_is_one() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let blocks = readme.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let ours: Vec<&str> = blocks
        .filter(|block| block.contains("[[listen]]"))
        .collect();
    assert!(!ours.is_empty());
    for block in ours {
        assert_eq!(Config::parse(block).err(), None, "{block}");
    }
}

/// No key is missing from the documented table.
#[test]
fn the_documented_table_has_every_key() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    for table in [
        "[[listen]]",
        "[[gateway]]",
        "[[issuer]]",
        "[[rule]]",
        "[files]",
        "[azure]",
        "[policy]",
        "[audit]",
        "[admin]",
        "[limits]",
        "[log]",
    ] {
        let text = if SMALLEST.contains(table) {
            SMALLEST.replace(table, &format!("{table}\nnone = 1"))
        } else {
            format!("{SMALLEST}{table}\nnone = 1\n")
        };
        let problems = Config::parse(&text).unwrap_err();
        let mut known = problems
            .iter()
            .filter_map(|found| found.problem.rsplit_once("it has: "));
        let known = known.next().unwrap().1;
        for key in known.split(", ") {
            let documented =
                page.contains(&format!("`{key}`")) || page.contains(&format!("] {key}`"));
            assert!(documented, "{table} {key} is not in docs/configuration.md");
        }
    }
}

#[test]
fn a_rule_for_a_vault_of_another_cloud_is_a_mistake() {
    let rule = "[[rule]]\nname = 'r'\nbound_claims = { project_path = 'a/b' }\nsecrets = ['s']\n";
    let with = |vault: &str| Config::parse(&format!("{SMALLEST}{rule}vaults = ['{vault}']\n"));
    assert!(with("https://demo.vault.azure.net").is_ok());
    let problems = with("https://demo.vault.azure.cn").unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "rule[0].vaults");
}
