//! Patches: what a plan changes in objects that no mapping covers.

use serde_json::{Value, json};

use super::filter::{Filter, Patterns};
use super::kinds::{self, KindPattern};
use super::plan::{Subject, any_matches, in_namespaces};
use super::problems::Problems;
use super::raw;
use super::scope::{filter, optional_selector};
use super::selector::LabelSelector;

/// A change of the objects that it selects. They are selected by what they are called in the backup.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Its name in the plan, or where it stands there: `patches[0]`.
    pub name: String,
    /// The kinds.
    pub kinds: Vec<KindPattern>,
    /// The namespaces.
    pub namespaces: Filter,
    /// The labels they must carry.
    pub labels: Option<LabelSelector>,
    /// Their names; any where there are none.
    pub names: Patterns,
    /// What is done.
    pub change: Change,
}

/// What a patch does.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A merge patch (RFC 7386).
    Merge(Value),
    /// A JSON patch (RFC 6902).
    Json(json_patch::Patch),
}

impl Patch {
    /// Whether the object is one of those that are changed.
    pub fn selects(&self, object: &Subject<'_>) -> bool {
        any_matches(&self.kinds, object.kind, object.group)
            && in_namespaces(&self.namespaces, object)
            && self.labels.as_ref().is_none_or(|labels| labels.matches(object.labels))
            && (self.names.is_empty() || self.names.matches(object.name))
    }
}

/// Makes patches of what was typed, or notes what is wrong with them.
pub(super) fn validate(raw: &[raw::Patch], path: &str, problems: &mut Problems<'_>) -> Option<Vec<Patch>> {
    let all: Vec<_> =
        raw.iter().enumerate().map(|(at, raw)| patch(raw, at, &format!("{path}[{at}]"), problems)).collect();
    all.into_iter().collect()
}

fn patch(raw: &raw::Patch, at: usize, path: &str, problems: &mut Problems<'_>) -> Option<Patch> {
    let key = |name: &str| format!("{path}.{name}");
    if raw.kinds.is_empty() {
        problems.add(&key("kinds"), "names no kind");
    }
    let name = match &raw.name {
        None => Some(format!("patches[{at}]")),
        Some(text) => problems.parse::<super::Name>(&key("name"), text).map(|name| name.to_string()),
    };
    let kinds = kinds::validate(&raw.kinds, &key("kinds"), problems);
    let namespaces = filter(&raw.namespaces, &key("namespaces"), problems);
    let labels = optional_selector(raw.labels.as_deref(), &key("labels"), problems);
    let names = Patterns::compile(&raw.names).map_err(|wrong| {
        wrong.into_iter().for_each(|(index, why)| problems.add(&format!("{path}.names[{index}]"), why));
    });
    let change = change(raw, path, problems);
    Some(Patch {
        name: name?,
        kinds: kinds?,
        namespaces: namespaces?,
        labels: labels?,
        names: names.ok()?,
        change: change?,
    })
}

fn change(raw: &raw::Patch, path: &str, problems: &mut Problems<'_>) -> Option<Change> {
    match (&raw.merge, &raw.json) {
        (Some(merge @ Value::Object(_)), None) => Some(Change::Merge(merge.clone())),
        (Some(_), None) => {
            problems.add(&format!("{path}.merge"), "a merge patch of an object is a mapping");
            None
        }
        (None, Some(operations)) => json_patch(operations, &format!("{path}.json"), problems).map(Change::Json),
        _ => {
            problems.add(path, "a patch has exactly one of `merge` and `json`");
            None
        }
    }
}

fn json_patch(raw: &[raw::PatchOperation], path: &str, problems: &mut Problems<'_>) -> Option<json_patch::Patch> {
    let mut all = Vec::new();
    for (at, operation) in raw.iter().enumerate() {
        match read_operation(operation) {
            Ok(operation) => all.push(operation),
            Err(why) => problems.add(&format!("{path}[{at}]"), why),
        }
    }
    (all.len() == raw.len()).then_some(json_patch::Patch(all))
}

fn read_operation(raw: &raw::PatchOperation) -> Result<json_patch::PatchOperation, String> {
    let (needs_value, needs_from) = match raw.op.as_str() {
        "add" | "replace" | "test" => (true, false),
        "remove" => (false, false),
        "move" | "copy" => (false, true),
        other => return Err(format!("`{other}` is no operation; write add, remove, replace, move, copy or test")),
    };
    let is_fit = |has: bool, needs: bool, key: &str| match (has, needs) {
        (false, true) => Err(format!("`{}` needs `{key}`", raw.op)),
        (true, false) => Err(format!("`{}` takes no `{key}`", raw.op)),
        _ => Ok(()),
    };
    is_fit(raw.value.is_some(), needs_value, "value")?;
    is_fit(raw.from.is_some(), needs_from, "from")?;
    let mut operation = json!({"op": raw.op, "path": raw.path});
    if let Some(value) = &raw.value {
        operation["value"] = value.clone();
    }
    if let Some(from) = &raw.from {
        operation["from"] = json!(from);
    }
    serde_json::from_value(operation).map_err(|e| format!("it cannot be read: {e}; paths begin with `/`"))
}
