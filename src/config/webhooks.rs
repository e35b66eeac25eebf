//! What a restore does about webhooks of the target that would refuse its writes, or let them hang.

use super::problems::{Problems, suggestion};
use crate::error::{Error, Result};

/// The way to treat admission webhooks whose backend does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebhookPolicy {
    /// They are waited for, for a time; what they refuse afterwards fails.
    #[default]
    Wait,
    /// They are asked nothing meanwhile, and put back afterwards.
    GoAround,
    /// Nothing is written.
    Stop,
}

impl WebhookPolicy {
    const ALL: [WebhookPolicy; 3] = [WebhookPolicy::Wait, WebhookPolicy::GoAround, WebhookPolicy::Stop];

    /// The word in plans and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            WebhookPolicy::Wait => "wait",
            WebhookPolicy::GoAround => "goAround",
            WebhookPolicy::Stop => "stop",
        }
    }
}

impl std::str::FromStr for WebhookPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words = WebhookPolicy::ALL.map(WebhookPolicy::as_str);
        let found = WebhookPolicy::ALL.into_iter().find(|policy| policy.as_str() == text);
        let near = suggestion(text, &words);
        found.ok_or_else(|| Error::usage(format!("`{text}` is no way to treat webhooks{near}")))
    }
}

/// Without a word, they are waited for.
pub(super) fn validate(given: Option<&str>, path: &str, problems: &mut Problems<'_>) -> Option<WebhookPolicy> {
    given.map_or(Some(WebhookPolicy::default()), |text| problems.parse(path, text))
}
