//! Whether two objects say the same.

use serde_json::{Number, Value};

/// Compares to the letter, but numbers by value (an API server turns `1.0` into `1`), and a null, an empty map or an
/// empty list like a missing key (servers drop them).
pub fn same(a: &Value, b: &Value) -> bool {
    differences(a, b, 1).is_empty()
}

/// Paths at which two objects differ, `most` at the most: `.spec.replicas`.
pub fn differences(a: &Value, b: &Value, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    compare(a, b, &mut String::new(), &mut found, most);
    found
}

fn compare(a: &Value, b: &Value, path: &mut String, found: &mut Vec<String>, most: usize) {
    if found.len() >= most {
        return;
    }
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<_> = left.keys().chain(right.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let length = path.len();
                path.push('.');
                path.push_str(key);
                let (a, b) = (left.get(key).unwrap_or(&Value::Null), right.get(key).unwrap_or(&Value::Null));
                compare(a, b, path, found, most);
                path.truncate(length);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (i, (a, b)) in left.iter().zip(right).enumerate() {
                let length = path.len();
                path.push_str(&format!("[{i}]"));
                compare(a, b, path, found, most);
                path.truncate(length);
            }
        }
        (Value::Number(a), Value::Number(b)) if equal_numbers(a, b) => {}
        (a, b) if a == b || (is_nothing(a) && is_nothing(b)) => {}
        _ => found.push(if path.is_empty() { ".".into() } else { path.clone() }),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Whole numbers of 64 bits are compared exactly; others, and longer ones, as the doubles that API servers keep.
fn equal_numbers(a: &Number, b: &Number) -> bool {
    let (left, right) = (a.to_string(), b.to_string());
    if left == right {
        return true;
    }
    let whole = |s: &str| s.parse::<i64>().ok();
    let double = |s: &str| s.parse::<f64>().ok();
    let is = |d: Option<f64>, whole: i64| d.is_some_and(|d| d.fract() == 0.0 && d as i128 == i128::from(whole));
    match (whole(&left), whole(&right)) {
        (Some(a), Some(b)) => a == b,
        (Some(a), None) => is(double(&right), a),
        (None, Some(b)) => is(double(&left), b),
        (None, None) => double(&left) == double(&right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(a: &str, b: &str) -> Vec<String> {
        differences(&serde_json::from_str(a).unwrap(), &serde_json::from_str(b).unwrap(), 9)
    }

    #[test]
    fn numbers_compare_by_value_and_whole_ones_exactly() {
        assert!(diff(r#"{"a":1.0,"b":1e-10}"#, r#"{"a":1,"b":1E-10}"#).is_empty());
        assert_eq!(diff(r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#), [".a"]);
        assert_eq!(diff(r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992.0}"#), [".a"]);
        assert_eq!(diff(r#"{"a":9223372036854775807}"#, r#"{"a":9223372036854775808}"#), [".a"]);
        assert!(diff(r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709552000}"#).is_empty());
    }

    #[test]
    fn what_servers_drop_is_no_difference() {
        assert!(diff(r#"{"a":{},"b":[],"c":null}"#, "{}").is_empty());
        assert_eq!(diff(r#"{"a":{"b":[1,2]}}"#, r#"{"a":{"b":[1,3]},"c":""}"#), [".a.b[1]", ".c"]);
    }
}
