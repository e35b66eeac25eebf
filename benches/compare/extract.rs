//! `ckbackup extract` of one object from the largest segment on S3, against reading that segment whole.

use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStoreExt, path::Path as Key};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::platform::{self, Platform};
use crate::servers::{self, S3};
use crate::table::{Reach, Row};

const REACH: Reach = Reach::RatioAtMost(1.0 / 20.0);

/// So that 31,000 Secrets of random bytes make a segment of more than 256 MiB.
const SECRET_BYTES: usize = 9 * 1024;

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("one object by extract against its whole segment, on S3");
    let scale = bench.settings.scale.with_secret_bytes(SECRET_BYTES);
    let s3 = S3::start(bench).await?;
    let bucket = s3.bucket_folder.clone();
    let reader = PlainReader::new(bench, &s3)?;
    let place = Place::S3(Box::new(s3));
    let summary = fill_vault(bench, &Platform::build(scale)?, &place).await?;
    let segment = only_segment(&bucket, &summary)?;
    bench.say(format!("  the segment has {:.0} MiB", segment.bytes as f64 / f64::from(1 << 20)));

    let schedule = ckbackup::write_schedule(bench, &place)?;
    let (mut one, mut whole, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.settings.rounds {
        let wanted = platform::secret_address(scale.secrets * round / (bench.settings.rounds + 1));
        one.push(ckbackup::extract(bench, &place, &schedule, Some(&wanted))?.seconds);
        whole.push(ckbackup::extract(bench, &place, &schedule, None)?.seconds);
        plain.push(reader.read(&segment.key).await?);
        let at = round - 1;
        bench.say(format!(
            "  round {round}: one {:.3} s, whole by extract {:.3} s, whole by age and zstd {:.3} s",
            one[at], whole[at], plain[at]
        ));
    }
    let details = json!({"segmentBytes": segment.bytes, "secrets": scale.secrets, "secretBytes": scale.secret_bytes});
    let row = |peer_name: &str, peer, reach| Row {
        figure: format!("extract one object / {peer_name}"),
        unit: "s",
        ours: one.clone(),
        peer,
        reach,
        details: details.clone(),
    };
    Ok(vec![
        row("whole segment by extract", whole, REACH),
        row("whole segment by one GET, age and zstd", plain, Reach::Nothing),
    ])
}

/// Gives the summary of the backup. The cluster is gone before anything is measured.
async fn fill_vault(bench: &Bench, platform: &Platform, place: &Place) -> Result<Value> {
    let cluster = servers::filled_cluster(bench, platform).await?;
    let backup = ckbackup::back_up(bench, &cluster, place)?;
    servers::discard(bench, cluster).await?;
    Ok(backup.summary)
}

struct Segment {
    key: String,
    bytes: u64,
}

/// With more than one, it would have to be known which object is in which.
fn only_segment(bucket: &Path, summary: &Value) -> Result<Segment> {
    let (cluster, id) = summary["cluster"].as_str().zip(summary["id"].as_str()).context("an unusual summary")?;
    let folder = format!("vault/{cluster}/{id}/platform");
    let mut files = std::fs::read_dir(bucket.join(&folder))?.collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.file_name().to_string_lossy().ends_with(".tar.zst.age"));
    ensure!(files.len() == 1, "there are {} segments: give fewer Secrets", files.len());
    let key = format!("{folder}/{}", files[0].file_name().to_string_lossy());
    Ok(Segment { key, bytes: files[0].metadata()?.len() })
}

/// Reads a segment with stock libraries: one request, then age and zstd in one pass.
struct PlainReader {
    store: object_store::aws::AmazonS3,
    identity: age::x25519::Identity,
}

impl PlainReader {
    fn new(bench: &Bench, s3: &S3) -> Result<PlainReader> {
        let (key_id, secret) = s3.key();
        let builder = AmazonS3Builder::new()
            .with_endpoint(s3.endpoint())
            .with_bucket_name(s3.bucket())
            .with_region(s3.region())
            .with_access_key_id(key_id)
            .with_secret_access_key(secret)
            .with_allow_http(true);
        let file = std::fs::read_to_string(bench.keys.join("on-call/identity.txt"))?;
        let line = file.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).context("no identity")?;
        let identity = line.parse().map_err(anyhow::Error::msg)?;
        Ok(PlainReader { store: builder.build()?, identity })
    }

    async fn read(&self, key: &str) -> Result<f64> {
        let begin = Instant::now();
        let sealed = self.store.get(&Key::from(key)).await?.bytes().await?;
        let identity = self.identity.clone();
        tokio::task::spawn_blocking(move || {
            let packed = age::Decryptor::new(&sealed[..])?.decrypt(std::iter::once(&identity as &dyn age::Identity))?;
            anyhow::Ok(zstd::stream::copy_decode(packed, io::sink())?)
        })
        .await??;
        Ok(begin.elapsed().as_secs_f64())
    }
}
