//! `schedule next`: the coming runs, as an operator asks for them.

use serde_json::json;

use crate::harness::{Ckbackup, Finished, Scratch};

const WINDOW: &str = "window: {opens: \"00:00\", closes: \"03:00\", timeZone: Europe/Stockholm}";

/// A schedule with this line about its window.
fn schedule(scratch: &Scratch, window: &str) -> std::path::PathBuf {
    let text = format!(
        "apiVersion: ckbackup.io/v1\nkind: Schedule\nmetadata: {{name: nightly}}\nspec:\n  cluster: workload-1\n  {window}\n  \
         vault: {{url: \"file:///backups\"}}\n  encryption: {{recipients: [age1a, age1b]}}\n  \
         signing: {{keyFile: key}}\n  sources: [{{name: platform, kubernetes: {{}}}}]\n"
    );
    scratch.file("nightly.yaml", text)
}

async fn next(scratch: &Scratch, window: &str, words: &str) -> Finished {
    let file = schedule(scratch, window);
    Ckbackup::new(scratch).args(["schedule", "next", "-f"]).arg(file).args(words.split_whitespace()).run().await
}

#[tokio::test]
async fn the_coming_runs_are_told_with_clock_changes_and_are_the_same_each_time() {
    let scratch = Scratch::new();
    let words = "--from 2026-10-23T12:00:00Z --count 3 -o json";
    let told = next(&scratch, WINDOW, words).await.expect_success().json();
    assert_eq!((&told["cluster"], &told["timeZone"]), (&json!("workload-1"), &json!("Europe/Stockholm")));
    let runs = told["runs"].as_array().unwrap();
    let column = |key: &str| runs.iter().map(|run| run[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("night"), ["2026-10-24", "2026-10-25", "2026-10-26"]);
    assert_eq!(column("opens"), ["2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"]);
    assert_eq!(column("seconds"), [10_800, 14_400, 10_800]);
    assert_eq!(column("clockChangeSeconds"), [0, 3600, 0]);
    assert_eq!(column("closesLocal")[1], "2026-10-25T03:00:00+01:00");
    for run in runs {
        let time = |key: &str| run[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let after = time("starts").duration_since(time("opens")).as_secs();
        assert!((0..1800).contains(&after), "{run}");
        assert_eq!(run["startsLocal"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap(), time("starts"));
    }
    assert_eq!(next(&scratch, WINDOW, words).await.json(), told);

    let table = next(&scratch, WINDOW, "--from 2027-03-27T12:00:00Z --count 1").await.expect_success().stdout;
    assert!(table.contains("2027-03-28") && table.contains("clocks go forward by 1h: the window has 2h"), "{table}");
    let names = next(&scratch, WINDOW, "--from 2027-03-27T12:00:00Z --count 2 -o name").await.expect_success();
    assert_eq!(names.stdout, "2027-03-28\n2027-03-29\n");
}

#[tokio::test]
async fn what_cannot_be_told_is_an_error_in_words() {
    let scratch = Scratch::new();
    let none = next(&scratch, "keep: 3", "").await.expect(2);
    assert!(none.stderr.contains("schedule nightly has no window, so nothing starts by itself"), "{none}");
    assert!(none.stderr.contains("hint: give it `spec.window`"), "{none}");
    next(&scratch, WINDOW, "--count 0").await.expect(2);
    next(&scratch, WINDOW, "--from yesterday").await.expect(2);
}
