//! Blocks of the time series database: which there are, and what they say of themselves.

use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::Limits;
use crate::error::{Context, Error, Result};
use crate::inventory::{Identity, Metrics, Omission};
use crate::sources::file_reader::Found;

/// A block in a folder of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its files, the one that makes it a block last.
    pub files: Vec<Found>,
    /// What decides its content.
    pub identity: Identity,
    /// What it holds.
    pub metrics: Metrics,
}

impl Block {
    /// A block of that name in a folder, by its description and its files.
    pub(super) fn new(name: &str, folder: &str, meta: &[u8], mut files: Vec<Found>) -> Result<Block> {
        let (read, metrics) = parse(meta).map_err(|e| e.within(format!("read the block {folder}/{name}")))?;
        if read.ulid != name {
            return Err(Error::failed(format!("{folder}/{name}: its {META} is that of block {}", read.ulid)));
        }
        files.sort_by(|a, b| (a.path.ends_with(META), &a.path).cmp(&(b.path.ends_with(META), &b.path)));
        let mut digest = Sha256::new();
        digest.update(meta);
        for file in &files {
            digest.update(&file.path);
            digest.update(file.size.to_le_bytes());
        }
        Ok(Block { files, identity: Identity(digest.finalize().into()), metrics })
    }

    /// Its name, which is its folder's.
    pub(super) fn name(&self) -> &str {
        self.files.first().and_then(|file| file.path.split('/').next()).unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// The file that describes a block; without it, Prometheus takes the folder for none.
pub(super) const META: &str = "meta.json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    ulid: String,
    min_time: i64,
    max_time: i64,
    stats: Stats,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    num_series: u64,
    #[serde(default)]
    num_samples: u64,
}

/// Whether a folder is called like a block: a ULID, 26 letters and digits of Crockford's alphabet.
pub fn is_block_name(name: &str) -> bool {
    name.len() == 26 && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase() && !b"ILOU".contains(&b))
}

/// What the description of a block, `meta.json`, says that it holds.
pub fn metrics_of(meta: &[u8]) -> Result<Metrics> {
    Ok(parse(meta)?.1)
}

fn parse(meta: &[u8]) -> Result<(Meta, Metrics)> {
    let read: Meta = serde_json::from_slice(meta).context(|| format!("read a block's {META}"))?;
    let time = |millis| Timestamp::from_millisecond(millis).context(|| format!("read the times of a block's {META}"));
    let metrics = Metrics {
        blocks: 1,
        series: read.stats.num_series,
        samples: read.stats.num_samples,
        first: time(read.min_time)?,
        last: time(read.max_time)?,
    };
    Ok((read, metrics))
}

/// The blocks in a folder, the oldest first. What Prometheus is still writing has another name, and is passed over.
pub(super) fn find_blocks(folder: &Path) -> Result<(Vec<Block>, Vec<Omission>)> {
    let entries = std::fs::read_dir(folder).map_err(|e| {
        Error::failed(format!("read the folder {}", folder.display()))
            .because(e)
            .hint("`data.path` is Prometheus' data directory; check that its volume is mounted and readable here")
    })?;
    let (mut blocks, mut broken) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry.context(|| format!("read the folder {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_block_name(&name) {
            match read_block(&entry.path(), &name) {
                Ok(block) => blocks.extend(block),
                // One that is damaged does not keep the others from being saved.
                Err(e) => broken.push(Omission { what: format!("block {name}"), why: e.one_line(), count: None }),
            }
        }
    }
    Ok((sorted(blocks), broken))
}

/// The oldest first.
pub(super) fn sorted(mut blocks: Vec<Block>) -> Vec<Block> {
    blocks.sort_by_key(|block| (block.metrics.first, block.metrics.last));
    blocks
}

/// None for a block that is gone, or is not one yet.
fn read_block(folder: &Path, name: &str) -> Result<Option<Block>> {
    let place = || format!("read the block {}", folder.display());
    let meta = match std::fs::read(folder.join(META)) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::failed(place()).because(e)),
    };
    let mut files = Vec::new();
    match collect(folder, name, &mut files) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        collected => collected.context(place)?,
    }
    let parent = folder.parent().unwrap_or(folder).display().to_string();
    Block::new(name, &parent, &meta, files).map(Some)
}

fn collect(folder: &Path, path: &str, files: &mut Vec<Found>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else if metadata.is_file() {
            files.push(Found::new(path, &metadata));
        }
    }
    Ok(())
}

/// The newest blocks within the limits, oldest first, and what is left out. A block is taken whole or not at all.
pub(super) fn within(blocks: Vec<Block>, limits: Limits, now: SystemTime) -> (Vec<Block>, Vec<Omission>) {
    let oldest = limits.newer_than.and_then(|age| Timestamp::try_from(now.checked_sub(age)?).ok());
    let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
    let (mut too_old, mut too_much, mut total) = (0u64, 0u64, 0u64);
    for block in blocks.into_iter().rev() {
        let bytes = block.bytes();
        if oldest.is_some_and(|oldest| block.metrics.last < oldest) {
            too_old += 1;
        } else if too_much > 0 || limits.max_size.is_some_and(|most| total.saturating_add(bytes) > most) {
            too_much += 1;
        } else {
            total += bytes;
            chosen.push(block);
        }
    }
    let mut leave_out = |why: String, count: u64| {
        if count > 0 {
            left_out.push(Omission { what: "blocks".into(), why, count: Some(count) });
        }
    };
    let age = limits.newer_than.map(crate::config::format_duration).unwrap_or_default();
    leave_out(format!("older than {age}"), too_old);
    leave_out(format!("beyond the newest {} bytes", limits.max_size.unwrap_or_default()), too_much);
    chosen.reverse();
    (chosen, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write_block(folder: &Path, ulid: &str, min: i64, max: i64, chunk: &[u8]) {
        let block = folder.join(ulid);
        std::fs::create_dir_all(block.join("chunks")).unwrap();
        let stats = "{\"numSamples\":120,\"numSeries\":3,\"numChunks\":3}";
        let meta =
            format!("{{\"ulid\":\"{ulid}\",\"minTime\":{min},\"maxTime\":{max},\"stats\":{stats},\"version\":1}}");
        std::fs::write(block.join(META), meta).unwrap();
        std::fs::write(block.join("chunks/000001"), chunk).unwrap();
        std::fs::write(block.join("index"), b"index").unwrap();
    }

    const HOUR: i64 = 3_600_000;

    #[test]
    fn blocks_are_found_with_what_they_say_of_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = ("01BX5ZZKBKACTAV9WEVGEMMVRZ", "01BX5ZZKBKACTAV9WEVGEMMVS0");
        write_block(folder.path(), new, 2 * HOUR, 4 * HOUR, b"b");
        write_block(folder.path(), old, 0, 2 * HOUR, b"a");
        std::fs::create_dir(folder.path().join("wal")).unwrap();
        // One that Prometheus has not finished.
        std::fs::create_dir(folder.path().join("01BX5ZZKBKACTAV9WEVGEMMVS1")).unwrap();
        let (blocks, broken) = find_blocks(folder.path()).unwrap();
        assert_eq!((blocks.len(), broken.len()), (2, 0));
        let paths: Vec<_> = blocks[0].files.iter().map(|file| file.path.clone()).collect();
        assert_eq!(paths, ["chunks/000001", "index", META].map(|file| format!("{old}/{file}")));
        assert_eq!((blocks[0].metrics.series, blocks[0].metrics.samples), (3, 120));
        assert_ne!(blocks[0].identity, blocks[1].identity);
        assert_eq!(find_blocks(folder.path()).unwrap().0, blocks);

        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(5 * HOUR as u64);
        let newer_than = Some(Duration::from_secs(2 * 3600));
        let (chosen, left_out) = within(blocks.clone(), Limits { newer_than, max_size: None }, now);
        assert_eq!((chosen.len(), chosen[0].metrics.first.as_millisecond()), (1, 2 * HOUR));
        assert_eq!((left_out[0].why.as_str(), left_out[0].count), ("older than 2h", Some(1)));
        let most = blocks[1].bytes();
        let (chosen, left_out) = within(blocks, Limits { newer_than: None, max_size: Some(most) }, now);
        assert_eq!((chosen.len(), left_out[0].count), (1, Some(1)));
    }

    #[test]
    fn a_block_with_the_description_of_another_is_told() {
        let folder = tempfile::tempdir().unwrap();
        write_block(folder.path(), "01BX5ZZKBKACTAV9WEVGEMMVRZ", 0, HOUR, b"a");
        let (from, to) = ("01BX5ZZKBKACTAV9WEVGEMMVRZ", "01BX5ZZKBKACTAV9WEVGEMMVS0");
        std::fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
        write_block(folder.path(), "01BX5ZZKBKACTAV9WEVGEMMVS2", 0, HOUR, b"a");
        let (blocks, broken) = find_blocks(folder.path()).unwrap();
        assert!(blocks.len() == 1 && broken.len() == 1 && broken[0].why.contains(from), "{broken:?}");
        assert!(is_block_name(from) && !is_block_name("wal") && !is_block_name("01BX5ZZKBKACTAV9WEVGEMMVRI"));
    }
}
