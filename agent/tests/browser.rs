//! The page in a real browser: charts appear, and move.
//!
//! Needs `chromedriver` and `chromium` (Debian: `chromium-driver`, `chromium`). Without
//! chromedriver it says so and passes.
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{Agent, http, poll};

/// A session of WebDriver, the W3C's protocol, over the same small HTTP client.
struct Browser {
    driver: Child,
    address: String,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` if there is no chromedriver here.
    fn start() -> Option<Self> {
        let mut driver =
            Command::new("chromedriver").arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().ok()?;
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let port = line.split("started successfully on port ").nth(1)?;
            Some(port.trim_end_matches('.').to_owned())
        });
        // Whatever else it has to say is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,1600",
            &folder,
        ];
        let address = format!("127.0.0.1:{}", port.expect("chromedriver tells its port"));
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let options = json!({"goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}});
        let opened = browser.call("POST", "/session", &json!({"capabilities": {"alwaysMatch": options}}));
        browser.session = format!("/session/{}", opened["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        let kind = [("Content-Type", "application/json")];
        let answer = http::request(&self.address, method, &path, &kind, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["value"].clone()
    }

    fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// The value of a script's `return`.
    fn script(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// As on a screen of this size, in CSS pixels.
    fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call(
            "POST",
            "/goog/cdp/execute",
            &json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}),
        );
    }

    /// What the page wrote to its console as errors.
    fn errors(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({"type": "browser"}));
        let severe = log.as_array().unwrap().iter().filter(|line| line["level"] == "SEVERE");
        severe.map(|line| line["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = http::try_request(&self.address, "DELETE", &self.session, &[], b"");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Title, and how much ink is on the canvas, of every panel that shows a chart.
const DRAWN: &str = r#"
    return [...document.querySelectorAll(".panel")].map((panel) => {
      const canvas = panel.querySelector("canvas");
      if (!canvas || !canvas.width) return null;
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let ink = 0, sum = 0;
      for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) { ink += 1; sum = (sum * 31 + i + pixels[i]) % 1e9; }
      return { title: panel.querySelector("h3")?.textContent ?? "", ink, sum, draws: +panel.dataset.draws };
    }).filter(Boolean);
"#;

/// What is wider than the window, and each text that is cut off by its own box or reaches out of its card.
const CUT: &str = r#"
    const cut = [];
    if (document.documentElement.scrollWidth > innerWidth) cut.push(`the page: ${document.documentElement.scrollWidth}`);
    for (const box of document.querySelectorAll(".tile *, .bar *, .panel h3, .panel h3 *, .row *, .legend:not(.long) span")) {
      const { left, right, width } = box.getBoundingClientRect();
      if (!width || box.closest(".hidden, .skip")) continue;
      const card = (box.closest(".tile, .panel, .bar") ?? document.body).getBoundingClientRect();
      if (box.scrollWidth > box.clientWidth + 1 && box.clientWidth || right > card.right + 1 || left < card.left - 1) {
        cut.push(`${box.tagName} ${box.className}: ${box.textContent.trim()}`);
      }
    }
    return cut;
"#;

/// A laptop, a telephone, a desk.
const SIZES: [(u32, u32); 3] = [(1280, 800), (390, 844), (1920, 1080)];

/// Charts take their new width a moment after the window has it.
fn nothing_is_cut(browser: &Browser, width: u32, height: u32) {
    browser.resize(width, height);
    let mut told = json!([]);
    poll(&format!("nothing is cut at {width} × {height}"), || {
        let cut = browser.script(CUT);
        if cut != told {
            eprintln!("{width} × {height}: {cut}");
            told = cut.clone();
        }
        (cut == json!([])).then_some(())
    });
}

#[test]
fn charts_appear_and_move_and_any_expression_is_drawn() {
    let Some(browser) = Browser::start() else {
        let may = std::env::var_os("TIDEGAUGE_REQUIRE").is_none();
        assert!(may, "there is no chromedriver, and TIDEGAUGE_REQUIRE is set");
        eprintln!("skipped: there is no chromedriver here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &["--scrape-interval", "250ms"]);
    browser.open(&format!("http://{}/", agent.address));

    let first = poll("the charts of the machine and of the engine are drawn", || {
        let drawn = browser.script(DRAWN);
        let named =
            |name: &str| drawn.as_array().unwrap().iter().any(|c| c["title"].as_str().unwrap().starts_with(name));
        ["CPU", "Load", "Memory", "Ingest"].iter().all(|name| named(name)).then_some(drawn)
    });
    assert!(first.as_array().unwrap().iter().all(|chart| chart["ink"].as_u64().unwrap() > 500), "{first}");
    poll("the charts move", || {
        let later = browser.script(DRAWN);
        let picture =
            |charts: &Value| -> Vec<Value> { charts.as_array().unwrap().iter().map(|c| c["sum"].clone()).collect() };
        let moved = picture(&first).iter().filter(|sum| !picture(&later).contains(sum)).count();
        (moved >= 4).then_some(())
    });
    poll("the state is live", || {
        (browser.script("return document.getElementById('status').dataset.state") == "live").then_some(())
    });

    // A series that begins within the picture: its first values are no rates over a whole window.
    browser.script(
        "import('/assets/overview.js').then(({ whole }) => {
           const series = (from) => ({ values: Array.from({ length: 100 - from }, (_, i) => [from + i, String(i)]) });
           const cut = whole([series(0), series(50), series(95)], { start: 0, step: 1 }, 10);
           window.cut = cut.map(({ values }) => values[0][0]);
         });",
    );
    let cut = poll("rates are cut", || Some(browser.script("return window.cut ?? null")).filter(|cut| !cut.is_null()));
    assert_eq!(cut, json!([0, 60]));

    let tile = poll("the log is on the disk, too", || {
        let tile = browser.script(
            "return [...document.querySelectorAll('.tile')].find((t) => t.textContent.startsWith('On disk')).textContent",
        );
        let tile = tile.as_str().unwrap().replace('\u{a0}', " ");
        tile.contains("log").then_some(tile)
    });
    let told = tile.split(" · log ").nth(1).unwrap_or_else(|| panic!("{tile}"));
    assert!(tile.contains("segments ") && told.contains("iB"), "{tile}");
    for (width, height) in SIZES {
        nothing_is_cut(&browser, width, height);
    }
    browser.resize(1200, 1600);

    browser.open(&format!("http://{}/#explore?q=node_load1", agent.address));
    browser.script("location.reload()");
    poll("the expression of the address is drawn", || {
        let drawn = browser.script("return document.querySelector('#answer-chart .panel')?.dataset.state ?? ''");
        (drawn == "ready").then_some(())
    });
    poll("the agent was asked", || {
        (browser.script("return document.getElementById('status').dataset.state") == "live").then_some(())
    });
    let names = browser.script("return document.querySelectorAll('#metric-list button').length");
    assert!(names.as_u64().unwrap() > 50, "the metrics are listed with the first answer: {names}");
    for (width, height) in SIZES {
        nothing_is_cut(&browser, width, height);
    }
    browser.resize(1200, 1600);
    browser.script(
        "const box = document.getElementById('expr'); box.value = 'sum('; document.getElementById('ask').requestSubmit();",
    );
    poll("a wrong expression is explained", || {
        let error = browser.script("return document.getElementById('answer-error').textContent");
        error.as_str().unwrap().contains("query").then_some(())
    });
    let left = "return ['answer-chart', 'answer-table'].filter((id) => document.getElementById(id).offsetHeight > 0)";
    assert_eq!(browser.script(left), json!([]), "an older answer under an error");
    browser.script("document.getElementById('as-table').click()");
    browser.script(
        "const box = document.getElementById('expr'); box.value = 'node_load1'; document.getElementById('ask').requestSubmit();",
    );
    poll("a table", || (browser.script(left) == json!(["answer-table"])).then_some(()));
    browser.script(
        "const box = document.getElementById('expr'); box.value = 'sum('; document.getElementById('ask').requestSubmit();",
    );
    poll("no table under an error", || (browser.script(left) == json!([])).then_some(()));
    let refused = |line: &String| line.contains("status of 400");
    let errors: Vec<String> = browser.errors().into_iter().filter(|line| !refused(line)).collect();
    assert!(errors.is_empty(), "{errors:?}");

    drop(agent);
    poll("a page whose agent is gone says so", || {
        (browser.script("return document.getElementById('banner').hidden") == false).then_some(())
    });
}
