//! What a node says of the cluster.

use super::slot;

/// The answer of one node to `CLUSTER NODES`.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) lines: Vec<Line>,
}

/// What a node says of another, or of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    pub(crate) id: String,
    flags: Vec<String>,
    /// Whom it follows.
    pub(crate) primary: Option<String>,
    /// The higher one is right about a slot.
    pub(crate) epoch: u64,
    pub(crate) connected: bool,
    /// First and last of each range.
    pub(crate) slots: Vec<(u16, u16)>,
    /// The slots that leave it, and where they go. A node says this only of itself.
    leaving: Vec<(u16, String)>,
}

impl View {
    /// Reads the answer. What makes no sense is left out: it is missed by those who look for it.
    pub(crate) fn read(text: &str) -> Self {
        Self {
            lines: text.lines().filter_map(Line::read).collect(),
        }
    }

    /// Returns what the node says of itself.
    pub(crate) fn own(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.is("myself"))
    }

    pub(crate) fn of(&self, id: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.id == id)
    }

    /// Returns who serves which slots, in an order that does not depend on who says it.
    pub(crate) fn map(&self) -> Vec<((u16, u16), &str)> {
        let mut map: Vec<_> = self
            .lines
            .iter()
            .flat_map(|line| line.slots.iter().map(|&range| (range, line.id.as_str())))
            .collect();
        map.sort_unstable();
        map
    }
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let id = words.next()?.to_owned();
        let _address = words.next()?;
        let flags = words.next()?.split(',').map(str::to_owned).collect();
        let primary = Some(words.next()?.to_owned()).filter(|id| id != "-");
        let epoch = words.nth(2)?.parse().ok()?;
        let connected = words.next()? == "connected";
        let (mut slots, mut leaving) = (Vec::new(), Vec::new());
        for word in words {
            if let Some(open) = word.strip_prefix('[') {
                let to = open
                    .strip_suffix(']')
                    .and_then(|word| word.split_once("->-"));
                leaving.extend(to.and_then(|(slot, id)| Some((slot.parse().ok()?, id.to_owned()))));
            } else {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                slots.push((first.parse().ok()?, last.parse().ok()?));
            }
        }
        Some(Self {
            id,
            flags,
            primary,
            epoch,
            connected,
            slots,
            leaving,
        })
    }

    pub(crate) fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// Whether the one who says this reaches the node, as far as he knows.
    pub(crate) fn is_reached(&self) -> bool {
        let doubts = ["fail", "fail?", "handshake", "noaddr"];
        (self.connected || self.is("myself")) && !doubts.iter().any(|flag| self.is(flag))
    }

    pub(crate) fn serves(&self, slot: u16) -> bool {
        self.slots
            .iter()
            .any(|&(first, last)| (first..=last).contains(&slot))
    }

    /// Returns to whom the slot is leaving.
    pub(crate) fn leaving(&self, slot: u16) -> Option<&str> {
        self.leaving
            .iter()
            .find(|(leaving, _)| *leaving == slot)
            .map(|(_, to)| to.as_str())
    }
}

/// Returns who serves the slot by the newest that any of the nodes knows.
pub(crate) fn owner(views: &[View], slot: u16) -> Option<&str> {
    debug_assert!(slot < slot::COUNT);
    views
        .iter()
        .flat_map(|view| &view.lines)
        .filter(|line| line.serves(slot))
        .max_by_key(|line| line.epoch)
        .map(|line| line.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
aa 172.17.0.2:20001@16379,localhost myself,master - 0 1700 3 connected 0-99 200 [93->-bb] [94-<-cc]
bb 172.17.0.3:20002@16379,localhost master,fail? - 1 1700 2 connected 100-199
cc 172.17.0.4:20003@16379,localhost slave aa 0 1700 3 disconnected
nonsense
";

    #[test]
    fn an_answer_is_read() {
        let view = View::read(TEXT);
        assert_eq!(view.lines.len(), 3);
        let own = view.own().unwrap();
        assert_eq!((own.id.as_str(), own.epoch), ("aa", 3));
        assert_eq!(own.slots, [(0, 99), (200, 200)]);
        assert_eq!(own.leaving(93), Some("bb"));
        assert_eq!(own.leaving(94), None, "that one is coming");
        assert_eq!(view.of("cc").unwrap().primary.as_deref(), Some("aa"));
        assert_eq!(own.primary, None);
        assert_eq!(
            view.map(),
            [((0, 99), "aa"), ((100, 199), "bb"), ((200, 200), "aa")]
        );
    }

    #[test]
    fn a_node_in_doubt_is_not_reached() {
        let view = View::read(TEXT);
        for (id, expected) in [("aa", true), ("bb", false), ("cc", false)] {
            assert_eq!(view.of(id).unwrap().is_reached(), expected, "{id}");
        }
    }

    #[test]
    fn a_range_holds_both_its_ends() {
        let view = View::read(TEXT);
        let own = view.own().unwrap();
        for (slot, expected) in [
            (0, true),
            (99, true),
            (100, false),
            (200, true),
            (201, false),
        ] {
            assert_eq!(own.serves(slot), expected, "{slot}");
        }
    }

    #[test]
    fn the_higher_epoch_owns_a_slot() {
        let new = "bb 127.0.0.1:1@2 myself,master - 0 0 4 connected 50-60\n";
        let views = [View::read(TEXT), View::read(new)];
        for (slot, expected) in [(49, Some("aa")), (50, Some("bb")), (300, None)] {
            assert_eq!(owner(&views, slot), expected, "{slot}");
        }
    }
}
