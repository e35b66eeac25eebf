//! Going round webhooks, and putting them back.
//!
//! A webhook that is gone round keeps everything but its object selector: that asks for a label that no object carries, so the
//! API server does not call it, however long it would hang. What the selector was stands in an annotation of the configuration
//! itself: whoever restores next, from whatever machine, finds it there and puts it back.

use serde_json::{Map, Value, json};

use super::backend::name_of;
use crate::cluster::{ApiError, Cluster, Retry};

/// The former selectors, by the name of the webhook.
const FORMER: &str = "ckbackup.io/former-object-selectors";
/// The label that nothing carries.
const NOBODY: &str = "ckbackup.io/no-object-carries-this";
/// How often a write is tried again that another one came before.
const TRIES: usize = 5;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// Whether webhooks of the configuration are gone round.
pub fn is_around(config: &Value) -> bool {
    config["metadata"]["annotations"][FORMER].is_string()
}

/// Takes these webhooks of the configuration at a path out.
pub async fn go_around(cluster: &Cluster, path: &str, names: &[String]) -> Result<(), ApiError> {
    change(cluster, path, |config| take_out(config, names)).await
}

/// Puts back all webhooks of the configuration at a path. One that is gone needs nothing.
pub async fn put_back(cluster: &Cluster, path: &str) -> Result<(), ApiError> {
    match change(cluster, path, bring_back).await {
        Err(e) if e.code() == Some(404) => Ok(()),
        done => done,
    }
}

/// Reads, changes and writes: what somebody else changed in between is not overwritten.
async fn change(cluster: &Cluster, path: &str, edit: impl Fn(&mut Value)) -> Result<(), ApiError> {
    for tries in 1.. {
        let body = Retry::default().run(|| cluster.get(path, None, TIMEOUT)).await?;
        let before: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut config = before.clone();
        edit(&mut config);
        if config == before {
            break;
        }
        let body = bytes::Bytes::from(config.to_string());
        match cluster.replace(path, body).await {
            Err(e) if tries < TRIES && (e.code() == Some(409) || e.is_transient()) => {}
            done => return done.map(drop),
        }
    }
    Ok(())
}

fn take_out(config: &mut Value, names: &[String]) {
    let mut former = former(config);
    for webhook in config["webhooks"].as_array_mut().into_iter().flatten() {
        let name = name_of(webhook).to_string();
        if names.contains(&name) && !is_out(webhook) {
            former.insert(name, webhook.get("objectSelector").cloned().unwrap_or_default());
            webhook["objectSelector"] = nobody();
        }
    }
    if !former.is_empty() {
        config["metadata"]["annotations"][FORMER] = Value::String(Value::Object(former).to_string());
    }
}

/// Makes a configuration what it was before it was gone round. A selector that somebody has set since is left as it is.
pub fn bring_back(config: &mut Value) {
    let mut former = former(config);
    for webhook in config["webhooks"].as_array_mut().into_iter().flatten() {
        if let Some(selector) = former.remove(name_of(webhook))
            && is_out(webhook)
        {
            webhook["objectSelector"] = if selector.is_null() { json!({}) } else { selector };
        }
    }
    if let Some(annotations) = config["metadata"]["annotations"].as_object_mut() {
        annotations.remove(FORMER);
    }
}

fn nobody() -> Value {
    json!({ "matchLabels": { NOBODY: "true" } })
}

fn is_out(webhook: &Value) -> bool {
    webhook["objectSelector"]["matchLabels"][NOBODY].is_string()
}

fn former(config: &Value) -> Map<String, Value> {
    let text = config["metadata"]["annotations"][FORMER].as_str();
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_gone_round_comes_back_as_it_was() {
        let before = json!({"metadata": {"name": "x", "annotations": {"a": "b"}}, "webhooks": [
            {"name": "one", "objectSelector": {"matchLabels": {"app": "web"}}}, {"name": "two", "objectSelector": {}},
            {"name": "three", "objectSelector": {}},
        ]});
        let mut config = before.clone();
        take_out(&mut config, &["one".into(), "two".into()]);
        assert!(is_around(&config) && is_out(&config["webhooks"][0]) && is_out(&config["webhooks"][1]));
        assert_eq!(config["webhooks"][2], before["webhooks"][2]);
        let once = config.clone();
        take_out(&mut config, &["one".into()]);
        assert_eq!(config, once, "what is out is not noted as what it was");
        bring_back(&mut config);
        assert_eq!(config, before);
    }

    #[test]
    fn what_somebody_has_set_since_stays() {
        let mut config = json!({"metadata": {}, "webhooks": [{"name": "one"}]});
        take_out(&mut config, &["one".into()]);
        config["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"app": "new"}});
        bring_back(&mut config);
        assert_eq!(config["webhooks"][0]["objectSelector"], json!({"matchLabels": {"app": "new"}}));
        assert!(!is_around(&config));
    }
}
