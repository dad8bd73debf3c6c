//! The page has the tables that the cells are held to.

use super::table::{Expected, Fault, Operation, Place, expected};

const PAGE: &str = include_str!("../../../docs/faults.md");

/// The rows of the table whose heading begins like this.
fn table(heading: &str) -> String {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(heading));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.collect::<Vec<_>>().join("\n")
}

fn holds(heading: &str, rows: impl IntoIterator<Item = String>) {
    let rows: Vec<_> = rows.into_iter().collect();
    let rows = rows.join("\n");
    assert_eq!(
        table(heading),
        rows,
        "docs/faults.md should have below {heading}\n{rows}\n"
    );
}

#[test]
fn the_page_says_how_each_fault_begins_and_ends() {
    let row = |fault: Fault| {
        let (words, begins, ends) = (fault.words(), fault.begins(), fault.ends());
        format!("| {words} | {begins} | {ends} |")
    };
    holds("| fault | begins", Fault::ALL.map(row));
}

#[test]
fn the_page_says_what_places_are_made_of_and_how_soon_they_are_well_again() {
    let row = |place: Place| {
        let (words, made_of) = (place.words(), place.made_of());
        format!(
            "| {words} | {made_of} | {} s |",
            place.well_again().as_secs()
        )
    };
    holds("| place |", Place::ALL.map(row));
}

#[test]
fn the_page_says_how_long_each_operation_may_take() {
    let row = |operation: Operation| {
        let (deadline, ceiling) = (operation.deadline(), operation.ceiling());
        let (deadline, ceiling) = (deadline.as_millis(), ceiling.as_millis());
        format!("| {} | {deadline} ms | {ceiling} ms |", operation.words())
    };
    holds("| operation |", Operation::ALL.map(row));
}

/// The places where the same is expected of a fault go together.
fn rows(fault: Fault) -> Vec<String> {
    let mut rows: Vec<(Vec<&str>, Expected)> = Vec::new();
    for place in Place::ALL {
        let Ok(own) = expected(place, fault) else {
            continue;
        };
        match rows.iter_mut().find(|(_, row)| *row == own) {
            Some((places, _)) => places.push(place.words()),
            None => rows.push((vec![place.words()], own)),
        }
    }
    let row = |(places, row): (Vec<&str>, Expected)| {
        let (fault, places) = (fault.words(), places.join(", "));
        let Expected {
            read,
            load,
            invalidate,
            put,
            cached,
        } = row;
        format!("| {fault} | {places} | {read} | {load} | {invalidate} | {put} | {cached} |")
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn the_page_says_what_is_expected() {
    holds(
        "| fault | place | read",
        Fault::ALL.into_iter().flat_map(rows),
    );
}

#[test]
fn the_page_says_what_cannot_be() {
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        for place in Place::ALL {
            if let Err(reason) = expected(place, fault) {
                rows.push(format!(
                    "| {} | {} | {reason} |",
                    fault.words(),
                    place.words()
                ));
            }
        }
    }
    holds("| fault | place | why", rows);
}
