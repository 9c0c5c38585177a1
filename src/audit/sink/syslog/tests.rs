use super::is_plain;

#[test]
fn a_hosts_name_is_printable_or_left_out() {
    assert!(is_plain("runner-7.example.com"));
    assert!(is_plain(&"x".repeat(255)));
    for name in ["", "with space", "umlaut-ä", "line\nend", &"x".repeat(256)] {
        assert!(!is_plain(name), "{name}");
    }
}
