//! The index of a segment: where every member is, what digest it has, and what a restore selects it by.
//!
//! An index is an age file around Zstandard frames. Each frame holds JSON lines, one for each member of one frame of the
//! segment. The last frame is the directory: one line for each frame, with the first and last path in it. The manifest
//! says where the directory begins, so one member is found with two small ranged reads, however large the segment. It
//! does not say whose index it is, so a segment and its index can be copied together into the next backup.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::frame::{self, Limits};
use super::segment::PackedFrame;
use crate::error::{Error, Result};
use crate::member::{Part, Traits};

/// A member, or a part of one, in its place within its frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Path in the tar.
    pub path: String,
    /// Where its tar entry begins in the decoded frame, in bytes. A part that is not the first has none, and stands at the
    /// frame's begin.
    pub position: u64,
    /// Size of its content, in bytes; of a part: of that part.
    pub size: u64,
    /// SHA-256 of its content. Parts have none: each is all of a frame, whose own digest vouches for it.
    #[serde(default, with = "optional_hex", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<[u8; 32]>,
    /// What a restore selects by.
    #[serde(default, skip_serializing_if = "Traits::is_empty")]
    pub traits: Traits,
    /// Which part of the member it is, where that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

impl Entry {
    /// Whether a member begins here. Those that have several parts are counted once.
    pub fn begins_member(&self) -> bool {
        self.part.is_none_or(|part| part.offset == 0)
    }
}

/// One frame of a segment, and where the index describes its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameRecord {
    /// Where the frame begins in the segment's Zstandard stream (the plaintext of the age file), in bytes.
    pub offset: u64,
    /// Size of the encoded frame, in bytes.
    pub length: u64,
    /// Size of the decoded frame, in bytes.
    pub decoded: u64,
    /// SHA-256 of the encoded frame.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// How many members begin in it.
    pub members: u64,
    /// The least path in it, by bytes.
    pub first: String,
    /// The greatest path in it, by bytes.
    pub last: String,
    /// Where the members' lines are: begin of the frame in the index's Zstandard stream.
    pub lines_offset: u64,
    /// Encoded size of these lines.
    pub lines_length: u64,
    /// Decoded size of these lines.
    pub lines_decoded: u64,
    /// SHA-256 of these lines as encoded: the directory vouches for them, and the manifest for the directory.
    #[serde(with = "hex")]
    pub lines_sha256: [u8; 32],
}

impl FrameRecord {
    /// Whether a member of this path could be in the frame.
    pub fn may_hold(&self, path: &str) -> bool {
        self.first.as_str() <= path && path <= self.last.as_str()
    }

    /// Whether a member whose path begins so could be in the frame.
    pub fn may_hold_prefix(&self, prefix: &str) -> bool {
        self.last.as_str() >= prefix && (self.first.as_str() <= prefix || self.first.starts_with(prefix))
    }
}

/// A digest in hexadecimal digits that may be absent.
mod optional_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(digest: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => hex::serde::serialize(digest, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        #[derive(Deserialize)]
        struct Digest(#[serde(with = "hex")] [u8; 32]);
        Ok(Some(Digest::deserialize(deserializer)?.0))
    }
}

/// How many members begin among the entries.
pub fn begun(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| entry.begins_member()).count() as u64
}

/// Writes an index while its segment is packed; hands out encoded frames that the caller seals and sends on.
#[derive(Debug, Default)]
pub struct IndexWriter {
    offset: u64,
    records: Vec<FrameRecord>,
}

/// Where the directory is in the index's Zstandard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryPlace {
    /// Where its frame begins, in bytes.
    pub offset: u64,
    /// Its encoded size, in bytes.
    pub length: u64,
    /// Its decoded size, in bytes.
    pub decoded: u64,
    /// SHA-256 of its encoded form.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
}

impl IndexWriter {
    /// Describes one frame of the segment; returns the bytes that the index grows by.
    pub fn add(&mut self, frame: &PackedFrame) -> Result<Vec<u8>> {
        let PackedFrame { offset, length, decoded, sha256, ref entries } = *frame;
        let (lines, encoded) = encode_lines(entries)?;
        let paths = || entries.iter().map(|e| e.path.as_str());
        self.records.push(FrameRecord {
            offset,
            length,
            decoded,
            sha256,
            members: begun(entries),
            first: paths().min().unwrap_or_default().into(),
            last: paths().max().unwrap_or_default().into(),
            lines_offset: self.offset,
            lines_length: encoded.len() as u64,
            lines_decoded: lines as u64,
            lines_sha256: Sha256::digest(&encoded).into(),
        });
        self.offset += encoded.len() as u64;
        Ok(encoded)
    }

    /// The directory: the index's last frame, and its place.
    pub fn finish(self) -> Result<(Vec<u8>, DirectoryPlace)> {
        let (lines, encoded) = encode_lines(&self.records)?;
        let place = DirectoryPlace {
            offset: self.offset,
            length: encoded.len() as u64,
            decoded: lines as u64,
            sha256: Sha256::digest(&encoded).into(),
        };
        Ok((encoded, place))
    }
}

fn encode_lines<T: Serialize>(values: &[T]) -> Result<(usize, Vec<u8>)> {
    let mut lines = Vec::new();
    for value in values {
        serde_json::to_writer(&mut lines, value).map_err(|e| Error::failed("write the index").because(e))?;
        lines.push(b'\n');
    }
    let encoded = frame::compress(&lines).map_err(|e| e.within("write the index"))?;
    Ok((lines.len(), encoded))
}

fn decode_lines<T: for<'a> Deserialize<'a>>(
    encoded: &[u8],
    sha256: &[u8; 32],
    decoded: u64,
    limits: &Limits,
) -> Result<Vec<T>> {
    // Whoever can write to the vault can also seal for its recipients: only what the signed manifest vouches for counts.
    if <[u8; 32]>::from(Sha256::digest(encoded)) != *sha256 {
        return Err(Error::integrity("part of the index does not have the digest that vouches for it"));
    }
    let lines = frame::decode(encoded, decoded, limits).map_err(|e| e.within("read the index"))?;
    let mut values = Vec::new();
    for line in lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        values.push(
            serde_json::from_slice(line)
                .map_err(|e| Error::integrity("the index has a line that cannot be read").because(e))?,
        );
    }
    Ok(values)
}

/// Reads the directory from its encoded frame.
pub fn read_directory(encoded: &[u8], place: &DirectoryPlace, limits: &Limits) -> Result<Vec<FrameRecord>> {
    // A directory grows with the segment (about 400 bytes for each MiB of tar), so it has a limit of its own.
    let limits = Limits { frame: limits.frame.max(1 << 30), ..*limits };
    decode_lines(encoded, &place.sha256, place.decoded, &limits)
}

/// Reads the members that `record` describes from the encoded frame of their lines.
pub fn read_entries(encoded: &[u8], record: &FrameRecord, limits: &Limits) -> Result<Vec<Entry>> {
    let entries: Vec<Entry> = decode_lines(encoded, &record.lines_sha256, record.lines_decoded, limits)?;
    if begun(&entries) != record.members {
        return Err(Error::integrity("the index's directory and its lines disagree on the number of members"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry { path: path.into(), position: 0, size: 5, sha256: Some([3; 32]), ..Entry::default() }
    }

    fn packed(offset: u64, entries: &[Entry]) -> PackedFrame {
        PackedFrame { offset, length: 10, decoded: 20, sha256: [4; 32], entries: entries.to_vec() }
    }

    fn writer_of(path: &str) -> Vec<u8> {
        IndexWriter::default().add(&packed(0, &[entry(path)])).unwrap()
    }

    #[test]
    fn what_is_written_is_found_again() {
        let mut writer = IndexWriter::default();
        let mut bytes = writer.add(&packed(0, &[entry("b"), entry("a")])).unwrap();
        bytes.extend(writer.add(&packed(10, &[entry("c")])).unwrap());
        let (directory, place) = writer.finish().unwrap();
        assert_eq!(place.offset, bytes.len() as u64);
        let records = read_directory(&directory, &place, &Limits::default()).unwrap();
        assert!(records[0].may_hold("a") && records[0].may_hold("ab") && !records[0].may_hold("c"));
        assert!(records[1].may_hold_prefix("c") && !records[1].may_hold_prefix("d"));
        let at = records[1].lines_offset as usize;
        let entries = read_entries(&bytes[at..], &records[1], &Limits::default()).unwrap();
        assert_eq!(entries, vec![entry("c")]);
        let other = writer_of("x");
        assert!(read_entries(&other, &records[1], &Limits::default()).unwrap_err().to_string().contains("vouches"));
    }
}
