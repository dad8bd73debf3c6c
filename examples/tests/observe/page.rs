//! The page in a tab of the browser.

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    colours::Colours,
    devtools::DevTools,
    picture::Picture,
    plots::{self, Plot},
    service::Service,
    wait::eventually,
};

/// How the page is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    DesktopLight,
    DesktopDark,
    Phone,
    /// On a phone, when the service is gone.
    Lost,
}

impl Form {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DesktopLight => "desktop-light",
            Self::DesktopDark => "desktop-dark",
            Self::Phone => "phone",
            Self::Lost => "phone-lost",
        }
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::DesktopLight | Self::Phone | Self::Lost => "light",
            Self::DesktopDark => "dark",
        }
    }

    const fn is_phone(self) -> bool {
        matches!(self, Self::Phone | Self::Lost)
    }
}

#[derive(Debug)]
pub(crate) struct Page {
    tab: DevTools,
    origin: String,
}

impl Page {
    pub(crate) async fn open(browser: &Browser, url: &str, form: Form) -> Self {
        let mut page = Self {
            tab: browser.tab().await,
            origin: url.to_owned(),
        };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        page.take(form).await;
        page.tab.call("Page.navigate", json!({ "url": url })).await;
        eventually("the page is loaded", async || {
            let is_there =
                "document.readyState === 'complete' && !!document.querySelector('#state')";
            (page.evaluate(is_there).await == true).then_some(())
        })
        .await;
        page
    }

    /// Makes the window look like this.
    pub(crate) async fn take(&mut self, form: Form) {
        let (width, height) = if form.is_phone() {
            (360, 740)
        } else {
            (1280, 900)
        };
        let window = json!({
            "width": width, "height": height, "mobile": form.is_phone(), "deviceScaleFactor": 1,
        });
        let features = json!([{ "name": "prefers-color-scheme", "value": form.scheme() }]);
        let media = json!({ "media": "screen", "features": features });
        self.tab
            .call("Emulation.setDeviceMetricsOverride", window)
            .await;
        self.tab.call("Emulation.setEmulatedMedia", media).await;
        // The plots are drawn anew for their new widths.
        eventually("the plots have the width of their frames", async || {
            let fits = "[...document.querySelectorAll('svg')].every((svg) => \
                 Math.abs(svg.viewBox.baseVal.width - svg.getBoundingClientRect().width) < 1)";
            (self.evaluate(fits).await == true).then_some(())
        })
        .await;
    }

    /// What an expression of JavaScript is.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.tab.call("Runtime.evaluate", params).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].take()
    }

    /// The text of the one element that this selects.
    pub(crate) async fn text(&mut self, selector: &str) -> String {
        let found = format!("document.querySelector({})?.textContent", json!(selector));
        let text = self.evaluate(&found).await;
        let text = text.as_str().map(str::to_owned);
        text.unwrap_or_else(|| panic!("nothing is {selector}"))
    }

    /// A count that the page shows.
    pub(crate) async fn number(&mut self, id: &str) -> u64 {
        let text = self.text(&format!("[data-value='{id}']")).await;
        let number = text.replace(',', "").parse();
        number.unwrap_or_else(|_| panic!("{id} is {text:?}"))
    }

    /// Moves the pointer over a plot, so far from its left.
    pub(crate) async fn point_at(&mut self, plot: &str, x: f64) {
        let place = format!(
            "(() => {{ const svg = document.querySelector('[data-plot=\"{plot}\"]'); \
             svg.scrollIntoView({{ block: 'center' }}); \
             const {{ left, top, height }} = svg.getBoundingClientRect(); \
             return [left + {x}, top + height / 2]; }})()"
        );
        let place = self.evaluate(&place).await;
        self.move_pointer(place[0].clone(), place[1].clone()).await;
    }

    pub(crate) async fn point_at_nothing(&mut self) {
        self.move_pointer(json!(1), json!(1)).await;
    }

    async fn move_pointer(&mut self, x: Value, y: Value) {
        let params = json!({ "type": "mouseMoved", "x": x, "y": y });
        self.tab.call("Input.dispatchMouseEvent", params).await;
    }

    pub(crate) async fn has_section(&mut self, name: &str) -> bool {
        let found = format!("!!document.querySelector('[data-section=\"{name}\"]')");
        self.evaluate(&found).await == true
    }

    pub(crate) async fn is_seen(&mut self, selector: &str) -> bool {
        let style = format!("getComputedStyle(document.querySelector('{selector}')).visibility");
        self.evaluate(&style).await == "visible"
    }

    pub(crate) async fn is_greyed(&mut self, selector: &str) -> bool {
        let style = format!("getComputedStyle(document.querySelector('{selector}')).filter");
        self.evaluate(&style).await == "grayscale(1)"
    }

    /// Asserts that totals are between those that the service answers before and after.
    pub(crate) async fn totals_are_those_of(&mut self, service: &Service, cache: &str) {
        const COUNTS: [&str; 4] = ["total", "hit", "miss", "db_fails"];
        let counted = |numbers: &Value| {
            let mut caches = numbers["caches"].as_array().unwrap().iter();
            let found = caches.find(|it| it["name"] == cache).unwrap();
            COUNTS.map(|count| found[count].as_u64().unwrap())
        };
        let before = counted(&service.numbers().await);
        // The page is up to a second behind.
        let shown = eventually("the page shows as much", async || {
            let cells = COUNTS.map(|count| format!("[data-value='{cache}.{count}']"));
            // In one step, so that all are of one sample.
            let texts = format!(
                "{}.map((cell) => document.querySelector(cell).textContent)",
                json!(cells)
            );
            let texts = self.evaluate(&texts).await;
            let shown: Vec<u64> = texts
                .as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap().replace(',', "").parse().unwrap())
                .collect();
            (shown[0] >= before[0]).then_some(shown)
        })
        .await;
        let after = counted(&service.numbers().await);
        assert_eq!(shown[0], shown[1] + shown[2], "Total = Hit + Miss");
        for (place, count) in COUNTS.iter().enumerate() {
            let possible = before[place]..=after[place];
            assert!(
                possible.contains(&shown[place]),
                "{cache}: {count} is {}, not in {possible:?}",
                shown[place]
            );
        }
    }

    pub(crate) async fn plots(&mut self) -> Vec<Plot> {
        let drawn = self.evaluate(plots::SCRIPT).await;
        serde_json::from_value(drawn).unwrap()
    }

    /// Asserts that number and line are at the hit rate that the service tells.
    pub(crate) async fn the_newest_point_is_at_the_rate_of(
        &mut self,
        service: &Service,
        cache: &str,
    ) {
        // Page and service are at the same sample most of the time, if not always.
        eventually("page and service say the same", async || {
            let numbers = service.numbers().await;
            let mut caches = numbers["caches"].as_array().unwrap().iter();
            let found = caches.find(|it| it["name"] == cache)?;
            let rate = found["plots"]["hit_rate"].as_array()?.last()?.as_f64()?;
            let drawn = self.plots().await;
            let plot = drawn
                .iter()
                .find(|plot| plot.id == format!("{cache}.hit_rate"))?;
            let is_said = plot.values == [format!("{:.1} %", rate * 100.0)];
            (is_said && (plot.newest()? - rate).abs() < 0.02).then_some(())
        })
        .await;
    }

    /// The lines of all plots.
    pub(crate) async fn lines(&mut self) -> Value {
        let lines =
            "[...document.querySelectorAll('[data-line]')].map((it) => it.getAttribute('d'))";
        self.evaluate(lines).await
    }

    /// Where everything is that numbers could push aside.
    pub(crate) async fn places(&mut self) -> Value {
        let places = "[...document.querySelectorAll('section, h2, dl div, .key, svg, footer p')].map(\
             (it) => { const { x, y, width, height } = it.getBoundingClientRect(); \
             return [x, y, it.matches('.key') ? 0 : width, height].map(Math.round).join(' '); })";
        self.evaluate(places).await
    }

    pub(crate) async fn fits_its_width(&mut self) {
        let widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]";
        let widths = self.evaluate(widths).await;
        assert!(
            widths[0].as_u64() <= widths[1].as_u64(),
            "wider than the window: {widths}"
        );
        let beyond = "[...document.querySelectorAll('main *, header *, footer *')].filter((it) => \
             it.getBoundingClientRect().right > document.documentElement.clientWidth + .5)\
             .map((it) => it.outerHTML.slice(0, 80))";
        let beyond = self.evaluate(beyond).await;
        assert_eq!(beyond, json!([]), "beyond the right edge");
    }

    /// Asserts that nothing below moves when another text is shown.
    pub(crate) async fn has_room_for_every_scene(&mut self, numbers: &Value) {
        let scenes = &numbers["scenes"];
        assert_eq!(scenes.as_array().map(Vec::len), Some(4));
        let heights = format!(
            "{scenes}.map(({{ title, text }}) => {{ const scene = document.querySelector('#scene'); \
             const said = [...scene.children].map((it) => it.textContent); \
             [scene.children[0].textContent, scene.children[1].textContent] = [title, text]; \
             const height = scene.getBoundingClientRect().height; \
             [scene.children[0].textContent, scene.children[1].textContent] = said; \
             return height; }})"
        );
        let heights = self.evaluate(&heights).await;
        let heights = heights.as_array().unwrap();
        assert!(heights.iter().all(|it| *it == heights[0]), "{heights:?}");
    }

    pub(crate) async fn colours(&mut self) -> Colours {
        let colours = self.evaluate(crate::colours::SCRIPT).await;
        serde_json::from_value(colours).unwrap()
    }

    /// Takes a picture of the whole page, and keeps it for people to look at.
    pub(crate) async fn picture(&mut self, form: Form) -> Picture {
        let plot = "(() => { const { x, y, width, height } = \
             document.querySelector('svg').getBoundingClientRect(); \
             return [x, y + scrollY, width, height]; })()";
        let plot = self.evaluate(plot).await;
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let taken = self.whole(params).await;
        Picture::keep(form.name(), &taken, &serde_json::from_value(plot).unwrap())
    }

    async fn whole(&mut self, mut params: Value) -> String {
        let size = self.tab.call("Page.getLayoutMetrics", json!({})).await;
        let size = &size["cssContentSize"];
        params["clip"] = json!({
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1,
        });
        let taken = self.tab.call("Page.captureScreenshot", params).await;
        taken["data"].as_str().unwrap().to_owned()
    }

    /// Asserts that all requests went to the service, and that nothing was wrong with them or with
    /// the script.
    pub(crate) fn complains_of_nothing(&self) {
        let mut requests = 0;
        for event in &self.tab.events {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => {
                    requests += 1;
                    let url = params["request"]["url"].as_str().unwrap();
                    let is_own = url.starts_with(&self.origin) || url.starts_with("data:");
                    assert!(is_own, "a request to {url}");
                }
                "Runtime.exceptionThrown" | "Network.loadingFailed" => panic!("{params}"),
                "Runtime.consoleAPICalled" => panic!("the script says something: {params}"),
                "Log.entryAdded" => panic!("the browser says something: {params}"),
                _ => {}
            }
        }
        assert!(requests >= 2, "the page and its numbers were asked for");
    }
}
