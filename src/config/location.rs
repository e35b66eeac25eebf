//! Where a vault is.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::problems::{Problems, suggestion};
use super::raw;
use crate::error::{Error, Result};

/// The kinds of storage that a vault can stand in.
const SCHEMES: [&str; 4] = ["file", "s3", "gs", "az"];

/// A place in object storage or a folder. It never holds credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultLocation {
    /// `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: Url,
    /// The server to speak to, where it is not the provider's own.
    pub endpoint: Option<Url>,
    /// The region, where the storage needs one.
    pub region: Option<String>,
    /// Whether an endpoint without TLS is taken.
    pub allow_http: bool,
}

impl VaultLocation {
    /// Reads a vault's URL as it is given on the command line or in a schedule.
    pub fn parse(text: &str) -> Result<Self> {
        let url = parse_url(text)?;
        let scheme = url.scheme();
        if !SCHEMES.contains(&scheme) {
            let near = suggestion(scheme, &SCHEMES);
            return Err(Error::usage(format!("`{text}` names an unknown kind of storage, `{scheme}`{near}")));
        }
        if scheme == "file" {
            let folder = url.to_file_path().map_err(|()| Error::usage(format!("`{text}` is no local folder")));
            folder.map_err(|e| e.hint("write the whole path, with three slashes: `file:///backups`"))?;
        } else if url.host_str().is_none_or(str::is_empty) {
            let wanted = format!("`{text}` names no bucket");
            return Err(Error::usage(wanted).hint(format!("write it like `{scheme}://bucket/folder`")));
        }
        Ok(VaultLocation { url, endpoint: None, region: None, allow_http: false })
    }

    /// The vault in a local folder, given by its whole path.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let url = Url::from_file_path(folder);
        let url = url.map_err(|()| Error::usage(format!("{} is not the whole path of a folder", folder.display())))?;
        Ok(VaultLocation { url, endpoint: None, region: None, allow_http: false })
    }

    /// Whether one is the other, or lies in it. Of endpoints that are not given nobody knows which server they mean.
    pub fn overlaps(&self, other: &VaultLocation) -> bool {
        let servers_differ = matches!((&self.endpoint, &other.endpoint), (Some(one), Some(two)) if one != two);
        if self.url.scheme() != other.url.scheme() || self.url.host_str() != other.url.host_str() || servers_differ {
            return false;
        }
        let parts = |url: &Url| url.path().split('/').filter(|part| !part.is_empty()).map(String::from).collect();
        let (one, two): (Vec<String>, Vec<String>) = (parts(&self.url), parts(&other.url));
        one.iter().zip(&two).all(|(one, two)| one == two)
    }

    /// The folder of a `file://` vault.
    pub fn folder(&self) -> Option<PathBuf> {
        if self.url.scheme() == "file" { self.url.to_file_path().ok() } else { None }
    }
}

impl fmt::Display for VaultLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

/// Parses a URL and refuses what does not belong into one that is stored and shown.
fn parse_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|why| {
        let error = Error::usage(format!("`{text}` is no URL ({why})"));
        error.hint("write it like `s3://bucket/folder`, or `file:///backups` for a local folder")
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        let error = Error::usage("the URL holds credentials, which never stand in files or arguments");
        return Err(error.hint("give them in the environment (`AWS_ACCESS_KEY_ID`, …)"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::usage(format!("`{text}` holds a `?` or a `#`, which no vault's URL has")));
    }
    Ok(url)
}

pub(super) fn validate(raw: &raw::Vault, path: &str, problems: &mut Problems<'_>) -> Option<VaultLocation> {
    let location = problems.check(&format!("{path}.url"), VaultLocation::parse(&raw.url));
    let endpoint_path = format!("{path}.endpoint");
    let endpoint = match &raw.endpoint {
        None => Some(None),
        Some(text) => problems.check(&endpoint_path, parse_endpoint(text, raw.allow_http)).map(Some),
    };
    let (location, endpoint) = (location?, endpoint?);
    let scheme = location.url.scheme();
    if endpoint.is_some() && !["s3", "az"].contains(&scheme) {
        problems.add(&endpoint_path, format!("a `{scheme}://` place has no endpoint; remove this key"));
        return None;
    }
    Some(VaultLocation { endpoint, region: raw.region.clone(), allow_http: raw.allow_http, ..location })
}

/// Reads the URL of a server that stands for the provider's own; one without TLS must be allowed.
pub fn parse_endpoint(text: &str, allow_http: bool) -> Result<Url> {
    let bad = || Error::usage(format!("`{text}` is no endpoint")).hint("write it like `https://objects.example`");
    let url = Url::parse(text).map_err(|_| bad())?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => parse_url(text),
        "https" => Ok(url),
        "http" if allow_http => Ok(url),
        "http" => Err(Error::usage(format!("`{text}` speaks without TLS"))
            .hint("write `https://`, or set `allowHttp: true` beside it where the network itself is trusted")),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        VaultLocation::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn each_kind_of_storage_is_known() {
        for text in ["s3://b/p", "gs://b", "az://c/p/q", "file:///srv/backups"] {
            assert_eq!(VaultLocation::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(VaultLocation::parse("file:///srv/b").unwrap().folder(), Some(PathBuf::from("/srv/b")));
        assert_eq!(VaultLocation::parse("s3://b/p").unwrap().folder(), None);
        let spaced = Path::new("/srv/my backups#1");
        assert_eq!(VaultLocation::in_folder(spaced).unwrap().folder().as_deref(), Some(spaced));
        assert!(VaultLocation::in_folder(Path::new("relative")).is_err());
    }

    #[test]
    fn a_place_in_another_overlaps_with_it() {
        let at = |text: &str| VaultLocation::parse(text).unwrap();
        for (one, two) in [("s3://b/p", "s3://b/p/q"), ("s3://b", "s3://b/p"), ("file:///a/b", "file:///a/b/")] {
            assert!(at(one).overlaps(&at(two)) && at(two).overlaps(&at(one)), "{one} {two}");
        }
        for (one, two) in [("s3://b/p", "s3://b/pq"), ("s3://b", "s3://c"), ("s3://b/p", "gs://b/p")] {
            assert!(!at(one).overlaps(&at(two)), "{one} {two}");
        }
    }

    #[test]
    fn what_is_no_vault_is_refused() {
        assert_eq!(why("backups"), "`backups` is no URL (relative URL without a base)");
        assert_eq!(why("s4://b"), "`s4://b` names an unknown kind of storage, `s4`, did you mean `s3`?");
        assert_eq!(why("s3:///p"), "`s3:///p` names no bucket");
        assert_eq!(why("file://srv/b"), "`file://srv/b` is no local folder");
        assert_eq!(why("s3://b/p?x=1"), "`s3://b/p?x=1` holds a `?` or a `#`, which no vault's URL has");
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        assert!(!why("s3://user:hunter2@b/p").contains("hunter2"));
        assert!(!parse_endpoint("https://user:hunter2@h", false).unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn plain_http_must_be_allowed() {
        assert!(parse_endpoint("http://127.0.0.1:9000", false).is_err());
        assert!(parse_endpoint("http://127.0.0.1:9000", true).is_ok());
    }
}
