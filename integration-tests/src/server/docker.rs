//! A node as a container.

use std::{collections::HashMap, time::Duration};

use testcontainers::{
    ContainerAsync, ContainerRequest, CopyDataSource, GenericImage, ImageExt, TestcontainersError,
    bollard::{self, Docker},
    core::{IntoContainerPort, client::docker_client_instance},
    runners::AsyncRunner,
};
use tokio::{
    runtime::{self, Handle},
    time::timeout,
};

use super::{builder::Network, command::Command, sweep};
use crate::Error;

/// Docker answers in milliseconds, if it answers at all.
const ANSWER: Duration = Duration::from_secs(5);

/// Room for the pull of an image.
const START: Duration = Duration::from_secs(120);

/// Where the files of a node are in its container.
const FOLDER: &str = "/integration-tests";

/// Returns whether the image is there, or why Docker does not answer.
pub(crate) async fn has_image(image: &str) -> Result<bool, String> {
    let look = async {
        let docker = docker_client_instance()
            .await
            .map_err(|error| error.to_string())?;
        docker.ping().await.map_err(|error| error.to_string())?;
        match docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    };
    timeout(ANSWER, look)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {ANSWER:?}")))
}

/// A container that is removed when this is dropped.
pub(crate) struct Container {
    /// `None` only while it is being dropped.
    container: Option<Box<ContainerAsync<GenericImage>>>,
    docker: Docker,
    id: String,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Container {
    pub(crate) async fn start(image: &str, command: Command) -> Result<Self, Error> {
        let docker = docker_client_instance()
            .await
            .map_err(|error| Error::because("cannot ask Docker", error))?;
        sweep::containers(&docker).await;

        let (name, tag) = name_and_tag(image);
        let mut image_of_node = GenericImage::new(name, tag);
        let mut arguments = command.arguments(FOLDER);
        if command.writes_files {
            // They belong to root, and the entry point of an image may give up its rights.
            image_of_node = image_of_node.with_entrypoint(program(name));
        } else {
            arguments.insert(0, program(name).to_owned());
        }
        let mut request = image_of_node
            .with_cmd(arguments)
            .with_startup_timeout(START)
            .with_labels(sweep::labels());
        request = match command.network {
            Network::Own => publish(request, [command.port]),
            Network::Shared(ports) => {
                publish(request, [[command.port].as_slice(), &ports].concat())
            }
            Network::Joined(other) => request.with_network(format!("container:{other}")),
        };
        request = request.with_host_config_modifier(|host| {
            for bindings in host
                .port_bindings
                .iter_mut()
                .flat_map(|map| map.values_mut())
            {
                for binding in bindings.iter_mut().flatten() {
                    binding.host_ip = Some("127.0.0.1".to_owned());
                }
            }
        });
        for (file, content) in command.files {
            request = request.with_copy_to(
                format!("{FOLDER}/{file}"),
                CopyDataSource::Data(content.into_bytes()),
            );
        }
        let container = request.start().await.map_err(|error| {
            Error::because(
                format!("cannot start a container of {image}; scripts/redis-image gets the image"),
                error,
            )
        })?;
        Ok(Self {
            id: container.id().to_owned(),
            container: Some(Box::new(container)),
            docker,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Ends the server at once. A container that is already down is left as it is.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        if !self.runs().await? {
            return Ok(());
        }
        self.docker
            .kill_container(&self.id, None)
            .await
            .map_err(|error| Error::because("cannot kill the container", error))
    }

    pub(crate) async fn start_again(&self) -> Result<(), Error> {
        self.container()?.start().await.map_err(refused("start"))
    }

    pub(crate) async fn pause(&self) -> Result<(), Error> {
        self.container()?.pause().await.map_err(refused("pause"))
    }

    pub(crate) async fn resume(&self) -> Result<(), Error> {
        self.container()?.unpause().await.map_err(refused("resume"))
    }

    pub(crate) async fn last_words(&self) -> Option<String> {
        if self.runs().await.unwrap_or(true) {
            return None;
        }
        let container = self.container().ok()?;
        let mut log = container.stderr_to_vec().await.unwrap_or_default();
        log.extend(container.stdout_to_vec().await.unwrap_or_default());
        Some(format!(
            "the container has ended:\n{}",
            String::from_utf8_lossy(&log)
        ))
    }

    /// Returns the address that other containers reach this one by.
    pub(crate) async fn bridge_address(&self) -> Result<String, Error> {
        let container = self
            .docker
            .inspect_container(&self.id, None)
            .await
            .map_err(|error| Error::because("cannot look at the container", error))?;
        container
            .network_settings
            .and_then(|settings| settings.networks)
            .into_iter()
            .flat_map(HashMap::into_values)
            .filter_map(|network| network.ip_address)
            .find(|address| !address.is_empty())
            .ok_or_else(|| Error::new("the container has no address: it must run to be followed"))
    }

    async fn runs(&self) -> Result<bool, Error> {
        self.container()?
            .is_running()
            .await
            .map_err(refused("look at"))
    }

    fn container(&self) -> Result<&ContainerAsync<GenericImage>, Error> {
        self.container
            .as_deref()
            .ok_or_else(|| Error::new("the container is being removed"))
    }
}

impl Drop for Container {
    /// The container removes itself, for which it must be dropped within a runtime. A test may have
    /// kept it beyond its own.
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            drop(self.container.take());
        } else if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
            let _inside = runtime.enter();
            drop(self.container.take());
        }
    }
}

/// Publishes ports by the same number inside and outside, which is chosen here: one that Docker
/// chooses is another after a restart.
fn publish(
    request: ContainerRequest<GenericImage>,
    ports: impl IntoIterator<Item = u16>,
) -> ContainerRequest<GenericImage> {
    ports.into_iter().fold(request, |request, port| {
        request.with_mapped_port(port, port.tcp())
    })
}

fn refused(what: &str) -> impl FnOnce(TestcontainersError) -> Error {
    let text = format!("cannot {what} the container");
    |error| Error::because(text, error)
}

/// Splits `valkey/valkey:8`. A colon before the last slash belongs to the port of a registry.
fn name_and_tag(image: &str) -> (&str, &str) {
    image
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .unwrap_or((image, "latest"))
}

/// The program goes first in the command, since an image may have no entry point.
fn program(name: &str) -> &'static str {
    if name.contains("valkey") {
        "valkey-server"
    } else {
        "redis-server"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_name_a_tag_and_a_program() {
        for (image, expected, expected_program) in [
            ("redis:7.0", ("redis", "7.0"), "redis-server"),
            ("redis", ("redis", "latest"), "redis-server"),
            ("valkey/valkey:8", ("valkey/valkey", "8"), "valkey-server"),
            (
                "host:5000/redis",
                ("host:5000/redis", "latest"),
                "redis-server",
            ),
            (
                "host:5000/redis:7",
                ("host:5000/redis", "7"),
                "redis-server",
            ),
        ] {
            assert_eq!(name_and_tag(image), expected);
            assert_eq!(program(expected.0), expected_program);
        }
    }
}
