//! TOML and YAML as JSON, as far as documents and samples use them.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

/// A TOML document. What is none, ends the test.
pub(crate) fn toml(text: &str) -> Value {
    let table = DeTable::parse(text);
    let table = table.unwrap_or_else(|error| panic!("{error}\n{text}"));
    of_table(table.get_ref())
}

fn of_table(table: &DeTable<'_>) -> Value {
    let entries = table.iter();
    let entries = entries.map(|(key, value)| (key.get_ref().to_string(), of_toml(value.get_ref())));
    Value::Object(entries.collect())
}

fn of_toml(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => number.as_str().parse::<i64>().unwrap().into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().unwrap().into(),
        DeValue::Boolean(whether) => (*whether).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| of_toml(item.get_ref())).collect(),
        DeValue::Table(table) => of_table(table),
    }
}

/// The only document of a YAML text. What is none, or has a key twice, ends the test.
pub(crate) fn yaml(text: &str) -> Value {
    let mut events = Parser::new_from_str(text).map(|event| {
        let (event, _) = event.unwrap_or_else(|error| panic!("{error}\n{text}"));
        event
    });
    let begins = |event: &Event<'_>| matches!(event, Event::DocumentStart(..));
    assert!(events.any(|event| begins(&event)), "{text}");
    let root = node(&mut events).unwrap();
    assert!(!events.any(|event| begins(&event)), "two documents: {text}");
    root
}

/// The next node; `None` at the end of a list or map.
fn node<'a>(events: &mut impl Iterator<Item = Event<'a>>) -> Option<Value> {
    match events.next()? {
        Event::Scalar(text, ScalarStyle::Plain, ..) => Some(plain(&text)),
        Event::Scalar(text, ..) => Some(text.into_owned().into()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(item) = node(events) {
                items.push(item);
            }
            Some(items.into())
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            while let Some(key) = node(events) {
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                let value = node(events).unwrap();
                let twice = entries.insert(key.clone(), value).is_some();
                assert!(!twice, "{key} is there twice");
            }
            Some(entries.into())
        }
        Event::SequenceEnd | Event::MappingEnd => None,
        other => panic!("{other:?} is not for samples"),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        number => number
            .parse::<i64>()
            .map_or_else(|_| text.into(), Into::into),
    }
}
