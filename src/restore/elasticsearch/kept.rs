//! Brings templates, pipelines and policies back.

use reqwest::Method;
use serde_json::Value;

use super::super::apply::EXISTS;
use super::super::summary::Outcome;
use crate::config::Conflict;
use crate::elastic::{Elastic, Kept, Repeat, in_path};
use crate::error::Result;

/// The reason for which what the server makes by itself is left alone.
const BUILT_IN: &str = "builtIn";

/// The reason for which what the server has no part for is left out.
const NOT_SERVED: &str = "notServed";

/// Those of one kind that a server has.
pub struct Present {
    kept: Kept,
    /// None when the server has no such part.
    all: Option<Vec<(String, Value)>>,
}

impl Present {
    /// Asks the server.
    pub async fn read(server: &Elastic, kept: Kept) -> Result<Present> {
        let answer = server.get_if_served(kept.path).await?;
        Ok(Present { kept, all: answer.map(|answer| kept.read(&answer)) })
    }

    /// What is to become of one of the backup.
    fn foresee(&self, name: &str, body: &Value, conflict: Conflict) -> Outcome {
        let skip = |rule: &str, why: &str| Outcome::Skipped { rule: rule.into(), why: why.into() };
        let Some(all) = &self.all else { return skip(NOT_SERVED, "the server has nothing of the kind") };
        if self.kept.is_built_in(name, body) {
            return skip(BUILT_IN, "the server makes it by itself");
        }
        match all.iter().find(|(there, _)| there == name) {
            None => Outcome::Created,
            Some((_, there)) if there == body => Outcome::Unchanged,
            Some(_) if conflict == Conflict::Overwrite => Outcome::Updated,
            Some(_) if conflict == Conflict::Fail => Outcome::Failed("it is there, and differs".into()),
            Some(_) => skip(EXISTS, "it is there, and differs"),
        }
    }

    /// Brings one back.
    pub async fn restore(
        &self,
        server: &Elastic,
        (name, body): (&str, &Value),
        conflict: Conflict,
        dry_run: bool,
    ) -> Result<Outcome> {
        let outcome = self.foresee(name, body, conflict);
        if dry_run || !matches!(outcome, Outcome::Created | Outcome::Updated) {
            return Ok(outcome);
        }
        let path = format!("{}/{}", self.kept.path, in_path(name));
        let sent = server.send(Method::PUT, &path, body, Repeat::Always).await?;
        Ok(sent.map_or_else(|refusal| Outcome::Failed(refusal.to_string()), |_| outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elastic::KEPT;
    use serde_json::json;

    #[test]
    fn what_is_there_decides() {
        let present = |all| Present { kept: KEPT[2], all };
        let body = json!({ "processors": [] });
        let some = present(Some(vec![("p".into(), body.clone())]));
        assert_eq!(some.foresee("p", &body, Conflict::Fail), Outcome::Unchanged);
        assert_eq!(some.foresee("q", &body, Conflict::Fail), Outcome::Created);
        let other = json!({ "processors": [1] });
        assert_eq!(some.foresee("p", &other, Conflict::Overwrite), Outcome::Updated);
        assert!(matches!(some.foresee("p", &other, Conflict::Fail), Outcome::Failed(_)));
        let rule = |outcome| if let Outcome::Skipped { rule, .. } = outcome { rule } else { panic!("{outcome:?}") };
        assert_eq!(rule(some.foresee("p", &other, Conflict::Skip)), EXISTS);
        assert_eq!(rule(some.foresee(".p", &other, Conflict::Overwrite)), BUILT_IN);
        assert_eq!(rule(present(None).foresee("p", &body, Conflict::Overwrite)), NOT_SERVED);
    }
}
