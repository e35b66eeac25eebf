//! `keygen`: the keys that backups need.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::{DONE, Global, Outcome, Output};
use crate::archive::age::generate_identity;
use crate::error::{Context, Error, Result};
use crate::vault::signature::Purpose;

const EXAMPLES: &str = "\
Examples:
  ckbackup keygen --dir keys                           an identity that opens backups, and a signing key
  ckbackup keygen --dir escrow --only identity         a second identity, for the safe
  ckbackup keygen --principal backup@prod --only signing
  ckbackup keygen --dir keeper --only attesting        signs what was verified, and cannot make backups";

/// A key that signs, and how its files are called.
struct SigningFiles {
    key: &'static str,
    public: &'static str,
    trusted: &'static str,
    signs: &'static [Purpose],
    purposes: [&'static str; 3],
}

const SIGNING: SigningFiles = SigningFiles {
    key: "signing_key",
    public: "signing_key.pub",
    trusted: "allowed_signers",
    signs: &[Purpose::Backup, Purpose::Record],
    purposes: [
        "signs backups. Into the cluster, where signing.keyFile of the schedule says; nowhere else",
        "the public half of it",
        "tells who may have made backups (--signers). Keep it with the identity, not in the vault",
    ],
};

const ATTESTING: SigningFiles = SigningFiles {
    key: "attesting_key",
    public: "attesting_key.pub",
    trusted: "allowed_attesters",
    signs: &[Purpose::Attestation, Purpose::ProofRecord, Purpose::Report],
    purposes: [
        "signs what was verified (--attest). With the keeper; not in the cluster",
        "the public half of it",
        "its line goes into the file of trusted signers (--signers), beside that of the signing key",
    ],
};

/// Make the keys that backups need; files that exist are never overwritten
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KeygenArgs {
    /// The folder for the files
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Begins the files' names: NAME-identity.txt, …
    #[arg(long)]
    name: Option<crate::config::Name>,
    /// Who signs, as it stands in the file of trusted signers [default: backup@cluster, keeper@vault]
    #[arg(long, value_parser = parse_principal)]
    principal: Option<String>,
    /// Make only this; identity and signing when nothing is said
    #[arg(long, value_enum)]
    only: Option<Only>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// identity.txt and recipient.txt
    Identity,
    /// signing_key, signing_key.pub and allowed_signers
    Signing,
    /// attesting_key, attesting_key.pub and allowed_attesters: for whoever verifies and may not make backups
    Attesting,
}

/// One file that is about to be written.
struct NewFile {
    name: String,
    text: Zeroizing<String>,
    secret: bool,
    purpose: &'static str,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    files: Vec<FileReport>,
    /// The public key to encrypt for.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    /// Fingerprint of the signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    path: String,
    secret: bool,
    purpose: &'static str,
}

pub(super) fn run(args: &KeygenArgs, global: &Global) -> Outcome {
    let mut report = Report::default();
    let mut files = Vec::new();
    if matches!(args.only, None | Some(Only::Identity)) {
        files.extend(identity_files(&mut report));
    }
    if matches!(args.only, None | Some(Only::Signing)) {
        files.extend(signing_files(&SIGNING, args.principal.as_deref().unwrap_or("backup@cluster"), &mut report)?);
    }
    if args.only == Some(Only::Attesting) {
        files.extend(signing_files(&ATTESTING, args.principal.as_deref().unwrap_or("keeper@vault"), &mut report)?);
    }
    if let Some(name) = &args.name {
        files.iter_mut().for_each(|file| file.name = format!("{name}-{}", file.name));
    }
    write_all(&args.dir, &files)?;
    report.files.extend(files.iter().map(|file| FileReport {
        path: args.dir.join(&file.name).display().to_string(),
        secret: file.secret,
        purpose: file.purpose,
    }));
    global.print(&report, |form| human(&report, form))?;
    Ok(DONE)
}

fn parse_principal(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_graphic() && !"\"',#*?!".contains(c);
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text.into()),
        false => Err("write it like backup@cluster: no blanks, quotes, commas or wildcards".into()),
    }
}

fn identity_files(report: &mut Report) -> [NewFile; 2] {
    let (secret, recipient) = generate_identity();
    let files = [
        NewFile {
            name: "identity.txt".into(),
            text: Zeroizing::new(secret.file_text().into()),
            secret: true,
            purpose: "opens backups. For on-call and the safe; NEVER into the cluster, nor beside the vault",
        },
        NewFile {
            name: "recipient.txt".into(),
            text: Zeroizing::new(format!("{recipient}\n")),
            secret: false,
            purpose: "encrypts for that identity. Its line goes into encryption.recipients of the schedule",
        },
    ];
    report.recipient = Some(recipient);
    files
}

fn signing_files(files: &SigningFiles, principal: &str, report: &mut Report) -> Result<[NewFile; 3]> {
    let mut key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519)
        .context(|| "make a signing key".into())?;
    key.set_comment(principal);
    let text = key.to_openssh(LineEnding::LF).context(|| "write the signing key".into())?;
    let public = key.public_key().to_openssh().context(|| "write the signing key".into())?;
    let data = public.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let namespaces = files.signs.iter().map(|purpose| purpose.namespace()).collect::<Vec<_>>().join(",");
    report.signer = Some(key.fingerprint(HashAlg::Sha256).to_string());
    let [for_key, for_public, for_trusted] = files.purposes;
    Ok([
        NewFile { name: files.key.into(), text, secret: true, purpose: for_key },
        NewFile {
            name: files.public.into(),
            text: Zeroizing::new(format!("{public}\n")),
            secret: false,
            purpose: for_public,
        },
        NewFile {
            name: files.trusted.into(),
            text: Zeroizing::new(format!("{principal} namespaces=\"{namespaces}\" {data}\n")),
            secret: false,
            purpose: for_trusted,
        },
    ])
}

/// All of the files or none. What exists is named before anything is written.
fn write_all(dir: &Path, files: &[NewFile]) -> Result<()> {
    if let Some(path) = files.iter().map(|f| dir.join(&f.name)).find(|path| path.symlink_metadata().is_ok()) {
        return Err(exists(&path));
    }
    let mut folder = DirBuilder::new();
    folder.recursive(true).mode(0o700).create(dir).context(|| format!("make the folder {}", dir.display()))?;
    let mut written = Vec::new();
    for file in files {
        let path = dir.join(&file.name);
        if let Err(e) = write_new(&path, &file.text, &mut written) {
            written.iter().for_each(|path| drop(std::fs::remove_file(path)));
            return Err(e);
        }
    }
    Ok(())
}

fn write_new(path: &Path, text: &str, written: &mut Vec<PathBuf>) -> Result<()> {
    let what = || format!("write {}", path.display());
    let mut file: File = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(exists(path)),
        opened => opened.context(what)?,
    };
    written.push(path.into());
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).context(what)
}

fn exists(path: &Path) -> Error {
    Error::usage(format!("{} exists already, and keys are never overwritten; nothing was written", path.display()))
        .hint("give another folder with --dir, or another beginning of the names with --name")
}

fn human(report: &Report, form: Output) -> String {
    if form == Output::Name {
        return report.files.iter().map(|f| format!("{}\n", f.path)).collect();
    }
    let width = report.files.iter().map(|f| f.path.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for file in &report.files {
        let mark = if file.secret { "SECRET" } else { "public" };
        text.push_str(&format!("{:width$}  {mark}  {}\n", file.path, file.purpose));
    }
    if let Some(recipient) = &report.recipient {
        text.push_str(&format!("\nRecipient:   {recipient}\n"));
    }
    if let Some(signer) = &report.signer {
        text.push_str(&format!("Signing key: {signer}\n"));
    }
    if report.recipient.is_some() {
        text.push_str(
            "\nWhoever loses every identity loses every backup: make a second one for the safe, on another machine\n\
             (`ckbackup keygen --dir escrow --only identity`), and name both recipients in the schedule.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn files() -> Vec<NewFile> {
        let mut report = Report::default();
        let mut files: Vec<_> = identity_files(&mut report).into();
        files.extend(signing_files(&SIGNING, "backup@test", &mut report).unwrap());
        files
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        write_all(&keys, &files()).unwrap();
        for entry in std::fs::read_dir(&keys).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let signers = crate::vault::signature::Signers::read(&keys.join("allowed_signers")).unwrap();
        let signer = crate::vault::signature::Signer::read(&keys.join("signing_key")).unwrap();
        let by = signers
            .verify(
                Purpose::Backup,
                b"m",
                signer.sign(Purpose::Backup, b"m").unwrap().as_bytes(),
                jiff::Timestamp::now(),
            )
            .unwrap();
        assert_eq!(by.principal, "backup@test");
    }

    #[test]
    fn what_exists_is_named_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("allowed_signers"), "mine").unwrap();
        let error = write_all(dir.path(), &files()).unwrap_err();
        assert!(error.to_string().contains("allowed_signers exists already"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_principal_cannot_break_the_file_of_signers() {
        assert!(parse_principal("backup@prod-1").is_ok());
        for bad in ["", "a b", "a\n", "\"a", "a,b", "*", "#a"] {
            assert!(parse_principal(bad).is_err(), "{bad:?}");
        }
    }
}
