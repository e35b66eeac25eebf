//! Fields that the rules take away, counted by rule.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::restore::{Facts, RULES};

/// How many fields each rule took away.
pub(super) type Taken = BTreeMap<&'static str, u64>;

/// Applies the rules as a restore does, and counts what each takes away. The name of the rule by which the object is not written.
pub(super) fn fit_and_count(object: &mut Value, facts: &Facts<'_>, taken: &mut Taken) -> Result<(), &'static str> {
    let mut before = fields(object);
    for rule in RULES {
        rule.apply(object, facts).map_err(|_| rule.name)?;
        let after = fields(object);
        if after < before {
            *taken.entry(rule.name).or_default() += before - after;
        }
        before = after;
    }
    Ok(())
}

/// Applies the rules. The name of the rule by which the object is not written.
pub(super) fn fit(object: &mut Value, facts: &Facts<'_>) -> Result<(), &'static str> {
    RULES.iter().try_for_each(|rule| rule.apply(object, facts).map_err(|_| rule.name))
}

/// Values that have no others in them.
fn fields(value: &Value) -> u64 {
    match value {
        Value::Object(map) if !map.is_empty() => map.values().map(fields).sum(),
        Value::Array(list) if !list.is_empty() => list.iter().map(fields).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::restore::Owners;

    #[test]
    fn what_a_rule_takes_away_is_counted_under_its_name() {
        let (owners, volumes) = (Owners::default(), HashSet::new());
        let facts = Facts {
            resource: "services",
            owners: &owners,
            volumes: &volumes,
            preserve_node_ports: false,
            status_subresource: true,
        };
        let mut object = json!({
            "metadata": {"name": "web", "uid": "1", "resourceVersion": "2"},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]},
        });
        let mut taken = Taken::new();
        fit_and_count(&mut object, &facts, &mut taken).unwrap();
        assert_eq!((taken["server-set-metadata"], taken["cluster-ips"]), (2, 2), "{taken:?}");
        assert_eq!(object, json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}));
    }
}
