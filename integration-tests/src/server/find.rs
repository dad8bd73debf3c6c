//! Where the server of a test comes from.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::docker;
use crate::Error;

/// Where a server comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Way {
    /// An empty database of the server that `REDIS_URL` names.
    Url,
    /// A container.
    Docker,
    /// The program `redis-server`, as a child process.
    Process,
}

/// The image that is run if `REDIS_IMAGE` names no other.
const DEFAULT_IMAGE: &str = "redis:7.0";

/// What a test asks of its server, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    /// This way or none.
    pub(crate) only: Option<Way>,
    /// The test stops or configures the server, so that it cannot be one that others use.
    pub(crate) own: bool,
    /// Rather a process than a container.
    pub(crate) prefer_process: bool,
}

/// What this machine offers.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) url: Option<String>,
    pub(crate) image: String,
    /// The image was asked for by name.
    image_is_wanted: bool,
    /// Whether the image is there, or why Docker does not answer.
    docker: Result<bool, String>,
    pub(crate) program: Option<PathBuf>,
}

impl Surroundings {
    pub(crate) async fn look() -> Self {
        let wanted = set("REDIS_IMAGE");
        let image = wanted.clone().unwrap_or_else(|| DEFAULT_IMAGE.to_owned());
        Self {
            url: set("REDIS_URL"),
            docker: docker::has_image(&image).await,
            image,
            image_is_wanted: wanted.is_some(),
            program: on_the_path("redis-server", &env::var_os("PATH").unwrap_or_default()),
        }
    }

    pub(crate) fn choose(&self, wishes: Wishes) -> Result<Way, Error> {
        if let Some(only) = wishes.only {
            return if self.offers(only) {
                Ok(only)
            } else {
                Err(self.no_server(&format!("this test may use no other way than {only:?}. ")))
            };
        }
        if self.url.is_some() && !wishes.own {
            return Ok(Way::Url);
        }
        let process = self.program.is_some();
        if process && wishes.prefer_process {
            return Ok(Way::Process);
        }
        match self.docker {
            Ok(true) => Ok(Way::Docker),
            // The program at hand comes before an image that would have to be pulled first.
            _ if process && !self.image_is_wanted => Ok(Way::Process),
            Ok(false) => Ok(Way::Docker),
            Err(_) if self.url.is_some() => Err(self.no_server(
                "this test stops or configures its server, so it cannot use the one of REDIS_URL. ",
            )),
            Err(_) if process => Err(self.no_server(
                "REDIS_IMAGE names an image, so redis-server on the PATH is not used. ",
            )),
            Err(_) => Err(self.no_server("")),
        }
    }

    /// Returns the ways to run a server of a test's own.
    pub(crate) fn own(&self) -> Result<Vec<Way>, Error> {
        let mut ways = vec![Way::Docker, Way::Process];
        ways.retain(|&way| self.offers(way));
        if ways.is_empty() {
            return Err(self.no_server(""));
        }
        Ok(ways)
    }

    fn offers(&self, way: Way) -> bool {
        match way {
            Way::Url => self.url.is_some(),
            Way::Docker => self.docker.is_ok(),
            Way::Process => self.program.is_some(),
        }
    }

    fn no_server(&self, why: &str) -> Error {
        let docker = match &self.docker {
            Ok(_) => "it answers".to_owned(),
            Err(reason) => format!("now: {reason}"),
        };
        Error::new(format!(
            "no Redis for this test. {why}Any of these will do:\n\
             - run scripts/test, which sets up what it can\n\
             - start Docker ({docker})\n\
             - put redis-server on the PATH (Debian, Ubuntu: apt-get install redis-server. Fedora: dnf install redis. macOS: brew install redis)\n\
             - set REDIS_URL to a server with empty databases, such as redis://127.0.0.1:6379 (enough for tests that neither stop nor configure their server)\n"
        ))
    }
}

/// Returns the way that the environment forces on all tests.
pub(crate) fn forced() -> Result<Option<Way>, Error> {
    match set("REDIS_WAY").as_deref() {
        None => Ok(None),
        Some("url") => Ok(Some(Way::Url)),
        Some("docker") => Ok(Some(Way::Docker)),
        Some("process") => Ok(Some(Way::Process)),
        Some(_) => Err(Error::new(
            "REDIS_WAY must be url, docker or process, or not be set",
        )),
    }
}

fn set(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Looks for a program in the folders of `path`.
pub(crate) fn on_the_path(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .filter(|folder| folder != Path::new(""))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn bare() -> Surroundings {
        Surroundings {
            url: None,
            image: DEFAULT_IMAGE.to_owned(),
            image_is_wanted: false,
            docker: Err("nobody listens".to_owned()),
            program: on_the_path("redis-server", OsStr::new("")),
        }
    }

    #[test]
    fn a_machine_with_nothing_is_told_every_way_to_get_a_server() {
        let text = bare().choose(Wishes::default()).unwrap_err().to_string();
        assert_eq!(bare().own().unwrap_err().to_string(), text);
        for part in [
            "scripts/test",
            "start Docker (now: nobody listens)",
            "redis-server on the PATH",
            "apt-get install redis-server",
            "set REDIS_URL",
        ] {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
    }

    #[test]
    fn the_ways_are_tried_in_order() {
        let url = Some("redis://127.0.0.1:1".to_owned());
        let program = Some(PathBuf::from("/bin/redis-server"));
        let down = || Err("down".to_owned());
        let own = Wishes {
            own: true,
            ..Wishes::default()
        };
        let rather_a_process = Wishes {
            prefer_process: true,
            ..Wishes::default()
        };
        let any = Wishes::default();
        for (url, docker, program, wishes, expected) in [
            (url.clone(), Ok(true), program.clone(), any, Some(Way::Url)),
            (
                url.clone(),
                Ok(true),
                program.clone(),
                own,
                Some(Way::Docker),
            ),
            (
                url.clone(),
                down(),
                program.clone(),
                own,
                Some(Way::Process),
            ),
            (url, down(), None, own, None),
            (None, Ok(true), program.clone(), any, Some(Way::Docker)),
            (
                None,
                Ok(true),
                program.clone(),
                rather_a_process,
                Some(Way::Process),
            ),
            (None, Ok(true), None, rather_a_process, Some(Way::Docker)),
            (None, Ok(false), program.clone(), any, Some(Way::Process)),
            (None, Ok(false), None, any, Some(Way::Docker)),
            (None, down(), program, any, Some(Way::Process)),
            (None, down(), None, any, None),
        ] {
            let surroundings = Surroundings {
                url,
                docker,
                program,
                ..bare()
            };
            let chosen = surroundings.choose(wishes).ok();
            assert_eq!(chosen, expected, "{surroundings:?} {wishes:?}");
        }
    }

    #[test]
    fn an_image_that_was_asked_for_is_not_replaced_by_a_process() {
        let surroundings = Surroundings {
            image_is_wanted: true,
            program: Some(PathBuf::from("/bin/redis-server")),
            ..bare()
        };
        let text = surroundings
            .choose(Wishes::default())
            .unwrap_err()
            .to_string();
        assert!(text.contains("REDIS_IMAGE names an image"), "{text}");
    }

    #[test]
    fn a_way_that_is_forced_and_not_there_is_an_error() {
        let only = |way| Wishes {
            only: Some(way),
            ..Wishes::default()
        };
        for way in [Way::Url, Way::Docker, Way::Process] {
            let text = bare().choose(only(way)).unwrap_err().to_string();
            assert!(text.contains("no other way than"), "{text}");
        }
    }

    #[test]
    fn a_program_is_looked_for_in_every_folder_of_the_path() {
        let empty = tempfile::tempdir().unwrap();
        let full = tempfile::tempdir().unwrap();
        let program = full.path().join("redis-server");
        fs::write(&program, "").unwrap();
        let path = env::join_paths([empty.path(), full.path()]).unwrap();
        assert_eq!(on_the_path("redis-server", &path), Some(program));
        assert_eq!(on_the_path("redis-server", empty.path().as_os_str()), None);
        assert_eq!(on_the_path("redis-server", OsStr::new("")), None);
    }
}
