use super::{Config, Delivery};

#[test]
fn the_smallest_configuration_has_the_documented_defaults() {
    let config = Config::parse("[[listen]]\nsocket = '/run/x/api.sock'\n").unwrap();
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

/// Every key of the README's table is one, and no key is missing from it.
#[test]
fn the_readmes_table_has_every_key() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for table in ["files", "azure", "limits", "log", "listen"] {
        let text = match table {
            "listen" => "[[listen]]\nsocket = '/s/s'\nnone = 1\n".to_owned(),
            _ => format!("[[listen]]\nsocket = '/s/s'\n[{table}]\nnone = 1\n"),
        };
        let problems = Config::parse(&text).unwrap_err();
        let known = problems[0].problem.rsplit_once("it has: ").unwrap().1;
        for key in known.split(", ") {
            let documented =
                readme.contains(&format!("`{key}`")) || readme.contains(&format!("] {key}`"));
            assert!(documented, "{table}.{key} is not in the README");
        }
    }
}
