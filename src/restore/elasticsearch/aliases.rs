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
    let has_all = of.iter().all(|(index, how)| there[index]["aliases"].get(alias) == Some(how));
    if has_all {
        return Ok((Outcome::Unchanged, None));
    }
    let others = there.as_object().into_iter().flatten().filter(|(index, _)| !ours(index));
    let others: Vec<_> = others.map(|(index, about)| (index.as_str(), &about["aliases"][alias])).collect();
    let writing = writer(&others).map(String::from);
    let mut actions: Vec<_> = of.iter().map(|(index, how)| action(index, alias, how, writing.is_some())).collect();
    if let Some(index) = &writing {
        // Where it is alone it writes without saying so, and no more when it is not.
        let how = others.iter().find(|(other, _)| other == index).map_or(Value::Null, |(_, how)| (*how).clone());
        let mut going_on = action(index, alias, &how, false);
        going_on["add"]["is_write_index"] = true.into();
        actions.push(going_on);
    }
    let sent = server.send(Method::POST, "_aliases", &json!({ "actions": actions }), Repeat::Always).await?;
    let note = writing.map(|index| format!("alias {alias} still writes to {index}"));
    Ok(match sent {
        Ok(_) => (Outcome::Created, note),
        Err(refusal) => (Outcome::Failed(refusal.to_string()), None),
    })
}

/// The index that takes what is written through an alias: the one that says so, or the only one.
fn writer<'a>(others: &[(&'a str, &Value)]) -> Option<&'a str> {
    let says = others.iter().find(|(_, how)| how["is_write_index"] == true);
    let alone = others.first().filter(|(_, how)| others.len() == 1 && how["is_write_index"] != false);
    says.or(alone).map(|(index, _)| *index)
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
    fn the_only_index_of_an_alias_writes_without_saying_so() {
        let (plain, yes, no) = (json!({}), json!({ "is_write_index": true }), json!({ "is_write_index": false }));
        assert_eq!(writer(&[("a", &plain)]), Some("a"));
        assert_eq!(writer(&[("a", &plain), ("b", &yes)]), Some("b"));
        assert_eq!(writer(&[("a", &plain), ("b", &plain)]), None);
        assert_eq!((writer(&[("a", &no)]), writer(&[])), (None, None));
    }

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
