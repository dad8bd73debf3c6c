//! Whether what the nodes say is a cluster that serves all.

use super::{
    slot,
    view::{Line, View},
};

/// What one node says of itself and of the others.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) number: usize,
    pub(crate) view: View,
    /// The answer to `CLUSTER INFO`.
    pub(crate) info: String,
    /// The answer to `INFO replication`.
    pub(crate) replication: String,
}

/// Returns why this is no cluster in which all who report reach each other and which serves all
/// slots. `ids` are those of all nodes, of which some may be down on purpose.
pub(crate) fn check(reports: &[Report], ids: &[String]) -> Result<(), String> {
    for report in reports {
        let number = report.number;
        check_info(report)?;
        for other in reports {
            let known = ids.get(other.number).and_then(|id| report.view.of(id));
            if !known.is_some_and(Line::is_reached) {
                return Err(format!(
                    "node {number} does not reach node {}",
                    other.number
                ));
            }
        }
        if report.view.lines.len() != ids.len() {
            let count = report.view.lines.len();
            return Err(format!("node {number} knows {count} nodes"));
        }
        if reports
            .iter()
            .any(|other| other.view.map() != report.view.map())
        {
            return Err(format!("node {number} has another map of the slots"));
        }
    }
    Ok(())
}

fn check_info(report: &Report) -> Result<(), String> {
    let number = report.number;
    for line in [
        "cluster_state:ok".to_owned(),
        format!("cluster_slots_ok:{}", slot::COUNT),
    ] {
        if !has_line(&report.info, &line) {
            return Err(format!("node {number} does not say {line}"));
        }
    }
    let follows = report.view.own().is_some_and(|own| own.is("slave"));
    if follows && !has_line(&report.replication, "master_link_status:up") {
        return Err(format!("node {number} is not in sync with its primary"));
    }
    Ok(())
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|own| own == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<String> {
        ["aa", "bb", "cc"].map(str::to_owned).to_vec()
    }

    fn reports() -> Vec<Report> {
        let lines = |own: &str| {
            let lines = [
                ("aa", "master", "-", "0-8191"),
                ("bb", "master", "-", "8192-16383"),
                ("cc", "slave", "aa", ""),
            ];
            lines
                .map(|(id, role, primary, slots)| {
                    let own = if id == own { "myself," } else { "" };
                    format!("{id} 127.0.0.1:1@2 {own}{role} {primary} 0 0 1 connected {slots}")
                        .trim_end()
                        .to_owned()
                })
                .join("\n")
        };
        ["aa", "bb", "cc"]
            .into_iter()
            .enumerate()
            .map(|(number, own)| Report {
                number,
                view: View::read(&lines(own)),
                info: "cluster_state:ok\r\ncluster_slots_ok:16384\r\n".to_owned(),
                replication: "role:slave\r\nmaster_link_status:up\r\n".to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_cluster_is_well_if_all_agree_and_one_that_is_down_is_not_asked() {
        assert_eq!(check(&reports(), &ids()), Ok(()));
        assert_eq!(check(&reports()[..2], &ids()), Ok(()));
    }

    #[test]
    fn each_thing_that_is_amiss_is_found() {
        let amiss = |change: fn(&mut Vec<Report>)| {
            let mut reports = reports();
            change(&mut reports);
            check(&reports, &ids()).unwrap_err()
        };
        for (text, change) in [
            ("node 1 does not say cluster_state:ok", {
                |all| all[1].info = all[1].info.replace("state:ok", "state:fail")
            }),
            ("node 0 does not say cluster_slots_ok:16384", {
                |all| all[0].info = all[0].info.replace("16384", "1638")
            }),
            ("node 2 is not in sync with its primary", {
                |all| all[2].replication = String::new()
            }),
            ("node 0 does not reach node 2", {
                |all| {
                    all[0].view.lines.pop();
                }
            }),
            ("node 1 knows 4 nodes", {
                |all| {
                    let more = all[1].view.lines[2].clone();
                    all[1].view.lines.push(more);
                }
            }),
            ("node 0 has another map of the slots", {
                |all| all[2].view.lines[0].slots[0].1 = 8_190
            }),
        ] as [(&str, fn(&mut Vec<Report>)); 6]
        {
            assert_eq!(amiss(change), text);
        }
    }
}
