//! A report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::document::{Block, Document};
use crate::error::{Context, Result};

const STYLE: &str = include_str!("style.css");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    document: &'a Document,
    style: &'a str,
    /// Only this style sheet may act, whatever is written into the page.
    policy: String,
}

/// The whole file.
pub fn html(document: &Document) -> Result<String> {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    let page = Page { document, style: STYLE, policy };
    page.render().context(|| "render the report".into())
}
