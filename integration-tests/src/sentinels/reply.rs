//! What a sentinel says of those that it watches or works with.

use std::collections::HashMap;

/// The fields of one of them.
pub(crate) type Fields = HashMap<String, String>;

/// The answers of one sentinel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) primary: Fields,
    pub(crate) replicas: Vec<Fields>,
    pub(crate) sentinels: Vec<Fields>,
}

/// What can make a sentinel unable to use another node.
const DOUBTS: [&str; 3] = ["s_down", "o_down", "disconnected"];

impl Report {
    /// Returns why this sentinel could not lead a failover now, in which `others` more have to
    /// take part.
    pub(crate) fn check(&self, others: usize) -> Result<(), String> {
        if !is_reached(&self.primary) {
            return Err("it does not reach the primary".to_owned());
        }
        let in_sync = |fields: &Fields| {
            is_reached(fields) && fields.get("master-link-status").map(String::as_str) == Some("ok")
        };
        if !self.replicas.iter().any(in_sync) {
            return Err("it knows no replica that is in sync".to_owned());
        }
        let reached = self
            .sentinels
            .iter()
            .filter(|fields| is_reached(fields))
            .count();
        if reached != others {
            return Err(format!("it reaches {reached} other sentinels of {others}"));
        }
        Ok(())
    }
}

fn is_reached(fields: &Fields) -> bool {
    let flags = fields.get("flags").map_or("disconnected", String::as_str);
    !flags.split(',').any(|flag| DOUBTS.contains(&flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<const N: usize>(pairs: [(&str, &str); N]) -> Fields {
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    fn report() -> Report {
        Report {
            primary: fields([("flags", "master")]),
            replicas: vec![fields([("flags", "slave"), ("master-link-status", "ok")])],
            sentinels: vec![
                fields([("flags", "sentinel")]),
                fields([("flags", "sentinel")]),
            ],
        }
    }

    #[test]
    fn a_sentinel_that_reaches_all_can_lead() {
        assert_eq!(report().check(2), Ok(()));
    }

    #[test]
    fn each_thing_that_is_amiss_is_found() {
        let amiss = |change: fn(&mut Report)| {
            let mut report = report();
            change(&mut report);
            report.check(2).unwrap_err()
        };
        for (text, change) in [
            ("the primary", {
                |all| all.primary = fields([("flags", "s_down,master")])
            }),
            ("the primary", |all| all.primary = fields([])),
            ("no replica", |all| all.replicas.clear()),
            ("no replica", {
                |all| {
                    all.replicas[0].insert("flags".into(), "slave,disconnected".into());
                }
            }),
            ("no replica", {
                |all| {
                    all.replicas[0].remove("master-link-status");
                }
            }),
            ("1 other sentinels of 2", {
                |all| all.sentinels[1] = fields([("flags", "sentinel,s_down")])
            }),
        ] as [(&str, fn(&mut Report)); 6]
        {
            let found = amiss(change);
            assert!(found.contains(text), "{found}");
        }
    }
}
