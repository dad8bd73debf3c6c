//! Where the cache's servers are, read from files: YAML, TOML and JSON, in snake case and as go-zero
//! spells it, with environment variables on top.
//!
//! ```text
//! cargo run --example config
//! CACHE__0__WEIGHT=25 CACHE__1__HOST=10.9.9.9:7000 cargo run --example config
//! cargo run --example config -- path/to/your.yaml
//! ```
//!
//! It connects to nothing: the settings are read, put together and checked. A service would go on
//! with `RedisBuilder::from(nodes).connect().await?`.
#![expect(clippy::print_stdout, reason = "it shows what it read")]

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
};

use cache_redis::{NodeConfig, RedisBuilder};
use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

/// The part of a service's configuration that is about the cache.
#[derive(Deserialize)]
struct Settings {
    #[serde(alias = "Cache")]
    cache: Vec<NodeConfig>,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = env::args().nth(1) {
        let nodes = read(Path::new(&path), env::vars())?;
        return show(&path, nodes);
    }
    same_in_every_format()?;
    environment_on_top()?;
    what_is_refused()
}

/// One configuration, written in six ways.
fn same_in_every_format() -> Result<(), Box<dyn Error>> {
    let mut seen = Vec::new();
    for spelling in ["go-zero", "snake_case"] {
        for format in ["yaml", "toml", "json"] {
            let name = format!("{spelling}.{format}");
            let nodes = read(&file(&name), [])?;
            seen.push(format!("{nodes:?}"));
            show(&name, nodes)?;
        }
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "{seen:#?}");
    assert!(!seen[0].contains("in-the-file"), "passwords are not shown");
    show("sentinel.yaml", read(&file("sentinel.yaml"), [])?)
}

/// Environment variables win over the file: those of this process, and one made up here.
///
/// They are in snake case, and so is the file: of a setting that a file spells as go-zero does, and a
/// variable otherwise, there would be two, which is refused.
fn environment_on_top() -> Result<(), Box<dyn Error>> {
    let variables = [("CACHE__0__PASS", "0815"), ("CACHE__0__DB", "3")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let nodes = read(
        &file("snake_case.yaml"),
        variables.into_iter().chain(env::vars()),
    )?;
    assert!(format!("{nodes:?}").contains("db: 3"));
    show("snake_case.yaml, and the environment", nodes)
}

/// What is wrong is said by name, with what would be right.
fn what_is_refused() -> Result<(), Box<dyn Error>> {
    println!("\nrefused:");
    let misspelled = "cache: [{ host: 10.0.0.1, wieght: 50 }]";
    let misspelled = Config::builder().add_source(File::from_str(misspelled, FileFormat::Yaml));
    let Err(error) = misspelled.build()?.try_deserialize::<Settings>() else {
        return Err("a setting that does not exist was read".into());
    };
    assert!(error.to_string().contains("wieght"));
    println!("- {error}");

    let contradiction = "cache: [{ host: '10.0.0.1,10.0.0.2' }]";
    let contradiction =
        Config::builder().add_source(File::from_str(contradiction, FileFormat::Yaml));
    let settings: Settings = contradiction.build()?.try_deserialize()?;
    let Err(error) = RedisBuilder::from(settings.cache).check() else {
        return Err("two servers were taken for one".into());
    };
    println!("- {error}");
    Ok(())
}

/// Reads a file, whose ending says its format, and puts `variables` on top.
fn read(
    path: &Path,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<NodeConfig>, Box<dyn Error>> {
    let variables = variables.into_iter();
    let variables = variables.filter_map(|(name, value)| Some((place(&name)?, value)));
    let settings: Settings = Config::builder()
        .add_source(File::from(path))
        .add_source(Environment::default().source(Some(variables.collect())))
        .build()?
        .try_deserialize()?;
    Ok(settings.cache)
}

/// Which setting a variable is: `CACHE__0__WEIGHT` is `cache[0].weight`.
fn place(variable: &str) -> Option<String> {
    let (number, setting) = variable.strip_prefix("CACHE__")?.split_once("__")?;
    let number: usize = number.parse().ok()?;
    let setting = setting.to_lowercase().replace("__", ".");
    Some(format!("cache[{number}].{setting}"))
}

fn show(title: &str, nodes: Vec<NodeConfig>) -> Result<(), Box<dyn Error>> {
    println!("\n{title}:");
    for node in &nodes {
        println!("- {node:?}");
    }
    RedisBuilder::from(nodes).check()?;
    Ok(())
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "config", name]
        .iter()
        .collect()
}
