//! Reports, looked at in a real browser.

use std::path::PathBuf;

use ckbackup::report::model::ExerciseReport;
use ckbackup::report::{HTML, Report, write_folder};
use serde_json::{Value, json};

use crate::harness::{Page, Scratch};
use crate::report_fixture::{HOSTILE, bad_drill, good_drill, long_word};

const WIDTHS: [u32; 6] = [320, 375, 768, 1024, 1440, 1920];

fn written(scratch: &Scratch, report: ExerciseReport) -> PathBuf {
    let folder = scratch.path().join("report");
    write_folder(&Report::Exercise(Box::new(report)), &folder, None).unwrap().join(HTML)
}

/// Text whose colour does not stand out from what is behind it, by the WCAG's ratio.
const FAINT: &str = r#"(() => {
    const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3); };
    const light = c => { const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c) return c; }
        return [255, 255, 255]; };
    const faint = [];
    let looked = 0;
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || ['TITLE', 'DESC', 'title', 'desc'].includes(e.tagName)) continue;
        const style = getComputedStyle(e);
        const colour = parse(e instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [light(colour), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        looked++;
        if (ratio < 4.5) faint.push(`${e.tagName}.${e.className}: ${ratio.toFixed(2)}`);
    }
    return { looked, faint };
})()"#;

#[tokio::test]
async fn a_known_drill_is_shown_without_a_complaint_of_the_browser() {
    let scratch = Scratch::new();
    let mut page = Page::open(&scratch, &written(&scratch, good_drill())).await;
    let text = page.evaluate("document.body.innerText").await.as_str().unwrap().to_owned();
    for shown in [
        "Drill report: workload-cluster, cluster-lost",
        "passed",
        "1h12m of 4h: met",
        "20261125T230003Z-nightly",
        "good, by backup@cluster (SHA256:abcdef)",
        "2026-11-26 14:30:42",
        "1,234 created, 2 unchanged",
        "documents in kubernetes-2026.11.25",
        "sum(up)",
        "made by a controller",
        "Right to erasure (GDPR Art. 17)",
        "ISO/IEC 27001:2022 A.8.13",
        "information security",
    ] {
        assert!(text.contains(shown), "{shown} is missing:\n{text}");
    }
    assert_eq!(page.evaluate("document.scripts.length").await, json!(0));
    // Four steps of machines and one of people, of which the gate is not on the critical path; and the legend.
    let drawn = page
        .evaluate(
            "({bars: ['machine', 'people', 'critical', 'failed'].map(c => document.querySelectorAll(`#steps rect.${c}`).length), \
             limit: [...document.querySelectorAll('#steps text')].some(t => t.textContent === 'objective 4h')})",
        )
        .await;
    assert_eq!(drawn, json!({"bars": [5, 2, 5, 1], "limit": true}));
    assert_eq!(page.complaints(), Vec::<&Value>::new());
}

#[tokio::test]
async fn no_width_makes_the_page_wider_than_the_window() {
    let scratch = Scratch::new();
    let mut page = Page::open(&scratch, &written(&scratch, bad_drill())).await;
    for width in WIDTHS {
        page.resize(width).await;
        let wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]").await;
        assert_eq!(wide[1], json!(width), "{wide}");
        assert!(wide[0].as_u64() <= wide[1].as_u64(), "at {width}: {wide}");
        // Nothing is cut off: what does not fit stands in a region that can be scrolled, with the keyboard, too.
        let cut = page
            .evaluate(
                "[...document.querySelectorAll('main *')].filter(e => { const b = e.getBoundingClientRect(); \
                 return b.right > innerWidth + 1 && !e.closest('.scroll[tabindex]'); }).map(e => e.outerHTML.slice(0, 90))",
            )
            .await;
        assert_eq!(cut, json!([]), "at {width}");
    }
    assert_eq!(page.complaints(), Vec::<&Value>::new());
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let scratch = Scratch::new();
    let mut page = Page::open(&scratch, &written(&scratch, bad_drill())).await;
    let found = page.evaluate("({pwned: typeof window.pwned, scripts: document.scripts.length, images: document.images.length, links: [...document.links].filter(a => !a.getAttribute('href').startsWith('#')).length, text: document.body.textContent, handlers: [...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on'))).length})").await;
    for (what, expected) in [
        ("pwned", json!("undefined")),
        ("scripts", json!(0)),
        ("images", json!(0)),
        ("links", json!(0)),
        ("handlers", json!(0)),
    ] {
        assert_eq!(found[what], expected, "{what}");
    }
    let text = found["text"].as_str().unwrap();
    for hostile in HOSTILE {
        let shown = hostile.replace('\u{202e}', "⟨U+202E⟩");
        assert!(text.contains(&shown), "{shown} is not there as it was written");
    }
    assert!(text.contains(&long_word()) && !text.contains('\u{202e}'));
    assert_eq!(page.complaints(), Vec::<&Value>::new());
}

#[tokio::test]
async fn light_and_dark_can_both_be_read() {
    let scratch = Scratch::new();
    let mut page = Page::open(&scratch, &written(&scratch, bad_drill())).await;
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        page.look("screen", scheme).await;
        let ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)").await;
        let sum: u64 = ground.as_array().unwrap().iter().map(|part| part.as_u64().unwrap()).sum();
        assert_eq!(sum < 200, is_dark, "{scheme}: {ground}");
        let read = page.evaluate(FAINT).await;
        assert!(read["looked"].as_u64().unwrap() > 200, "{scheme}: {read}");
        assert_eq!(read["faint"], json!([]), "{scheme}");
    }
    // On paper it is light, whatever the screen is.
    page.look("print", "dark").await;
    let ground = page.evaluate("getComputedStyle(document.body).backgroundColor").await;
    assert_eq!(ground, json!("rgb(255, 255, 255)"));
}

#[tokio::test]
async fn it_prints_on_a4_with_nothing_cut_off() {
    let scratch = Scratch::new();
    let mut page = Page::open(&scratch, &written(&scratch, bad_drill())).await;
    // 210 mm without margins, at 96 dots per inch.
    page.look("print", "light").await;
    page.resize(703).await;
    let cut = page
        .evaluate("[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 704).map(e => e.outerHTML.slice(0, 90))")
        .await;
    assert_eq!(cut, json!([]));
    let style = page
        .evaluate("[getComputedStyle(document.querySelector('thead')).display, getComputedStyle(document.querySelector('tbody tr')).breakInside]")
        .await;
    assert_eq!(style, json!(["table-header-group", "avoid"]));
    let pdf = page.pdf().await;
    let text = String::from_utf8_lossy(&pdf);
    let boxes: Vec<_> = text.split("/MediaBox").skip(1).map(|rest| rest.split(']').next().unwrap().trim()).collect();
    assert!(boxes.len() >= 2, "{} pages", boxes.len());
    for of_page in boxes {
        let numbers: Vec<f64> =
            of_page.trim_start_matches('[').split_whitespace().map(|n| n.parse().unwrap()).collect();
        let (width, height) = (numbers[2] - numbers[0], numbers[3] - numbers[1]);
        assert!((width - 595.0).abs() < 1.5 && (height - 842.0).abs() < 1.5, "{of_page}");
    }
}

#[tokio::test]
async fn keyboards_and_screen_readers_find_their_way() {
    let scratch = Scratch::new();
    let mut page = Page::open(&scratch, &written(&scratch, bad_drill())).await;
    let found = page
        .evaluate(
            "({lang: document.documentElement.lang, levels: [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1]), \
             mains: document.querySelectorAll('main').length, navs: document.querySelectorAll('nav[aria-label]').length, \
             captions: [...document.querySelectorAll('table')].filter(t => !t.caption || !t.caption.innerText).length, \
             scopes: [...document.querySelectorAll('th')].filter(t => !t.scope).length, \
             rows: [...document.querySelectorAll('tbody tr')].filter(r => r.cells[0].tagName !== 'TH').length, \
             pictures: [...document.querySelectorAll('svg')].filter(s => s.getAttribute('role') !== 'img' || \
             s.getAttribute('aria-labelledby').split(' ').some(id => !document.getElementById(id).textContent)).length, \
             svgs: document.querySelectorAll('svg').length, \
             ids: [...document.querySelectorAll('[id]')].length - new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size, \
             anchors: [...document.links].filter(a => !document.getElementById(a.getAttribute('href').slice(1))).length})",
        )
        .await;
    assert_eq!((&found["lang"], &found["mains"], &found["navs"]), (&json!("en"), &json!(1), &json!(1)));
    for what in ["captions", "scopes", "rows", "pictures", "ids", "anchors"] {
        assert_eq!(found[what], json!(0), "{what}");
    }
    assert_eq!(found["svgs"], json!(2));
    let levels: Vec<u64> = found["levels"].as_array().unwrap().iter().map(|level| level.as_u64().unwrap()).collect();
    assert_eq!(levels[0], 1);
    assert!(levels[1..].iter().all(|level| *level == 2) && levels.len() > 10, "{levels:?}");

    page.press("Tab", 9).await;
    assert_eq!(page.evaluate("document.activeElement.className").await, json!("skip"));
    let seen = page.evaluate("document.activeElement.getBoundingClientRect().left >= 0").await;
    assert_eq!(seen, json!(true), "the skip link is seen when it has the focus");

    let tree = page.ask("Accessibility.getFullAXTree", json!({})).await;
    let nodes = tree["nodes"].as_array().unwrap();
    let of = |role: &'static str| nodes.iter().filter(move |node| node["role"]["value"] == role);
    assert_eq!((of("main").count(), of("navigation").count()), (1, 1));
    let names: Vec<_> =
        of("image").chain(of("img")).map(|node| node["name"]["value"].as_str().unwrap_or_default()).collect();
    assert!(
        names.len() == 2 && names.iter().all(|name| name.contains("Coverage") || name.contains("Steps")),
        "{names:?}"
    );
}
