//! A file with the credentials of one place: lines of `NAME=value`, as in the environment. Whoever has such a file needs
//! nothing of the environment, where the vault's own credentials stand.

use std::path::Path;

use super::StoreSettings;
use crate::error::{Context, Error, Result};

/// Reads a file with settings for a storage of this scheme.
pub(super) fn read(file: &Path, scheme: &str) -> Result<StoreSettings> {
    let text = std::fs::read_to_string(file).context(|| format!("read the credentials in {}", file.display()));
    let text = text.map_err(|e| e.hint("check the path in `credentialsFile`, and that this user may read it"))?;
    parse(&text, prefix(scheme)).map_err(|e| e.within(format!("read the credentials in {}", file.display())))
}

fn prefix(scheme: &str) -> &'static str {
    match scheme {
        "gs" => "GOOGLE_",
        "az" => "AZURE_",
        _ => "AWS_",
    }
}

/// Lines are told by their numbers: what stands in them is secret.
fn parse(text: &str, prefix: &str) -> Result<StoreSettings> {
    let mut environment = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if name.trim().starts_with(prefix) => {
                environment.push((name.trim().to_string(), value.trim().to_string()));
            }
            _ => {
                return Err(Error::usage(format!("line {} is no setting", number + 1))
                    .hint(format!("write each as `{prefix}…=value`, as in the environment")));
            }
        }
    }
    Ok(StoreSettings { environment })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_in_the_environment() {
        let text = "# of the audit archive\n\nAWS_ACCESS_KEY_ID=key\n AWS_SECRET_ACCESS_KEY = se=cret \n";
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        let expected = [pair("AWS_ACCESS_KEY_ID", "key"), pair("AWS_SECRET_ACCESS_KEY", "se=cret")];
        assert_eq!(parse(text, "AWS_").unwrap().environment, expected);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for text in ["hunter2", "AWS_ACCESS_KEY_ID=key\nAZURE_STORAGE_ACCOUNT_KEY=hunter2", "[default]\nhunter2"] {
            let wrong = parse(text, "AWS_").unwrap_err();
            assert!(!wrong.one_line().contains("hunter2") && wrong.to_string().contains("is no setting"), "{wrong}");
        }
        let missing = read(Path::new("/no/such/file"), "s3").unwrap_err();
        assert!(missing.to_string().contains("/no/such/file"));
    }
}
