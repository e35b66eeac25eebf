//! Aliases come last: until then nobody finds what is only half there.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::super::summary::Outcome;
use crate::elastic::{Elastic, Repeat, in_path};
use crate::error::Result;

/// Aliases by name, each with the indices that have it, and how.
pub type Aliases = BTreeMap<String, Vec<(String, Value)>>;

/// Gives an alias to its indices. Where writers write through it to another index by now, they go on doing so.
pub async fn restore(server: &Elastic, alias: &str, of: &[(String, Value)]) -> Result<(Outcome, Option<String>)> {
    let reply = server.send(Method::GET, &format!("_alias/{}", in_path(alias)), &Value::Null, Repeat::Always).await?;
    let there = reply.unwrap_or_default();
    let ours = |name: &str| of.iter().any(|(index, _)| index == name);
    let all = there.as_object().into_iter().flatten();
    let writing = all.filter(|(index, about)| about["aliases"][alias]["is_write_index"] == true && !ours(index));
    let writing = writing.map(|(index, _)| index.clone()).next();
    let has_all = of.iter().all(|(index, how)| there[index]["aliases"].get(alias) == Some(how));
    if has_all {
        return Ok((Outcome::Unchanged, None));
    }
    let actions: Vec<_> = of.iter().map(|(index, how)| action(index, alias, how, writing.is_some())).collect();
    let sent = server.send(Method::POST, "_aliases", &json!({ "actions": actions }), Repeat::Always).await?;
    let was_writing = of.iter().any(|(_, how)| how["is_write_index"] == true);
    let note = writing.filter(|_| was_writing).map(|index| format!("alias {alias} still writes to {index}"));
    Ok(match sent {
        Ok(_) => (Outcome::Created, note),
        Err(refusal) => (Outcome::Failed(refusal.to_string()), None),
    })
}

fn action(index: &str, alias: &str, how: &Value, has_writer: bool) -> Value {
    let mut action = json!({ "index": index, "alias": alias });
    for key in ["filter", "index_routing", "search_routing", "is_write_index", "is_hidden"] {
        if let Some(value) = how.get(key) {
            action[key] = value.clone();
        }
    }
    if has_writer && action["is_write_index"] == true {
        action["is_write_index"] = false.into();
    }
    json!({ "add": action })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_writes_unless_another_one_does_by_now() {
        let how = json!({ "is_write_index": true, "filter": { "term": { "a": 1 } } });
        assert_eq!(action("i", "a", &how, false)["add"]["is_write_index"], true);
        let beside = action("i", "a", &how, true);
        assert_eq!(
            (&beside["add"]["is_write_index"], &beside["add"]["filter"]["term"]["a"]),
            (&json!(false), &json!(1))
        );
    }
}
