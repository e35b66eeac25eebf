//! A headless Chromium with a profile of its own, spoken to by the DevTools protocol.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::Scratch;

/// A machine that does other things meanwhile is slow to start a browser.
const START: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(60);

/// A page, and everything that it complained about.
pub struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    next: u64,
    /// Events that came while an answer was waited for.
    events: Vec<Value>,
    // Ends with the page.
    _browser: Child,
}

impl Page {
    /// Opens a file.
    pub async fn open(scratch: &Scratch, file: &Path) -> Page {
        let profile = scratch.folder("chromium");
        let mut command = Command::new("chromium");
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--remote-debugging-port=0", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .env("HOME", scratch.folder("home"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true);
        let browser = command.spawn().expect("start chromium: run tests/rig/setup test");
        let (socket, _) = tokio_tungstenite::connect_async(address(&profile).await).await.unwrap();
        let mut page = Page { socket, session: String::new(), next: 0, events: Vec::new(), _browser: browser };
        let target = page.ask("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        page.session = page.ask("Target.attachToTarget", attach).await["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            page.ask(&format!("{domain}.enable"), json!({})).await;
        }
        page.ask("Page.navigate", json!({"url": format!("file://{}", file.display())})).await;
        page.wait_for("Page.loadEventFired").await;
        page
    }

    /// Sends a command and waits for its answer.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let heard = self.hear(method).await;
            if heard["id"] == json!(id) {
                assert!(heard.get("error").is_none(), "{method}: {heard}");
                return heard["result"].clone();
            }
            self.events.push(heard);
        }
    }

    async fn wait_for(&mut self, event: &str) {
        while !self.events.iter().any(|it| it["method"] == event) {
            let heard = self.hear(event).await;
            self.events.push(heard);
        }
    }

    async fn hear(&mut self, what: &str) -> Value {
        let heard = tokio::time::timeout(ANSWER, self.socket.next()).await;
        let message = heard.unwrap_or_else(|_| panic!("{what}: no answer")).expect("the browser ended").unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// The value of an expression in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", params).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The page in a window of that width.
    pub async fn resize(&mut self, width: u32) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// The page as it is printed or shown, to whoever likes it light or dark.
    pub async fn look(&mut self, media: &str, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"media": media, "features": features})).await;
    }

    /// Presses a key.
    pub async fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.ask("Input.dispatchKeyEvent", event).await;
        }
    }

    /// The page as PDF.
    pub async fn pdf(&mut self) -> Vec<u8> {
        let printed = self.ask("Page.printToPDF", json!({"preferCSSPageSize": true, "printBackground": true})).await;
        base64::engine::general_purpose::STANDARD.decode(printed["data"].as_str().unwrap()).unwrap()
    }

    /// Everything that a page without faults does not cause: messages of the console, errors, dialogs, violations of its
    /// policy, requests to anything but itself.
    pub fn complaints(&self) -> Vec<&Value> {
        const BAD: [&str; 5] = [
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
            "Audits.issueAdded",
        ];
        let other = |it: &Value| {
            let url = it["params"]["request"]["url"].as_str().unwrap_or_default();
            it["method"] == "Network.requestWillBeSent" && !(url.starts_with("file:///") && url.ends_with(".html"))
        };
        self.events.iter().filter(|it| BAD.contains(&it["method"].as_str().unwrap_or_default()) || other(it)).collect()
    }
}

/// Where the browser listens; it says so in its profile.
async fn address(profile: &Path) -> String {
    let file = profile.join("DevToolsActivePort");
    let deadline = tokio::time::Instant::now() + START;
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if let Some((port, path)) = text.split_once('\n').filter(|(_, path)| !path.is_empty()) {
            return format!("ws://127.0.0.1:{port}{}", path.trim());
        }
        assert!(tokio::time::Instant::now() < deadline, "chromium does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
