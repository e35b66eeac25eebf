//! Frames: members as tar entries in one independent Zstandard frame, so that each decodes by itself.

use std::io::{Cursor, Read};

use sha2::{Digest, Sha256};

use super::codec;
use super::index::Entry;
use crate::error::{Context, Error, Result};
use crate::member::{Batch, Member, Part, check_path};

/// How much tar goes into one frame before the next is begun. Reading one member costs one frame, so it is small;
/// large enough that Zstandard finds what repeats.
pub const TARGET: usize = 1 << 20;

/// The end of a tar: two blocks of zeros, in the last frame of a segment.
pub const END_OF_TAR: [u8; 1024] = [0; 1024];

/// What a reader accepts, so that a hostile archive cannot fill the memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest frame, decoded, in bytes.
    pub frame: u64,
    /// Below this decoded size a frame may be compressed to any ratio; in bytes.
    pub ratio_free: u64,
    /// The highest ratio of decoded to encoded size above that.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { frame: 64 << 20, ratio_free: 16 << 20, ratio: 1000 }
    }
}

impl Limits {
    /// Refuses a frame that claims to be larger than is allowed.
    pub fn check(&self, encoded: u64, decoded: u64) -> Result<()> {
        if decoded > self.frame {
            return Err(Error::integrity(format!(
                "a frame claims {decoded} bytes, more than the limit of {}",
                self.frame
            )));
        }
        if decoded > self.ratio_free && decoded / encoded.max(1) > self.ratio {
            return Err(Error::integrity(format!("a frame claims to unpack {encoded} bytes into {decoded}")));
        }
        Ok(())
    }
}

/// One packed frame.
#[derive(Debug)]
pub struct Frame {
    /// The Zstandard frame.
    pub encoded: Vec<u8>,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Size of the tar inside, in bytes.
    pub decoded_len: u64,
    /// Its members; positions are within the decoded frame.
    pub entries: Vec<Entry>,
}

impl Frame {
    /// Whether the tar goes on in the middle of a file.
    pub fn ends_within_a_file(&self) -> bool {
        self.entries.last().is_some_and(|entry| entry.part.is_some_and(|part| !part.is_last(entry.size)))
    }
}

/// Splits a batch into groups of about [`TARGET`] bytes, each of which becomes a frame. A part of a large file is one by
/// itself.
pub fn split(batch: Batch) -> Vec<Vec<Member>> {
    let mut groups = Vec::new();
    let (mut group, mut size) = (Vec::new(), 0u64);
    for member in batch.members {
        let padded = match member.part {
            Some(_) => TARGET as u64,
            None => 512 + member.size().next_multiple_of(512),
        };
        if size + padded > TARGET as u64 && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            size = 0;
        }
        size += padded;
        group.push(member);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

/// Packs members into a frame, and decodes it again: a compressor's error must not be found out at restore time.
pub fn pack(members: &[Member], modified: u64) -> Result<Frame> {
    if let [Member { part: Some(part), .. }] = members
        && part.offset > 0
    {
        return pack_further_part(&members[0], *part);
    }
    let room = members.iter().map(|m| 1024 + m.size() as usize + 512).sum::<usize>();
    let mut tar = tar::Builder::new(Vec::with_capacity(room + 1024));
    let mut entries = Vec::with_capacity(members.len());
    for member in members {
        let position = tar.get_ref().len() as u64;
        entries.push(append(&mut tar, member, modified, position)?);
    }
    let end = tar.get_ref().len();
    let mut decoded = tar.into_inner().context(|| "pack tar".into())?;
    decoded.truncate(end);
    encode(&decoded, entries)
}

/// A part of a file whose tar header stands in an earlier frame: nothing but content, padded at the file's end.
fn pack_further_part(member: &Member, part: Part) -> Result<Frame> {
    check_part(member, part)?;
    let entry = entry(member, 0);
    match &member.content[..] {
        // Most parts: nothing is copied.
        [content] if content.len().is_multiple_of(512) => encode(content, vec![entry]),
        pieces => {
            let mut decoded = pieces.concat();
            decoded.resize(decoded.len().next_multiple_of(512), 0);
            encode(&decoded, vec![entry])
        }
    }
}

/// Parts must fill tar's blocks, or what follows them stands where no reader looks for it.
fn check_part(member: &Member, part: Part) -> Result<()> {
    let size = member.size();
    let fits = part.offset.is_multiple_of(512)
        && part.filler <= size
        && match part.is_last(size) {
            true => part.offset + size == part.of,
            false => size.is_multiple_of(512),
        };
    match fits {
        true => Ok(()),
        false => Err(Error::failed(format!("pack {}: a part does not fit in its file", member.path))),
    }
}

/// The frame that ends a segment's tar.
pub fn pack_end() -> Result<Frame> {
    encode(&END_OF_TAR, Vec::new())
}

fn append(tar: &mut tar::Builder<Vec<u8>>, member: &Member, modified: u64, position: u64) -> Result<Entry> {
    check_path(&member.path)?;
    if let Some(part) = member.part {
        check_part(member, part)?;
    }
    let mut header = tar::Header::new_gnu();
    // The first part of a file writes its header; the others follow it.
    header.set_size(member.part.map_or(member.size(), |part| part.of));
    header.set_mode(0o600);
    header.set_mtime(member.traits.modified.unwrap_or(modified));
    header.set_entry_type(tar::EntryType::Regular);
    let content = Pieces { pieces: &member.content, at: 0, within: 0 };
    tar.append_data(&mut header, &member.path, content).context(|| format!("pack {}", member.path))?;
    Ok(entry(member, position))
}

fn entry(member: &Member, position: u64) -> Entry {
    let digest = || {
        let mut digest = Sha256::new();
        member.content.iter().for_each(|piece| digest.update(piece));
        digest.finalize().into()
    };
    Entry {
        path: member.path.clone(),
        position,
        size: member.size(),
        sha256: member.part.is_none().then(digest),
        traits: member.traits.clone(),
        part: member.part,
    }
}

fn encode(decoded: &[u8], entries: Vec<Entry>) -> Result<Frame> {
    let encoded = compress(decoded)?;
    let sha256 = Sha256::digest(&encoded).into();
    Ok(Frame { encoded, sha256, decoded_len: decoded.len() as u64, entries })
}

/// One Zstandard frame with checksum and size, decoded again before it is trusted, and within what readers accept.
pub fn compress(decoded: &[u8]) -> Result<Vec<u8>> {
    let encoded = codec::with(|codec| codec.compress(decoded))?;
    Limits::default().check(encoded.len() as u64, decoded.len() as u64)?;
    Ok(encoded)
}

/// Refuses an encoded frame that is not the one that the index knows.
pub fn check_digest(encoded: &[u8], sha256: &[u8; 32]) -> Result<()> {
    match <[u8; 32]>::from(Sha256::digest(encoded)) == *sha256 {
        true => Ok(()),
        false => Err(Error::integrity("a frame does not have the digest that the index says")),
    }
}

/// Decodes one frame whose decoded size the index gave; anything else than exactly that size is refused.
pub fn decode(encoded: &[u8], decoded_len: u64, limits: &Limits) -> Result<Vec<u8>> {
    check_encoded(encoded, decoded_len, limits)?;
    let decoded = zstd::bulk::decompress(encoded, decoded_len as usize)
        .map_err(|e| Error::integrity("decode a frame").because(e))?;
    check_decoded(&decoded, decoded_len)?;
    Ok(decoded)
}

/// The same in memory that this thread uses again, for whoever has no use for it afterwards.
pub fn decode_and<T>(
    encoded: &[u8],
    decoded_len: u64,
    limits: &Limits,
    take: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    check_encoded(encoded, decoded_len, limits)?;
    let checked = |decoded: &[u8]| {
        check_decoded(decoded, decoded_len)?;
        take(decoded)
    };
    codec::with(|codec| {
        let taken = codec.decode(encoded, decoded_len as usize, checked);
        taken.map_err(|e| Error::integrity("decode a frame").because(e))?
    })
}

fn check_encoded(encoded: &[u8], decoded_len: u64, limits: &Limits) -> Result<()> {
    limits.check(encoded.len() as u64, decoded_len)?;
    let one = zstd::zstd_safe::find_frame_compressed_size(encoded)
        .map_err(|_| Error::integrity("a frame is not Zstandard, or is cut short"))?;
    match one == encoded.len() {
        true => Ok(()),
        false => Err(Error::integrity("there is more than one frame where the index knows one")),
    }
}

fn check_decoded(decoded: &[u8], decoded_len: u64) -> Result<()> {
    match decoded.len() as u64 == decoded_len {
        true => Ok(()),
        false => Err(Error::integrity(format!(
            "a frame decodes to {} bytes where the index says {decoded_len}",
            decoded.len()
        ))),
    }
}

/// The content of the member that `entry` names, from its decoded frame; checked against the index.
pub fn member<'a>(decoded: &'a [u8], entry: &Entry) -> Result<&'a [u8]> {
    let (content, _) = member_and_end(decoded, entry)?;
    Ok(content)
}

fn member_and_end<'a>(decoded: &'a [u8], entry: &Entry) -> Result<(&'a [u8], usize)> {
    let (content, end) = content_and_end(decoded, entry)?;
    let is_right = match entry.sha256 {
        Some(sha256) => <[u8; 32]>::from(Sha256::digest(content)) == sha256,
        // The frame's digest vouches for a part, and for nothing else in its place.
        None => entry.part.is_some(),
    };
    match is_right {
        true => Ok((content, end)),
        false => {
            Err(Error::integrity(format!("{}: its content does not have the digest that the index says", entry.path)))
        }
    }
}

fn content_and_end<'a>(decoded: &'a [u8], entry: &Entry) -> Result<(&'a [u8], usize)> {
    check_path(&entry.path)?;
    let broken = |what: &str| Error::integrity(format!("{}: {what}", entry.path));
    let position = usize::try_from(entry.position).map_err(|_| broken("its position is not in its frame"))?;
    let rest = decoded.get(position..).ok_or_else(|| broken("its position is not in its frame"))?;
    let size = usize::try_from(entry.size).map_err(|_| broken("it is cut short"))?;
    let start = match entry.part {
        Some(part) if part.offset > 0 => 0,
        _ => content_start(rest, entry)?,
    };
    let end = start.checked_add(size).ok_or_else(|| broken("it is cut short"))?;
    let content = rest.get(start..end).ok_or_else(|| broken("it is cut short"))?;
    Ok((content, position + end.next_multiple_of(512)))
}

/// Where the content of the tar entry begins that must stand at the begin of `tar`.
fn content_start(tar: &[u8], entry: &Entry) -> Result<usize> {
    let broken = |what: &str| Error::integrity(format!("{}: {what}", entry.path));
    let mut archive = tar::Archive::new(Cursor::new(tar));
    let found = archive
        .entries()
        .and_then(|mut all| all.next().transpose())
        .map_err(|e| broken("its tar entry cannot be read").because(e))?
        .ok_or_else(|| broken("there is no tar entry at its position"))?;
    if found.header().entry_type() != tar::EntryType::Regular {
        return Err(broken("it is not a plain file (links and devices are never unpacked)"));
    }
    if found.path_bytes() != entry.path.as_bytes() {
        return Err(broken("another member stands at its position"));
    }
    if found.size() != entry.part.map_or(entry.size, |part| part.of) {
        return Err(broken("its size is not what the index says"));
    }
    Ok(found.raw_file_position() as usize)
}

/// Every member of a decoded frame, in order, each compared with its digest; refuses bytes that the index does not know.
pub fn members<'a>(decoded: &'a [u8], entries: &[Entry]) -> Result<Vec<&'a [u8]>> {
    all(decoded, entries, member_and_end)
}

/// The same without the members' digests: for a frame whose own digest was compared, which vouches for all that is in it.
pub fn contents<'a>(decoded: &'a [u8], entries: &[Entry]) -> Result<Vec<&'a [u8]>> {
    all(decoded, entries, content_and_end)
}

fn all<'a>(
    decoded: &'a [u8],
    entries: &[Entry],
    one: impl Fn(&'a [u8], &Entry) -> Result<(&'a [u8], usize)>,
) -> Result<Vec<&'a [u8]>> {
    let mut contents = Vec::with_capacity(entries.len());
    let mut expected = 0usize;
    for entry in entries {
        if entry.position != expected as u64 {
            return Err(Error::integrity(format!("{}: bytes before it that the index does not know", entry.path)));
        }
        let (content, end) = one(decoded, entry)?;
        contents.push(content);
        expected = end;
    }
    if expected != decoded.len() {
        return Err(Error::integrity("bytes after the last member that the index does not know"));
    }
    Ok(contents)
}

struct Pieces<'a> {
    pieces: &'a [bytes::Bytes],
    at: usize,
    within: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while let Some(piece) = self.pieces.get(self.at) {
            let rest = &piece[self.within..];
            if rest.is_empty() {
                self.at += 1;
                self.within = 0;
                continue;
            }
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            self.within += n;
            return Ok(n);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use proptest::prelude::*;

    fn named(path: &str, content: &[u8]) -> Member {
        Member::whole(path, vec![bytes::Bytes::copy_from_slice(content)], Default::default())
    }

    fn refused<T: std::fmt::Debug>(result: Result<T>, because: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Integrity, "{error}");
        assert!(error.one_line().contains(because), "{}", error.one_line());
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..20)) {
            let path = |i: usize| format!("{}/{i}", "d".repeat(1 + i * 12));
            let members: Vec<_> = contents.iter().enumerate().map(|(i, c)| named(&path(i), c)).collect();
            let frame = pack(&members, 0).unwrap();
            let decoded = decode(&frame.encoded, frame.decoded_len, &Limits::default()).unwrap();
            let all = super::members(&decoded, &frame.entries).unwrap();
            for (content, one) in contents.iter().zip(&all) {
                prop_assert_eq!(&content[..], *one);
            }
        }
    }

    /// The parts of a file as a source sends them.
    fn parts(path: &str, content: &[u8]) -> Vec<Member> {
        let part = |(n, piece): (usize, &[u8])| Member {
            part: Some(Part { offset: n as u64 * 1024, of: content.len() as u64, filler: 0 }),
            ..named(path, piece)
        };
        content.chunks(1024).enumerate().map(part).collect()
    }

    #[test]
    fn the_frames_of_a_large_file_are_together_a_tar_that_others_read() {
        let content: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        let mut members = vec![named("before", b"1")];
        members.extend(parts(&format!("{}/large", "d".repeat(150)), &content));
        members.push(named("after", b"2"));
        let mut tar = Vec::new();
        for group in split(Batch { members }) {
            let frame = pack(&group, 0).unwrap();
            let decoded = decode(&frame.encoded, frame.decoded_len, &Limits::default()).unwrap();
            let all = super::members(&decoded, &frame.entries).unwrap();
            assert_eq!(all.len(), group.len());
            for (content, member) in all.iter().zip(&group) {
                assert_eq!(*content, member.content.concat());
            }
            tar.extend(decoded);
        }
        tar.extend(END_OF_TAR);
        let mut archive = tar::Archive::new(&tar[..]);
        let mut read = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            read.push(bytes);
        }
        assert_eq!(read, [b"1".to_vec(), content, b"2".to_vec()]);
    }

    #[test]
    fn parts_that_do_not_fit_in_their_file_are_not_packed() {
        let good = parts("a", &[7; 3000]);
        let with = |n: usize, change: fn(&mut Part)| {
            let mut member = good[n].clone();
            change(member.part.as_mut().unwrap());
            pack(&[member], 0).unwrap_err()
        };
        assert!(with(1, |part| part.offset = 1).to_string().contains("does not fit"));
        assert!(with(2, |part| part.of = 2999).to_string().contains("does not fit"));
        assert!(with(2, |part| part.of = 4000).to_string().contains("does not fit"));
        assert!(with(0, |part| part.filler = 2000).to_string().contains("does not fit"));
    }

    #[test]
    fn a_link_is_refused() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "a", "/etc/passwd").unwrap();
        let decoded = tar.into_inner().unwrap();
        let entry = Entry { path: "a".into(), position: 0, size: 0, sha256: Some([0; 32]), ..Entry::default() };
        refused(member(&decoded, &entry), "not a plain file");
    }

    #[test]
    fn a_frame_beyond_the_limits_is_refused_before_it_is_decoded() {
        let zeros = vec![0u8; 20 << 20];
        let encoded = zstd::bulk::compress(&zeros, 3).unwrap();
        refused(decode(&encoded, zeros.len() as u64, &Limits::default()), "claims to unpack");
        refused(decode(&encoded, 65 << 20, &Limits::default()), "more than the limit");
    }

    #[test]
    fn a_frame_that_decodes_to_another_size_is_refused() {
        let frame = pack(&[named("a", b"x")], 0).unwrap();
        refused(decode(&frame.encoded, frame.decoded_len + 1, &Limits::default()), "bytes where the index says");
        refused(decode(&frame.encoded, frame.decoded_len - 1, &Limits::default()), "decode a frame");
    }

    #[test]
    fn entries_that_the_index_does_not_know_and_trailing_data_are_refused() {
        let frame = pack(&[named("a", b"x"), named("b", b"y")], 0).unwrap();
        let decoded = decode(&frame.encoded, frame.decoded_len, &Limits::default()).unwrap();
        refused(members(&decoded, &frame.entries[..1]), "after the last member");
        refused(members(&decoded, &frame.entries[1..]), "bytes before it");
        let mut longer = frame.encoded.clone();
        longer.extend(pack_end().unwrap().encoded);
        refused(decode(&longer, frame.decoded_len, &Limits::default()), "more than one frame");
    }

    #[test]
    fn another_members_bytes_at_the_right_length_are_refused() {
        let frame = pack(&[named("a", b"1"), named("b", b"2")], 0).unwrap();
        let decoded = decode(&frame.encoded, frame.decoded_len, &Limits::default()).unwrap();
        let mut swapped = frame.entries[0].clone();
        swapped.position = frame.entries[1].position;
        refused(member(&decoded, &swapped), "another member");
        let mut changed = frame.entries[0].clone();
        changed.sha256 = Some([7; 32]);
        refused(member(&decoded, &changed), "digest");
        changed.sha256 = None;
        refused(member(&decoded, &changed), "digest");
    }
}
