//! The records of a cluster: written, found, and checked.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::config::Name;
use crate::error::{Error, Kind, Result};
use crate::vault::quarter::Quarter;
use crate::vault::record::{RECORDS, Record, RecordBody, RecordKind, RecordName};
use crate::vault::signature::{SignedBy, Signer, Signers};
use crate::vault::{Created, Listed, ReadError, Vault};

/// A larger one was put there to fill the memory; bytes.
const LARGEST: u64 = 4 << 20;

/// How many are read at the same time.
const AT_ONCE: usize = 8;

/// How many there may be of one kind, name and second.
const SAME_SECOND: u32 = 100;

/// A record that holds.
#[derive(Debug, Clone)]
pub struct FoundRecord {
    /// Its key in the vault.
    pub key: String,
    /// What it says.
    pub record: Record,
    /// Who says it; nobody knows where no trusted signers are given.
    pub by: Option<SignedBy>,
}

/// The records of a cluster.
#[derive(Debug, Default)]
pub struct Records {
    /// Those that hold, by their keys: oldest first.
    pub good: Vec<FoundRecord>,
    /// Those that do not, and why.
    pub refused: Vec<(String, Error)>,
    /// Those of kinds that this program does not know; their signatures were not looked at.
    pub unknown: Vec<String>,
    /// The first quarter that has any, wanted or not.
    pub first: Option<Quarter>,
}

/// Signs a record and stores it; gives its key. Nothing is overwritten: one of the same second gets the next free key.
pub async fn append_record(
    vault: &Vault,
    signer: &Signer,
    cluster: &str,
    name: &Name,
    at: Timestamp,
    body: RecordBody,
) -> Result<String> {
    let record = Record {
        cluster: cluster.into(),
        name: name.clone(),
        at: crate::clock::to_seconds(at),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        body,
    };
    let bytes = Bytes::from(record.to_bytes()?);
    let signature = Bytes::from(signer.sign(record.body.kind().purpose(), &bytes)?.into_bytes());
    for nth in 1..=SAME_SECOND {
        let key = record.key(nth);
        // The signature first: without the other, nobody looks at it. Whoever has it has the key.
        if let Created::Taken = vault.create(&format!("{key}.sig"), signature.clone()).await? {
            continue;
        }
        if let Created::Yes(_) = vault.create(&key, bytes.clone()).await? {
            return Ok(key);
        }
    }
    Err(Error::failed(format!("{} and all keys after it are taken", record.key(1))).hint("run it again"))
}

/// Reads the records of a cluster whose names are wanted.
pub async fn records(
    vault: &Vault,
    cluster: &str,
    signers: Option<&Signers>,
    is_wanted: impl Fn(&RecordName) -> bool,
) -> Result<Records> {
    let mut records = Records::default();
    let mut keys = Vec::new();
    for Listed { key, bytes } in vault.list(&format!("{cluster}/{RECORDS}")).await? {
        let Some(name) = RecordName::parse(cluster, &key) else { continue };
        records.first = Some(records.first.map_or(name.quarter, |first| first.min(name.quarter)));
        if !is_wanted(&name) {
            continue;
        }
        match RecordKind::parse(&name.kind) {
            None => records.unknown.push(key),
            Some(_) if bytes > LARGEST => {
                records
                    .refused
                    .push((key, Error::integrity(format!("it has {bytes} bytes, far more than it can have"))));
            }
            Some(kind) => keys.push((key, name, kind)),
        }
    }
    keys.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let reads = keys.into_iter().map(|(key, name, kind)| async move {
        match read(vault, cluster, &key, name.nth, kind, signers).await {
            Err(e) if e.kind() != Kind::Integrity => Err(e),
            checked => Ok((key, checked)),
        }
    });
    let read: Vec<_> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    let mut seen = BTreeSet::new();
    for (key, checked) in read {
        match checked {
            // A copy under the next key would make two of one.
            Ok((bytes, _)) if !seen.insert(bytes.clone()) => {
                records.refused.push((key, Error::integrity("it is a copy of another record")));
            }
            Ok((_, found)) => records.good.push(found),
            Err(e) => records.refused.push((key, e)),
        }
    }
    records.refused.sort_by(|a, b| a.0.cmp(&b.0));
    records.unknown.sort();
    Ok(records)
}

async fn read(
    vault: &Vault,
    cluster: &str,
    key: &str,
    nth: u32,
    kind: RecordKind,
    signers: Option<&Signers>,
) -> Result<(Bytes, FoundRecord)> {
    let bytes = vault.read(key, None).await.map_err(|e| e.expected(key))?;
    let by = match signers {
        None => None,
        Some(signers) => {
            let signature = match vault.read(&format!("{key}.sig"), None).await {
                Ok(signature) => signature,
                Err(ReadError::NotFound) => return Err(Error::integrity("its signature is missing")),
                Err(ReadError::Other(e)) => return Err(e),
            };
            let at = Record::parse(&bytes).map_or_else(|_| Timestamp::now(), |claimed| claimed.at);
            Some(signers.verify(kind.purpose(), &bytes, &signature, at)?)
        }
    };
    let record = Record::parse(&bytes)?;
    if record.cluster != cluster || record.body.kind() != kind || record.key(nth) != key {
        return Err(Error::integrity("it was copied from another place"));
    }
    Ok((bytes, FoundRecord { key: key.into(), record, by }))
}
