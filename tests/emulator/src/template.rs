//! Error texts with `{placeholders}`.
//!
//! The services' tables of errors hold their texts as published; what a particular request put
//! into them is filled in here.

/// Replaces every `{name}` by what `value` knows under that name, or by nothing.
pub(crate) fn fill(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        filled.push_str(&value(name));
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn placeholders_are_filled_and_the_rest_is_kept() {
        let filled = fill("a {x} b {y}{", str::to_uppercase);
        assert_eq!(filled, "a X b Y{");
    }
}
