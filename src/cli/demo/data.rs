//! What the demo has beside its cluster: the audit log of its API server, and the metrics of a Prometheus.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{path_text, write};
use crate::error::{Context, Error, Result};

/// Two blocks as Prometheus made them: five series, a sample a minute, four hours.
const METRICS: [(&str, &[u8]); 8] = [
    ("01M8B9KCZW16GCQYEDQR0JHB9B/chunks/000001", include_bytes!("metrics/01M8B9KCZW16GCQYEDQR0JHB9B/chunks/000001")),
    ("01M8B9KCZW16GCQYEDQR0JHB9B/index", include_bytes!("metrics/01M8B9KCZW16GCQYEDQR0JHB9B/index")),
    ("01M8B9KCZW16GCQYEDQR0JHB9B/meta.json", include_bytes!("metrics/01M8B9KCZW16GCQYEDQR0JHB9B/meta.json")),
    ("01M8B9KCZW16GCQYEDQR0JHB9B/tombstones", include_bytes!("metrics/01M8B9KCZW16GCQYEDQR0JHB9B/tombstones")),
    ("01M8B9KD0CESGKXJKKHKVYJSPD/chunks/000001", include_bytes!("metrics/01M8B9KD0CESGKXJKKHKVYJSPD/chunks/000001")),
    ("01M8B9KD0CESGKXJKKHKVYJSPD/index", include_bytes!("metrics/01M8B9KD0CESGKXJKKHKVYJSPD/index")),
    ("01M8B9KD0CESGKXJKKHKVYJSPD/meta.json", include_bytes!("metrics/01M8B9KD0CESGKXJKKHKVYJSPD/meta.json")),
    ("01M8B9KD0CESGKXJKKHKVYJSPD/tombstones", include_bytes!("metrics/01M8B9KD0CESGKXJKKHKVYJSPD/tombstones")),
];

/// What the API server is to note: who did what to which object, without contents.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";

/// Puts the metrics and the audit policy into place.
pub(super) fn lay_out(dir: &Path) -> Result<()> {
    for (name, bytes) in METRICS {
        let file = dir.join("data/prometheus").join(name);
        let folder = file.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).context(|| format!("make {}", folder.display()))?;
        std::fs::write(&file, bytes).context(|| format!("write {}", file.display()))?;
    }
    let audit = dir.join("data/audit");
    std::fs::create_dir_all(&audit).context(|| format!("make {}", audit.display()))?;
    write(&dir.join("audit-policy.yaml"), AUDIT_POLICY)
}

/// Makes the API server write an audit log, and begin a new file at each MiB.
pub(super) fn audit_arguments(dir: &Path) -> Vec<String> {
    vec![
        format!("--audit-policy-file={}", path_text(&dir.join("audit-policy.yaml"))),
        format!("--audit-log-path={}", path_text(&dir.join("data/audit/audit.log"))),
        "--audit-log-maxsize=1".into(),
    ]
}

/// Writes the plan that brings both back, into folders of the demo.
pub(super) fn write_plan(dir: &Path) -> Result<()> {
    let text = format!(
        "apiVersion: ckbackup.io/v1
kind: RestorePlan
metadata: {{name: logs-and-metrics}}
spec:
  rto: 4h
  steps:
    - name: metrics
      prometheus: {{source: metrics, to: {restored}/prometheus}}
    - name: audit-logs
      files: {{source: audit, to: {restored}/audit}}
",
        restored = path_text(&dir.join("restored")),
    );
    write(&dir.join("restore-plans/logs-and-metrics.yaml"), &text)
}

/// Every file of the data, by its path.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// Reads all files below a folder.
pub(super) fn read(folder: &Path) -> Result<Data> {
    let mut all = Data::new();
    collect(folder, "", &mut all).context(|| format!("read {}", folder.display()))?;
    Ok(all)
}

fn collect(folder: &Path, path: &str, all: &mut Data) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), &path, all)?,
            false => drop(all.insert(path, std::fs::read(entry.path())?)),
        }
    }
    Ok(())
}

/// Compares what came back with what was there when the cluster was lost: metrics to the byte, and of the logs, which went on
/// after the backup and may have been rotated since, what was saved.
pub(super) fn compare(before: &Data, after: &Data) -> Result<(usize, u64)> {
    let is_log = |path: &str| path.starts_with("audit/");
    let lost = before.keys().filter(|path| !is_log(path)).find(|path| !after.contains_key(*path));
    if let Some(path) = lost {
        return Err(Error::integrity(format!("{path} did not come back")));
    }
    if !after.keys().any(|path| is_log(path)) {
        return Err(Error::integrity("no audit log came back"));
    }
    for (path, content) in after {
        let same = match is_log(path) {
            true => before.values().any(|original| original.starts_with(content)),
            false => before.get(path) == Some(content),
        };
        if !same {
            return Err(Error::integrity(format!("{path} came back, and is not what it was")));
        }
    }
    Ok((after.len(), after.values().map(|content| content.len() as u64).sum()))
}
