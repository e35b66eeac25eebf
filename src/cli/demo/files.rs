//! The files of the demo: schedule, plans and runbooks, as they are shipped.

use std::path::Path;

use crate::error::{Context, Result};

/// Plans and runbooks as they are shipped.
const SHIPPED: [(&str, &str); 14] = [
    ("restore-plans/workload-cluster.yaml", include_str!("../../../restore-plans/workload-cluster.yaml")),
    ("restore-plans/default.yaml", include_str!("../../../restore-plans/default.yaml")),
    ("runbooks/deleted-namespace.md", include_str!("../../../runbooks/deleted-namespace.md")),
    ("runbooks/dns.md", include_str!("../../../runbooks/dns.md")),
    ("runbooks/failed-night.md", include_str!("../../../runbooks/failed-night.md")),
    ("runbooks/first-installation.md", include_str!("../../../runbooks/first-installation.md")),
    ("runbooks/leaked-key.md", include_str!("../../../runbooks/leaked-key.md")),
    ("runbooks/lost-key.md", include_str!("../../../runbooks/lost-key.md")),
    ("runbooks/lost-management-cluster.md", include_str!("../../../runbooks/lost-management-cluster.md")),
    ("runbooks/lost-workload-cluster.md", include_str!("../../../runbooks/lost-workload-cluster.md")),
    ("runbooks/quarterly-drill.md", include_str!("../../../runbooks/quarterly-drill.md")),
    ("runbooks/ransomware.md", include_str!("../../../runbooks/ransomware.md")),
    ("runbooks/restore-with-stock-tools.md", include_str!("../../../runbooks/restore-with-stock-tools.md")),
    ("runbooks/vault-full.md", include_str!("../../../runbooks/vault-full.md")),
];

/// Lays out a folder as a project of its own would look.
pub(super) fn lay_out(dir: &Path) -> Result<()> {
    for folder in ["keys", "schedules", "restore-plans", "runbooks"] {
        let folder = dir.join(folder);
        std::fs::create_dir_all(&folder).context(|| format!("make {}", folder.display()))?;
    }
    for (name, text) in SHIPPED {
        write(&dir.join(name), text)?;
    }
    Ok(())
}

/// Writes the schedule, for the keys that were made.
pub(super) fn write_schedule(dir: &Path) -> Result<()> {
    let recipient = |who: &str| {
        let file = dir.join("keys").join(who).join("recipient.txt");
        let text = std::fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
        Ok::<_, crate::error::Error>(text.trim().to_string())
    };
    let text = format!(
        "apiVersion: ckbackup.io/v1
kind: Schedule
metadata: {{name: nightly}}
spec:
  cluster: workload-1
  window: {{opens: \"00:00\", closes: \"03:00\", timeZone: CET}}
  keep: 3
  vault: {{url: \"file://{vault}\"}}
  encryption: {{recipients: [{on_call}, {escrow}]}}
  signing: {{keyFile: {key}}}
  sources:
    - name: platform
      kubernetes: {{}}
    - name: metrics
      prometheus: {{data: {{path: {data}/prometheus}}, head: false}}
    - name: audit
      files: {{path: {data}/audit, format: kubernetesAudit}}
  include:
    plans: [../restore-plans/*.yaml]
    runbooks: [../runbooks/*.md]
",
        vault = path_text(&dir.join("vault")),
        data = path_text(&dir.join("data")),
        on_call = recipient("on-call")?,
        escrow = recipient("escrow")?,
        key = path_text(&dir.join("keys/on-call/signing_key")),
    );
    write(&dir.join("schedules/nightly.yaml"), &text)
}

pub(super) fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).context(|| format!("write {}", file.display()))
}

/// A path for a command line.
pub(super) fn path_text(path: &Path) -> String {
    path.display().to_string()
}
