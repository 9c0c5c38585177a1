//! What can stand on the right of an equals sign.

use std::{path::PathBuf, time::Duration};

use toml::{Spanned, de::DeValue};

/// A type that values are read as.
pub(crate) trait Value: Sized {
    /// The value, or what would have been right.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(expected("a string", other)),
        }
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Boolean(yes) => Ok(*yes),
            other => Err(expected("true or false", other)),
        }
    }
}

impl Value for u64 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Integer(number) => Self::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| format!("{number} is no whole number from 0 up")),
            other => Err(expected("a whole number", other)),
        }
    }
}

impl Value for u32 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let number = u64::read(value)?;
        Self::try_from(number).map_err(|_| format!("{number} is too large"))
    }
}

impl Value for PathBuf {
    /// An absolute path: a daemon's working directory is nobody's business.
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let path = Self::from(String::read(value)?);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(format!("{} is no absolute path", path.display()))
        }
    }
}

impl Value for Duration {
    /// `"30s"`, `"10m"`, `"1h 30m"`; never zero.
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        match humantime::parse_duration(&text) {
            Ok(Self::ZERO) => Err("is zero".to_owned()),
            Ok(duration) => Ok(duration),
            Err(error) => Err(format!(
                "{text:?} is no duration such as \"30s\" or \"1h\": {error}"
            )),
        }
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Array(elements) = value else {
            return Err(expected("a list", value));
        };
        let read = |(index, element): (usize, &Spanned<DeValue<'_>>)| {
            T::read(element.get_ref()).map_err(|problem| format!("[{index}]: {problem}"))
        };
        elements.iter().enumerate().map(read).collect()
    }
}

/// `expected a string, found an integer`.
pub(crate) fn expected(what: &str, found: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", found.type_str())
}
