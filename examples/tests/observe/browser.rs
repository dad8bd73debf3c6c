//! A Chromium without a window.

use std::{
    env, fs,
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::{devtools::DevTools, http, wait::within};

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

const NONE_FOUND: &str =
    "this test looks at the page in a real browser, and there is none. Either \
     of these will do:
  - put chromium, chromium-browser or google-chrome on the PATH:
    Debian: sudo apt-get install chromium. Fedora: sudo dnf install chromium.
    Alpine: apk add chromium
  - set CHROMIUM to the path of one";

/// A browser that runs. All its processes end with this, also if a test panics.
#[derive(Debug)]
pub(crate) struct Browser {
    child: Child,
    profile: TempDir,
    address: String,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let log = profile.path().join("log");
        let child = Command::new(find())
            .args(["--headless=new", "--disable-gpu", "--hide-scrollbars"])
            // As root, as in a container, it does not start with one. It only sees our own page.
            .arg("--no-sandbox")
            // A container's shared memory may be small.
            .arg("--disable-dev-shm-usage")
            .args(["--no-first-run", "--no-default-browser-check"])
            .args(["--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-default-apps"])
            .args(["--disable-extensions", "--disable-breakpad"])
            .args(["--remote-debugging-port=0", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            // It has many processes, and they are to end together.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut browser = Self {
            child,
            profile,
            address: String::new(),
        };
        browser.address = browser.listens().await;
        browser
    }

    /// Waits until it says where its DevTools are.
    async fn listens(&mut self) -> String {
        let port = self.profile.path().join("DevToolsActivePort");
        within(Duration::from_secs(30), "Chromium starts", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = fs::read_to_string(self.profile.path().join("log"));
                panic!("Chromium ended with {status}: {}", log.unwrap_or_default());
            }
            let text = fs::read_to_string(&port).ok()?;
            let (port, _rest) = text.split_once('\n')?;
            Some(format!("127.0.0.1:{port}"))
        })
        .await
    }

    /// The tab that it has open.
    pub(crate) async fn tab(&self) -> DevTools {
        let url = within(Duration::from_secs(30), "there is a tab", async || {
            let answer = http::get(&self.address, "/json/list").await?;
            let tabs: Value = serde_json::from_str(&answer.body).ok()?;
            let mut tabs = tabs.as_array()?.iter();
            let tab = tabs.find(|tab| tab["type"] == "page")?;
            Some(tab["webSocketDebuggerUrl"].as_str()?.to_owned())
        })
        .await;
        DevTools::connect(&url).await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself.
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

fn find() -> PathBuf {
    if let Some(named) = env::var_os("CHROMIUM").filter(|path| !path.is_empty()) {
        let named = PathBuf::from(named);
        assert!(
            named.is_file(),
            "CHROMIUM is {}, and there is no such file: set it to the path of a Chromium, or unset \
             it to have one found on the PATH",
            named.display()
        );
        return named;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let found = NAMES.iter().find_map(|name| {
        let mut files = folders.iter().map(|folder| folder.join(name));
        files.find(|file| Path::is_file(file))
    });
    found.unwrap_or_else(|| panic!("{NONE_FOUND}"))
}
