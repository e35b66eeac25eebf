//! A folder of blocks in a pod, read by commands that every image of Prometheus has.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::blocks::{Block, META, is_block_name, sorted};
use super::contents::Contents;
use super::data::MARK;
use crate::command::Place;
use crate::error::{Error, Result};
use crate::inventory::Omission;
use crate::sources::file_reader::Found;

/// How long a question may take. Removing a snapshot, or listing one, touches no more than some hundred files.
const QUESTION: Duration = Duration::from_secs(120);

/// How often a folder is listed before it is given up: a block that Prometheus removes meanwhile ends a listing.
const TRIES: usize = 3;

/// Descriptions that are read by one command, whose line must not grow without end.
const AT_ONCE: usize = 100;

const NAMES: &str = "cd -- \"$1\" 2>/dev/null || exit 0; for f in *; do if [ -e \"$f\" ]; then echo \"$f\"; fi; done";

const IS_THERE: &str = "if [ -d \"$1\" ]; then echo yes; fi";

/// Lists the files of blocks, then the blocks that are there in the end: Prometheus renames a block before it removes it, so
/// that all files of these are in the list.
const FIND: &str = "cd -- \"$1\" || exit 1; set --; \
                    for b in *; do if [ ${#b} = 26 ] && [ -d \"$b\" ]; then set -- \"$@\" \"$b\"; fi; done; \
                    [ $# -gt 0 ] || exit 0; \
                    find \"$@\" -type f -exec stat -c 'file %s %Y %n' {} + || exit 1; \
                    for b; do if [ -f \"$b/meta.json\" ]; then echo \"block $b\"; fi; done";

/// A folder in a pod.
#[derive(Clone)]
pub(super) struct PodFolder {
    pub place: Place,
    pub path: String,
}

/// What a listing says: the files of each block that is there.
type Listing = BTreeMap<String, Vec<Found>>;

impl PodFolder {
    pub fn below(&self, name: &str) -> PodFolder {
        PodFolder { place: self.place.clone(), path: format!("{}/{name}", self.path) }
    }

    pub fn words(&self) -> String {
        format!("{} {}", self.path, self.place.words())
    }

    async fn shell(&self, script: &str) -> Result<String> {
        let command = ["sh", "-c", script, "sh", &self.path].map(String::from);
        self.place.ask(&command, QUESTION).await
    }

    pub async fn is_there(&self) -> Result<bool> {
        Ok(self.shell(IS_THERE).await?.trim() == "yes")
    }

    pub async fn names(&self) -> Result<Vec<String>> {
        Ok(self.shell(NAMES).await?.lines().map(String::from).collect())
    }

    pub async fn mark(&self) -> Result<()> {
        self.shell(&format!(": >\"$1/{MARK}\"")).await.map(drop)
    }

    pub async fn marked(&self) -> Result<Vec<String>> {
        let marked = format!(
            "cd -- \"$1\" 2>/dev/null || exit 0; for f in *; do if [ -e \"$f/{MARK}\" ]; then echo \"$f\"; fi; done"
        );
        Ok(self.shell(&marked).await?.lines().map(String::from).collect())
    }

    pub async fn remove(&self) -> Result<()> {
        self.shell("rm -rf -- \"$1\"").await.map(drop).map_err(|e| e.within(format!("remove {}", self.words())))
    }

    pub async fn find_blocks(&self) -> Result<(Vec<Block>, Vec<Omission>)> {
        let listing = self.list().await.map_err(|e| {
            e.within(format!("look for blocks in {}", self.words()))
                .hint("`data.pod.path` is Prometheus' data directory; its image must have sh, find, stat and cat")
        })?;
        let (mut blocks, mut broken) = (Vec::new(), Vec::new());
        let names: Vec<&String> = listing.keys().collect();
        for some in names.chunks(AT_ONCE) {
            for (name, meta) in some.iter().zip(self.metas(some).await?) {
                // Without one it is gone, or is none yet.
                let Some(meta) = meta else { continue };
                match Block::new(name, &self.words(), &meta, listing[*name].clone()) {
                    Ok(block) => blocks.push(block),
                    Err(e) => {
                        broken.push(Omission { what: format!("block {name}"), why: e.one_line(), count: None });
                    }
                }
            }
        }
        Ok((sorted(blocks), broken))
    }

    async fn list(&self) -> Result<Listing> {
        let mut tried = 1;
        loop {
            match self.shell(FIND).await {
                Ok(answer) => return parse(&answer),
                Err(e) if tried == TRIES => return Err(e),
                Err(_) => tried += 1,
            }
        }
    }

    async fn metas(&self, names: &[&String]) -> Result<Vec<Option<Vec<u8>>>> {
        let files: Vec<String> = names.iter().map(|name| format!("{name}/{META}")).collect();
        let mut contents = Contents::open(self, &files).await?;
        let mut metas = Vec::new();
        for file in files {
            metas.push(match contents.next().await? {
                Some(size) if size > MOST_META => return Err(Error::failed(format!("{file} is of {size} bytes"))),
                Some(size) => Some(contents.read(size).await?.to_vec()),
                None => None,
            });
        }
        contents.end().await?;
        Ok(metas)
    }
}

/// More than any description is, in bytes.
const MOST_META: u64 = 16 << 20;

fn parse(answer: &str) -> Result<Listing> {
    let mut files: Listing = BTreeMap::new();
    let mut listing = BTreeMap::new();
    for line in answer.lines() {
        let wrong = || Error::failed(format!("a listing holds `{line}`"));
        match line.split_once(' ').ok_or_else(wrong)? {
            ("file", rest) => {
                let found = parse_file(rest).ok_or_else(wrong)?;
                let block = found.path.split('/').next().unwrap_or_default().to_string();
                files.entry(block).or_default().push(found);
            }
            ("block", name) if is_block_name(name) => {
                listing.insert(name.to_string(), files.remove(name).unwrap_or_default());
            }
            ("block", _) => {}
            _ => return Err(wrong()),
        }
    }
    Ok(listing)
}

/// Size, seconds since 1970, path.
fn parse_file(text: &str) -> Option<Found> {
    let mut fields = text.splitn(3, ' ');
    let (size, seconds) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Some(Found { path: fields.next()?.into(), size, modified, changed: (0, 0), node: (0, 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_that_are_there_in_the_end_are_listed() {
        let (there, gone) = ("01BX5ZZKBKACTAV9WEVGEMMVRZ", "01BX5ZZKBKACTAV9WEVGEMMVS0");
        let answer = format!("file 9 1 {there}/index\nfile 8 2 {gone}/index\nfile 7 3 {there}/{META}\nblock {there}\n");
        let listing = parse(&answer).unwrap();
        assert_eq!(listing.keys().collect::<Vec<_>>(), [there]);
        let files: Vec<_> = listing[there].iter().map(|found| (found.size, found.modified_seconds())).collect();
        assert_eq!(files, [(9, 1), (7, 3)]);
        assert!(parse("file x 1 a\n").is_err() && parse("find: no\n").is_err());
    }
}
