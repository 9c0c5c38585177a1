use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::named;

/// Whom a certificate with this subject and these alternative names names.
fn name_of(subject: &[(DnType, &str)], alternatives: Vec<SanType>) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.subject_alt_names = alternatives;
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    named(certificate.der())
}

#[test]
fn a_certificate_names_its_subject_or_its_first_alternative_or_itself() {
    let common = (DnType::CommonName, "jobs");
    let company = (DnType::OrganizationName, "Acme");
    let uri = SanType::URI("spiffe://acme/ci".try_into().unwrap());
    let dns = SanType::DnsName("ci.acme".try_into().unwrap());
    let both = || vec![uri.clone(), dns.clone()];
    assert_eq!(
        name_of(&[company, common.clone()], both()),
        "O=Acme, CN=jobs"
    );
    assert_eq!(name_of(&[], both()), "URI:spiffe://acme/ci");
    assert_eq!(name_of(&[], vec![dns.clone()]), "DNS:ci.acme");
    let itself = name_of(&[], Vec::new());
    assert!(
        itself.starts_with("sha256:") && itself.len() == 7 + 64,
        "{itself}"
    );
    let long = "x".repeat(1000);
    assert_eq!(name_of(&[(DnType::CommonName, &long)], both()).len(), 256);
}

#[test]
fn what_is_no_certificate_is_named_all_the_same() {
    let name = named(&b"no certificate"[..].into());
    assert!(name.starts_with("sha256:"), "{name}");
}
