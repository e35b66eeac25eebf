//! A backup that is opened as the vault's README.txt says: with `ssh-keygen`, `sha256sum`, `age`, `zstd` and `tar`, and nothing of
//! this program but the download.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{checked, counted};
use crate::error::{Context, Error, Result};
use crate::reader::OpenBackup;
use crate::report::model::{CountCheck, Verification, VerificationKind};
use crate::vault::layout::{MANIFEST, SIGNATURE};
use crate::vault::manifest::{SegmentRecord, StoredObject};

/// How much of an object is downloaded with one request.
const PART: u64 = 8 << 20;

/// Members of each source that are compared with what this program reads.
const SAMPLE: usize = 10;

/// What the tools are given.
#[derive(Debug, Clone)]
pub struct StockKeys {
    /// Files with identities.
    pub identities: Vec<PathBuf>,
    /// The list of trusted signers; without one the signature is not checked.
    pub signers: Option<PathBuf>,
}

/// Opens every segment of a backup in a folder that is empty, and says how that compares with the manifest.
pub async fn open_with_stock_tools(backup: &OpenBackup, keys: &StockKeys, folder: &Path) -> Result<Verification> {
    let bench = Bench { backup, keys, folder };
    let mut counts = Vec::new();
    let note = match &keys.signers {
        Some(signers) => {
            counts.push(counted(
                "signatures of the manifest that ssh-keygen takes",
                1,
                bench.signatures(signers).await?,
            ));
            None
        }
        None => Some("no list of trusted signers was given, so the signature was not checked".to_string()),
    };
    let (mut objects, mut sound) = (0, 0);
    for source in &backup.manifest.sources {
        let (mut expected, mut found, mut compared, mut same) = (0, 0, 0, 0);
        for segment in &source.segments {
            objects += 2;
            sound += bench.digest(&segment.index.object).await? + bench.digest(&segment.object).await?;
            expected += segment.index.members;
            found += bench.members(segment).await?;
            if compared == 0 {
                (compared, same) = bench.sample(&source.name, segment).await?;
            }
            bench.remove(&segment.object)?;
            bench.remove(&segment.index.object)?;
        }
        counts.push(counted(format!("members of source {} that tar lists", source.name), expected, found));
        counts.push(counted(format!("sampled members of {} that are the same", source.name), compared, same));
    }
    counts.push(counted("stored objects whose SHA-256 is the manifest's", objects, sound));
    let counts: Vec<CountCheck> =
        counts.into_iter().filter(|count| count.expected > 0 || count.found != Some(0)).collect();
    Ok(checked("the backup, opened with stock tools", VerificationKind::StockTools, counts, note))
}

struct Bench<'a> {
    backup: &'a OpenBackup,
    keys: &'a StockKeys,
    folder: &'a Path,
}

impl Bench<'_> {
    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(key.replace('/', "_"))
    }

    fn remove(&self, object: &StoredObject) -> Result<()> {
        let file = self.file(&object.key);
        std::fs::remove_file(&file).context(|| format!("remove {}", file.display()))
    }

    async fn signatures(&self, signers: &Path) -> Result<u64> {
        let (vault, folder) = (self.backup.vault(), self.backup.folder());
        let mut files = Vec::new();
        for name in [MANIFEST, SIGNATURE] {
            let key = folder.of(name);
            let bytes = vault.read(&key, None).await.map_err(|e| e.expected(&key))?;
            let file = self.folder.join(name);
            std::fs::write(&file, &bytes).context(|| format!("write {}", file.display()))?;
            files.push((file, bytes));
        }
        let [(_, manifest), (signature, _)] = &files[..] else { return Ok(0) };
        let mut find = tool("ssh-keygen");
        find.args(["-Y", "find-principals", "-f"]).arg(signers).arg("-s").arg(signature);
        let found = run(&mut find, b"").await?;
        let Some(principal) = found.text.lines().next().filter(|_| found.is_good) else { return Ok(0) };
        let mut verify = tool("ssh-keygen");
        verify.args(["-Y", "verify", "-n", "ckbackup", "-f"]).arg(signers).args(["-I", principal, "-s"]).arg(signature);
        Ok(u64::from(run(&mut verify, manifest).await?.is_good))
    }

    /// Downloads an object, and has its digest made; 1 where it is the manifest's.
    async fn digest(&self, object: &StoredObject) -> Result<u64> {
        let (key, path) = (self.backup.folder().of(&object.key), self.file(&object.key));
        let what = || format!("write {}", path.display());
        let mut file = tokio::fs::File::create(&path).await.context(what)?;
        let mut at = 0;
        while at < object.bytes {
            let end = object.bytes.min(at + PART);
            let part = self.backup.vault().read_range(&key, object.version.as_deref(), at..end).await;
            file.write_all(&part.map_err(|e| e.expected(&key))?).await.context(what)?;
            at = end;
        }
        file.flush().await.context(what)?;
        let made = run(tool("sha256sum").arg(&path), b"").await?;
        let digest = made.text.trim_start_matches('\\').split_whitespace().next().unwrap_or_default();
        Ok(u64::from(made.is_good && digest == hex::encode(object.sha256)))
    }

    /// How many members tar lists; folders are none.
    async fn members(&self, segment: &SegmentRecord) -> Result<u64> {
        let listed = self.unpack(segment, tool("tar").arg("-t")).await?;
        Ok(listed.lines().filter(|line| !line.ends_with('/')).count() as u64)
    }

    /// Unpacks a few members, and compares them with what this program reads: how many, and how many are the same.
    async fn sample(&self, source: &str, segment: &SegmentRecord) -> Result<(u64, u64)> {
        let number = self.backup.manifest.source(source).and_then(|s| s.segments.iter().position(|one| one == segment));
        let number = number.unwrap_or_default() as u32 + 1;
        let mut wanted = Vec::new();
        for frame in self.backup.directory().iter().filter(|f| &*f.source == source && f.segment == number) {
            for entry in self.backup.entries(frame).await? {
                if wanted.len() < SAMPLE {
                    wanted.push((frame.clone(), entry));
                }
            }
        }
        let names: String = wanted.iter().map(|(_, entry)| format!("{}\0", entry.path)).collect();
        let (list, out) = (self.folder.join("wanted"), self.folder.join("out"));
        std::fs::write(&list, names).context(|| format!("write {}", list.display()))?;
        std::fs::create_dir_all(&out).context(|| format!("make {}", out.display()))?;
        let mut tar = tool("tar");
        // The folder goes first: it holds for the names behind it.
        tar.arg("-x").arg("-C").arg(&out);
        tar.args(["--null", "--no-wildcards", "--verbatim-files-from", "-T"]).arg(&list);
        self.unpack(segment, &mut tar).await?;
        let mut same = 0;
        for (frame, entry) in &wanted {
            let ours = self.backup.member(frame, entry).await?;
            let theirs = std::fs::read(out.join(&entry.path)).ok().map(Sha256::digest);
            same += u64::from(theirs == Some(Sha256::digest(ours)));
        }
        std::fs::remove_dir_all(&out).context(|| format!("remove {}", out.display()))?;
        Ok((wanted.len() as u64, same))
    }

    /// `age -d | zstd -d | tar`: what tar prints. Every one of them must come to a good end.
    async fn unpack(&self, segment: &SegmentRecord, tar: &mut Command) -> Result<String> {
        let path = self.file(&segment.object.key);
        let mut age = tool("age");
        age.arg("-d");
        for file in &self.keys.identities {
            age.arg("-i").arg(file);
        }
        let mut age = spawn(age.arg(&path).stdin(Stdio::null()))?;
        let mut zstd = spawn(tool("zstd").args(["-d", "-q", "-c"]).stdin(output_of(&mut age)?))?;
        let mut tar = spawn(tar.args(["-f", "-"]).stdin(output_of(&mut zstd)?))?;
        let mut listed = String::new();
        if let Some(mut out) = tar.stdout.take() {
            out.read_to_string(&mut listed).await.context(|| "read what tar lists".into())?;
        }
        for (name, child) in [("tar", tar), ("zstd", zstd), ("age", age)] {
            ended(name, child, &path).await?;
        }
        Ok(listed)
    }
}

async fn ended(name: &str, child: Child, path: &Path) -> Result<()> {
    let output = child.wait_with_output().await.context(|| format!("wait for {name}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            Err(Error::failed(format!("{name} of {} ended with {}: {said}", path.display(), output.status)))
        }
    }
}

fn output_of(child: &mut Child) -> Result<Stdio> {
    let out = child.stdout.take().ok_or_else(|| Error::failed("a tool has no output"))?;
    out.try_into().context(|| "connect two tools".into())
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    // Names of any alphabet are listed as they are.
    command.env("LC_ALL", "C.UTF-8").kill_on_drop(true);
    command
}

fn spawn(command: &mut Command) -> Result<Child> {
    let name = command.as_std().get_program().to_string_lossy().to_string();
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| {
        Error::failed(format!("start {name}")).because(e).hint(
            "this scenario needs ssh-keygen, sha256sum, age, zstd and tar, as whoever restores without ckbackup does",
        )
    })
}

struct Ran {
    is_good: bool,
    text: String,
}

async fn run(command: &mut Command, input: &[u8]) -> Result<Ran> {
    let mut child = spawn(command.stdin(Stdio::piped()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it all says so by how it ends.
        let _ = stdin.write_all(input).await;
    }
    let output = child.wait_with_output().await.context(|| "wait for a tool".into())?;
    Ok(Ran { is_good: output.status.success(), text: String::from_utf8_lossy(&output.stdout).to_string() })
}
