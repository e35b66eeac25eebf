//! Sources of schedules.

use super::*;

#[test]
fn sources_are_told_apart_and_of_a_known_kind() {
    let more = |more: &str| why(&format!("{SCHEDULE}{more}"));
    assert_eq!(
        more("    - {name: platform, kubernetes: {}}\n"),
        "`spec.sources[1].name` at s/x.yaml:13:14: `platform` is already the name of `spec.sources[0]`"
    );
    assert_eq!(
        more("    - {name: configuration, kubernetes: {}}\n"),
        "`spec.sources[1].name` at s/x.yaml:13:14: `configuration` is reserved for the files that ckbackup stores with \
         each backup"
    );
    assert_eq!(
        more("    - {name: m, etcd: {url: x}}\n"),
        "`spec.sources[1].etcd` at s/x.yaml:13:23: source kind `etcd` is not supported by this version; remove the source, \
         or upgrade ckbackup"
    );
    assert_eq!(
        more("    - {name: m}\n"),
        "`spec.sources[1]` at s/x.yaml:13:7: the source has no kind; write `kubernetes: {}` to save a cluster's objects"
    );
    assert_eq!(
        more("    - {name: m, kubernetes: {}, files: {path: x}}\n"),
        "`spec.sources[1]` at s/x.yaml:13:7: the source has several kinds (`kubernetes`, `files`); make it one source for \
         each"
    );
    assert_eq!(
        more("    - {name: m, objects: {url: \"s3://ck8s-backups/prod/workload-1\"}}\n"),
        "`spec.sources[1].objects.url` at s/x.yaml:13:32: `s3://ck8s-backups/prod/workload-1` and the vault, \
         `s3://ck8s-backups/prod`, lie in one another"
    );
    assert_eq!(
        more("    - {name: m, objects: {url: \"file:///srv/blobs\", credentialsFile: x}}\n"),
        "`spec.sources[1].objects.credentialsFile` at s/x.yaml:13:70: a folder needs no credentials; remove this key"
    );
}

#[test]
fn sources_of_files_and_metrics_are_read_or_told_what_is_wrong() {
    let problem = |source: &str| why(&SCHEDULE.replace(KUBERNETES, source));
    let read = |source: &str| schedule(&SCHEDULE.replace(KUBERNETES, source)).sources[0].kind.clone();
    let logs =
        "files: {path: logs, names: {include: [\"*.log\"]}, newerThan: 30d, maxSize: 50GB, format: kubernetesAudit}";
    let SourceKind::Files(files) = read(logs) else { panic!("not files") };
    assert_eq!((files.folder.as_path(), files.limits.max_size), (Path::new("s/logs"), Some(50_000_000_000)));
    assert!(files.names.allows("a/b.log") && !files.names.allows("a/b.gz"));
    let metrics = "prometheus: {url: \"http://p:9090\", data: {path: /prometheus}, access: {caFile: ca.pem}}";
    let SourceKind::Prometheus(metrics) = read(metrics) else { panic!("not metrics") };
    assert!(metrics.head && metrics.access.ca_file.as_deref() == Some(Path::new("s/ca.pem")));
    let in_pod = "prometheus: {url: \"http://p:9090\", data: {pod: {namespace: a, selector: app=p, path: /data/}}, \
                  alertmanager: {url: \"http://a:9093\"}}";
    let kind = read(in_pod);
    assert!(kind.needs_cluster());
    let SourceKind::Prometheus(metrics) = kind else { panic!("not metrics") };
    assert!(matches!(&metrics.data, PrometheusData::Pod { path, .. } if path == "/data"), "{metrics:?}");
    assert_eq!(metrics.alertmanager.unwrap().url.as_str(), "http://a:9093/");

    for (source, what) in [
        ("files: {path: \"\"}", "names no folder"),
        ("files: {path: x, maxSize: 5}", "`5` is no amount of data"),
        ("files: {path: x, format: kubernetesaudit}", "`kubernetesaudit` is no format that is known, did you mean"),
        ("files: {path: x, names: {include: [\"[\"]}}", "the pattern `[` cannot be read"),
        ("prometheus: {data: {path: x}}", "accept with `head: false`"),
        ("prometheus: {data: {}, head: false}", "give the `path` of the data directory, or the `pod`"),
        (
            "prometheus: {data: {pod: {namespace: a, selector: \"=\"}}, head: false}",
            "spec.sources[0].prometheus.data.pod.selector",
        ),
        ("prometheus: {data: {pod: {namespace: a, selector: a=b, path: x}}, head: false}", "it begins with `/`"),
        ("prometheus: {url: \"ftp://x\", data: {path: x}}", "no URL of an HTTP server"),
        ("prometheus: {url: \"http://a:b@x\", data: {path: x}}", "credentials stand in files"),
        (
            "prometheus: {url: \"http://x\", data: {path: x}, access: {username: a}}",
            "`username` and `passwordFile` go together",
        ),
    ] {
        let said = problem(source);
        assert!(said.contains(what), "{source}: {said}");
    }
    let size = SCHEDULE.replace("  sources:", "  segmentSize: 1KiB\n  sources:");
    assert!(why(&size).contains("must be from `1MiB` to `4GiB`"));
}

#[test]
fn a_scope_that_would_miss_something_in_silence_is_refused() {
    let scope = |scope: &str| wrong(SCHEDULE, "labelSelector: \"!temporary\"", scope);
    assert_eq!(
        scope("resources: {include: [events]}"),
        "`spec.sources[0].kubernetes.resources.include[0]` at s/x.yaml:12:76: `events` is always left out (events tell \
         what happened to the old cluster); remove it, or set `defaults: false`"
    );
    assert_eq!(
        scope("labelSelector: \"a in b\""),
        "`spec.sources[0].kubernetes.labelSelector` at s/x.yaml:12:69: `a in b` is no label selector: the values after \
         `in` and `notin` stand in brackets; write it as for `kubectl -l`, for example `app=web,tier in \
         (front,back),!temporary`"
    );
    assert_eq!(
        scope("pageSize: 0"),
        "`spec.sources[0].kubernetes.pageSize` at s/x.yaml:12:64: must be between 1 and 10000, but is 0"
    );
    assert_eq!(
        scope("resources: {exclude: [\"[a\"]}"),
        "`spec.sources[0].kubernetes.resources.exclude[0]` at s/x.yaml:12:76: the pattern `[a` cannot be read: unclosed \
         character class; missing ']'"
    );
}
