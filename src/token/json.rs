//! JSON as tokens and key sets need it read: a name that comes twice is an error (`serde_json`
//! would silently take the last, other verifiers take the first, and an attacker lives on the
//! difference), and nesting has a bound. Knows nothing of what the members mean.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

// GitLab's deepest claim, `user_identities`, is a list of objects: three levels with the payload.
const DEEPEST: usize = 8;

/// Why text was not accepted, as the end of a sentence that begins with what the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Syntax,
    NoObject,
    Duplicate,
    Deep,
}

impl Problem {
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Syntax => "is not JSON",
            Self::NoObject => "is no JSON object",
            Self::Duplicate => "has two members of one name",
            Self::Deep => "is nested more than 8 levels deep",
        }
    }
}

/// The members of an object by name.
pub(super) type Object = BTreeMap<String, Json>;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no integer, or too large for one: no claim is meant to be that.
    Fraction,
    Text(String),
    List(Vec<Self>),
    Object(Object),
}

impl Json {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The one object that `text` consists of.
pub(super) fn object(text: &[u8]) -> Result<Object, Problem> {
    let problem = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let seed = Seed {
        levels_left: DEEPEST,
        problem: &problem,
    };
    let read = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match read {
        Ok(Json::Object(members)) => Ok(members),
        Ok(_) => Err(Problem::NoObject),
        Err(_) => Err(problem.into_inner().unwrap_or(Problem::Syntax)),
    }
}

/// Reads one value that may go on for `levels_left` more levels. What serde cannot carry in its
/// error goes to `problem`.
#[derive(Clone, Copy)]
struct Seed<'a> {
    levels_left: usize,
    problem: &'a RefCell<Option<Problem>>,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self {
                levels_left,
                ..self
            }),
            None => Err(self.fail(Problem::Deep)),
        }
    }

    fn fail<E: serde::de::Error>(self, problem: Problem) -> E {
        *self.problem.borrow_mut() = Some(problem);
        E::custom(problem.sentence())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Fraction, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Fraction)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(seed)? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut object = Object::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(seed)?;
            if object.insert(name, value).is_some() {
                return Err(self.fail(Problem::Duplicate));
            }
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, Problem, object};

    #[test]
    fn values_keep_their_types() {
        let read = object(br#"{"a":"x","b":true,"c":7,"d":-7,"e":null,"f":[1,"2"],"g":{"h":1}}"#);
        let read = read.unwrap();
        assert_eq!(read["a"].text(), Some("x"));
        assert_eq!(read["b"], Json::Bool(true));
        assert_eq!(read["c"], Json::Integer(7));
        assert_eq!(read["d"], Json::Integer(-7));
        assert_eq!(read["e"], Json::Null);
        let list = vec![Json::Integer(1), Json::Text("2".into())];
        assert_eq!(read["f"], Json::List(list));
        assert_eq!(
            read["g"],
            Json::Object([("h".into(), Json::Integer(1))].into())
        );
    }

    #[test]
    fn numbers_that_are_no_integers_are_told_apart() {
        for number in ["1.0", "1e3", "1.5", "9223372036854775808", "-0.0"] {
            let read = object(format!(r#"{{"n":{number}}}"#).as_bytes()).unwrap();
            assert_eq!(read["n"], Json::Fraction, "{number}");
        }
        assert_eq!(object(br#"{"n":1e999}"#), Err(Problem::Syntax));
    }

    #[test]
    fn a_name_that_comes_twice_is_refused_at_every_level() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
        ] {
            assert_eq!(object(text.as_bytes()), Err(Problem::Duplicate), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            object(format!(r#"{{"a":{open}{close}}}"#).as_bytes())
        };
        assert!(nested(7).is_ok());
        assert_eq!(nested(8), Err(Problem::Deep));
        assert_eq!(nested(10_000), Err(Problem::Deep));
        let objects = r#"{"a":"#.repeat(10_000);
        assert_eq!(object(objects.as_bytes()), Err(Problem::Deep));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", "\"a\"", "null"] {
            assert_eq!(object(text.as_bytes()), Err(Problem::NoObject), "{text}");
        }
        for text in [
            "",
            "{",
            "{}{}",
            "{} x",
            "{'a':1}",
            "{\"a\":\"\u{1}\"}",
            "\u{feff}{}",
        ] {
            assert_eq!(object(text.as_bytes()), Err(Problem::Syntax), "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(Problem::Syntax));
    }
}
