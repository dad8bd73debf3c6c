//! What a sentinel is told when it starts.

use super::SentinelsBuilder;

/// The name of what is watched.
pub(crate) const NAME: &str = "main";

/// How long a sentinel waits before it tries a failover once more, in milliseconds. A part of it
/// limits each step of a failover.
const FAILOVER_TIMEOUT: u32 = 3_000;

/// Who watches whom.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) primary: u16,
    pub(crate) replica: u16,
    /// Port and name of each sentinel.
    pub(crate) sentinels: Vec<(u16, String)>,
}

impl Plan {
    pub(crate) fn ports(&self) -> Vec<u16> {
        let sentinels = self.sentinels.iter().map(|(port, _)| *port);
        [self.primary, self.replica]
            .into_iter()
            .chain(sentinels)
            .collect()
    }
}

/// Returns a name such as sentinels have among themselves.
pub(crate) fn name() -> String {
    let half = || fastrand::u128(..);
    let mut name = format!("{:032x}{:032x}", half(), half());
    name.truncate(40);
    name
}

/// Returns the settings of the sentinel of this number.
///
/// It is told of the replica and of the other sentinels, since it takes two seconds to find them.
pub(crate) fn settings(builder: &SentinelsBuilder, plan: &Plan, number: usize) -> String {
    let mut lines = vec!["protected-mode no".to_owned()];
    if let Some(password) = &builder.sentinel_password {
        lines.push(format!("requirepass {password}"));
        lines.push(format!("sentinel sentinel-pass {password}"));
    }
    let quorum = plan.sentinels.len() / 2 + 1;
    let down_after = builder.down_after.as_millis();
    if let Some((_, own)) = plan.sentinels.get(number) {
        lines.push(format!("sentinel myid {own}"));
    }
    lines.extend([
        format!(
            "sentinel monitor {NAME} 127.0.0.1 {} {quorum}",
            plan.primary
        ),
        format!("sentinel down-after-milliseconds {NAME} {down_after}"),
        format!("sentinel failover-timeout {NAME} {FAILOVER_TIMEOUT}"),
    ]);
    if let Some(password) = &builder.server.password {
        lines.push(format!("sentinel auth-pass {NAME} {password}"));
    }
    lines.push(format!(
        "sentinel known-replica {NAME} 127.0.0.1 {}",
        plan.replica
    ));
    for (other, (port, id)) in plan.sentinels.iter().enumerate() {
        if other != number {
            lines.push(format!(
                "sentinel known-sentinel {NAME} 127.0.0.1 {port} {id}"
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sentinels;

    #[test]
    fn a_sentinel_is_told_of_all_but_itself() {
        let plan = Plan {
            primary: 1,
            replica: 2,
            sentinels: [(3, "aa"), (4, "bb"), (5, "cc")]
                .map(|(port, id)| (port, id.to_owned()))
                .to_vec(),
        };
        let builder = Sentinels::builder()
            .password("sesame")
            .sentinel_password("secret");
        assert_eq!(
            settings(&builder, &plan, 1).lines().collect::<Vec<_>>(),
            [
                "protected-mode no",
                "requirepass secret",
                "sentinel sentinel-pass secret",
                "sentinel myid bb",
                "sentinel monitor main 127.0.0.1 1 2",
                "sentinel down-after-milliseconds main 1000",
                "sentinel failover-timeout main 3000",
                "sentinel auth-pass main sesame",
                "sentinel known-replica main 127.0.0.1 2",
                "sentinel known-sentinel main 127.0.0.1 3 aa",
                "sentinel known-sentinel main 127.0.0.1 5 cc",
            ]
        );
    }

    #[test]
    fn a_name_is_forty_hexadecimal_digits_and_no_two_are_alike() {
        let (one, other) = (name(), name());
        assert_eq!(one.len(), 40);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
