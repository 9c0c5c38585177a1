//! What a client of the first day relies on is still there: every message, field, number, type and
//! method of the contract as it was first fixed (`contract/first.bin`, the descriptors that were
//! generated then). It may grow, and that is all.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, that is how to fail and to say why"
)]

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use runner_secrets_proto::FILE_DESCRIPTOR_SET;

const FIRST: &[u8] = include_bytes!("contract/first.bin");

fn ours(set: &[u8]) -> FileDescriptorProto {
    let files = FileDescriptorSet::decode(set).unwrap().file;
    let mut files = files.into_iter();
    files
        .find(|file| file.package() == "runner_secrets.v1")
        .unwrap()
}

/// Every field of `first` with all that the wire and the generated code make of it.
fn assert_holds(first: &DescriptorProto, now: &DescriptorProto) -> usize {
    let name = first.name();
    for field in &first.field {
        let mut fields = now.field.iter();
        let found = fields.find(|now| now.name() == field.name());
        let found = found.unwrap_or_else(|| panic!("{name}.{} is gone", field.name()));
        assert_eq!(found, field, "{name}.{}", field.name());
    }
    for reserved in &first.reserved_range {
        let holds = now.reserved_range.contains(reserved);
        let used = |number| reserved.start() <= number && number < reserved.end();
        let used = now.field.iter().any(|field| used(field.number()));
        assert!(holds || used, "{name}: {reserved:?} is free for anything");
    }
    let nested = first.nested_type.iter();
    let nested = nested.map(|first| {
        let mut now = now.nested_type.iter();
        assert_holds(first, now.find(|now| now.name() == first.name()).unwrap())
    });
    first.field.len() + nested.sum::<usize>()
}

#[test]
fn nothing_that_the_first_client_uses_has_changed() {
    let (first, now) = (ours(FIRST), ours(FILE_DESCRIPTOR_SET));
    let mut fields = 0;
    for message in &first.message_type {
        let mut messages = now.message_type.iter();
        let found = messages.find(|now| now.name() == message.name());
        let found = found.unwrap_or_else(|| panic!("{} is gone", message.name()));
        fields += assert_holds(message, found);
    }
    assert!(fields > 20, "{fields}");
    let methods = |file: &FileDescriptorProto| file.service[0].method.clone();
    let now = methods(&now);
    assert!(!methods(&first).is_empty());
    for method in methods(&first) {
        assert!(now.contains(&method), "{}", method.name());
    }
}
