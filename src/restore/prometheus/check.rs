//! Asks a Prometheus that serves what was restored for the series and samples of each block.

use std::future::ready;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::super::summary::Compared;
use crate::config::PrometheusCheck;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::inventory::Metrics;

/// How often a Prometheus that starts is asked whether it is ready.
const POLL: Duration = Duration::from_millis(500);

/// How long one query may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(120);

/// At most one in so many samples of a block is taken for a marker that ends a series, and one in so many series to have nothing else:
/// these are counted in blocks, and not by queries.
const MARKERS: u64 = 10;

/// Queries at the same time, out of the twenty that Prometheus takes unless it is told otherwise.
const AT_ONCE: usize = 4;

/// What a Prometheus that serves the data does not have. What was asked for is noted.
pub(super) async fn ask(
    check: &PrometheusCheck,
    blocks: &[Metrics],
    compared: &mut Vec<Compared>,
) -> Result<Vec<String>> {
    let endpoint = Endpoint::new(&check.url, &check.access)?;
    wait_until_ready(&endpoint, check.timeout).await?;
    let open_left = has_open_left_ranges(&endpoint).await?;
    let mut problems = Vec::new();
    for block in blocks {
        let found = count(&endpoint, block, open_left).await?;
        let of = [("samples", found.samples, block.samples), ("series", found.series, block.series)];
        for (what, found, restored) in of.into_iter().filter(|(what, ..)| *what == "samples" || !found.is_least) {
            let equal = found <= restored && found >= restored - restored / MARKERS;
            let what = format!("{what} from {} to {}", block.first, block.last);
            compared.push(Compared { equal, by_query: true, ..Compared::new(&what, restored, found) });
            if !equal {
                problems.push(format!(
                    "{} has {found} {what}, and the block that was restored {restored}",
                    endpoint.shown(),
                ));
            }
        }
    }
    Ok(problems)
}

async fn wait_until_ready(endpoint: &Endpoint, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let why = match endpoint.send(Method::GET, "-/ready", &[], Duration::from_secs(10)).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            Ok(answer) => Error::failed(format!("{}: {} {}", endpoint.shown(), answer.status, answer.body.trim())),
            Err(e) => e,
        };
        if Instant::now() >= deadline {
            return Err(why.within("the restored Prometheus is not ready"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Since version 3, a range does not hold the sample at its left end.
async fn has_open_left_ranges(endpoint: &Endpoint) -> Result<bool> {
    let answer = endpoint.send(Method::GET, "api/v1/status/buildinfo", &[], QUERY_TIMEOUT).await?.json();
    let version = answer["data"]["version"].as_str().unwrap_or_default();
    Ok(version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 3))
}

/// What a Prometheus has in the time of a block.
#[derive(Debug, Default)]
struct Counted {
    samples: u64,
    series: u64,
    /// Whether there may be more series: what was too much for one query was asked for in parts of the time.
    is_least: bool,
}

/// Counted name by name, for a count has no name, and series that differ in nothing else would be taken for the same.
async fn count(endpoint: &Endpoint, block: &Metrics, open_left: bool) -> Result<Counted> {
    let counter = Counter { endpoint, open_left };
    let (first, end) = (block.first.as_millisecond(), block.last.as_millisecond());
    let names = counter.names(first, end).await?;
    let counter = &counter;
    let count = |name: String| async move { counter.count(&name, first, end).await };
    let add = |all: Counted, one: Counted| Counted {
        samples: all.samples + one.samples,
        series: all.series + one.series,
        is_least: all.is_least || one.is_least,
    };
    let counted = futures::stream::iter(names).map(count).buffer_unordered(AT_ONCE);
    counted.try_fold(Counted::default(), |all, one| ready(Ok(add(all, one)))).await
}

struct Counter<'a> {
    endpoint: &'a Endpoint,
    open_left: bool,
}

impl Counter<'_> {
    async fn names(&self, first: i64, end: i64) -> Result<Vec<String>> {
        let (start, end) = (seconds(first), seconds(end));
        let form = [("start", start.as_str()), ("end", end.as_str())];
        let json = self.ask(Method::GET, "api/v1/label/__name__/values", &form).await?.map_err(|e| self.failed(&e))?;
        let names = json["data"].as_array().into_iter().flatten();
        Ok(names.filter_map(|name| name.as_str().map(String::from)).collect())
    }

    /// One name from `first` until before `end`, in milliseconds. What is too much for one query is asked for in halves.
    async fn count(&self, name: &str, first: i64, end: i64) -> Result<Counted> {
        let mut rest = vec![(first, end)];
        let mut counted = Counted::default();
        while let Some((first, end)) = rest.pop() {
            match self.query(name, first, end).await? {
                Ok((samples, series)) => {
                    counted.samples += samples;
                    counted.series = counted.series.max(series);
                }
                Err(e) if e.contains("too many samples") && end - first > 1 => {
                    let middle = first + (end - first) / 2;
                    rest.extend([(first, middle), (middle, end)]);
                    counted.is_least = true;
                }
                Err(e) => return Err(self.failed(&e)),
            }
        }
        Ok(counted)
    }

    /// Samples and series.
    async fn query(&self, name: &str, first: i64, end: i64) -> Result<Result<(u64, u64), String>> {
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        // At the last moment before the end, back to the first one.
        let range = (end - first - i64::from(!self.open_left)).max(1);
        let each = format!("count_over_time({{__name__=\"{name}\"}}[{range}ms])");
        let called = |what: &str, query: String| format!("label_replace({query}, \"what\", \"{what}\", \"\", \"\")");
        let query =
            format!("{} or {}", called("samples", format!("sum({each})")), called("series", format!("count({each})")));
        let time = seconds(end - 1);
        let asked = self.ask(Method::POST, "api/v1/query", &[("query", &query), ("time", &time)]).await?;
        Ok(asked.map(|json| {
            let results = json["data"]["result"].as_array().cloned().unwrap_or_default();
            let number = |what: &str| {
                let result = results.iter().find(|result| result["metric"]["what"] == what)?;
                result["value"][1].as_str()?.parse::<f64>().ok()
            };
            // No sample, no result.
            (number("samples").unwrap_or_default() as u64, number("series").unwrap_or_default() as u64)
        }))
    }

    async fn ask(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Result<Result<Value, String>> {
        let answer = self.endpoint.send(method, path, form, QUERY_TIMEOUT).await?;
        let json = answer.json();
        Ok(match json["status"] == "success" {
            true => Ok(json),
            false => Err(format!("{} {}", answer.status, json["error"].as_str().unwrap_or(answer.body.trim()))),
        })
    }

    fn failed(&self, said: &str) -> Error {
        Error::failed(format!("count samples in {}: {said}", self.endpoint.shown()))
    }
}

fn seconds(millis: i64) -> String {
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}
