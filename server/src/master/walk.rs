//! For tests: what a walk of a state machine over every state and event has found, as a table and a
//! diagram of `docs/states.md`.

use std::collections::BTreeMap;

/// One step that was tried.
pub(super) struct Try {
    pub(super) state: String,
    pub(super) event: &'static str,
    /// What else was given, in a word each; each place has one kind of thing.
    pub(super) given: Vec<&'static str>,
    /// The next state and what is to be done; `None` when nothing changed.
    pub(super) outcome: Option<(String, String)>,
}

/// One line of a table: every event that leads from a state to another with the same action.
struct Row {
    state: String,
    events: Vec<Cause>,
    next: String,
    action: String,
}

/// An event, and what must be given for it.
#[derive(PartialEq, Eq)]
struct Cause {
    event: &'static str,
    condition: String,
}

/// The table of a machine, without what changes nothing.
pub(super) fn table(tries: &[Try]) -> String {
    let head = "| state | event | next | action |\n| --- | --- | --- | --- |\n".to_owned();
    let line = |Row { state, events, next, action }| {
        format!("| {state} | {} | {next} | {action} |\n", causes(&events))
    };
    [head].into_iter().chain(rows(tries).into_iter().map(line)).collect()
}

/// The diagram of a machine: its states, those in which it begins, and what leads from one to
/// another.
pub(super) fn diagram(tries: &[Try], first: &[&str]) -> String {
    let mut edges: Vec<(String, String, Vec<&str>)> = Vec::new();
    for row in rows(tries) {
        // The diagram shows where it goes, the table what is counted on the way.
        let next = row.next.split(" (").next().unwrap_or_default().to_owned();
        if next == row.state {
            continue;
        }
        let place = edges.iter().position(|(from, to, _)| *from == row.state && *to == next);
        let place = place.unwrap_or_else(|| {
            edges.push((row.state.clone(), next, Vec::new()));
            edges.len() - 1
        });
        let names = &mut edges[place].2;
        for Cause { event, .. } in row.events {
            if !names.contains(&event) {
                names.push(event);
            }
        }
    }
    let mut states: Vec<&str> = tries.iter().map(|step| step.state.as_str()).collect();
    states.dedup();
    let names = states.iter().filter(|state| id(state) != **state);
    let names = names.map(|state| format!("    state \"{state}\" as {}\n", id(state)));
    let first = first.iter().map(|state| format!("    [*] --> {}\n", id(state)));
    let edges = edges.iter().map(|(from, to, events)| {
        format!("    {} --> {}: {}\n", id(from), id(to), events.join(", "))
    });
    let lines: String = names.chain(first).chain(edges).collect();
    format!("```mermaid\nstateDiagram-v2\n{lines}```\n")
}

fn id(state: &str) -> String {
    state.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn rows(tries: &[Try]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for step in tries {
        let Some((next, action)) = &step.outcome else { continue };
        let cause = Cause { event: step.event, condition: condition(tries, step) };
        let same =
            |row: &&mut Row| row.state == step.state && row.next == *next && row.action == *action;
        match rows.iter_mut().find(same) {
            Some(row) if row.events.contains(&cause) => {}
            Some(row) => row.events.push(cause),
            None => rows.push(Row {
                state: step.state.clone(),
                events: vec![cause],
                next: next.clone(),
                action: action.clone(),
            }),
        }
    }
    rows
}

/// What must be given for the event to have the outcome that it had in `step`: one word if one
/// tells it apart, else each that all tries with this outcome have and not all others.
fn condition(tries: &[Try], step: &Try) -> String {
    let alike = || tries.iter().filter(|a| a.state == step.state && a.event == step.event);
    let has_word = |a: &Try, place: usize| a.given[place] == step.given[place];
    let tells_apart = |places: &[usize]| {
        alike()
            .filter(|a| places.iter().all(|place| has_word(a, *place)))
            .all(|a| a.outcome == step.outcome)
    };
    let shared: Vec<usize> = (0..step.given.len())
        .filter(|place| alike().any(|a| !has_word(a, *place)))
        .filter(|place| alike().all(|a| a.outcome != step.outcome || has_word(a, *place)))
        .collect();
    let few =
        [vec![]].into_iter().chain(shared.iter().map(|place| vec![*place])).chain([shared.clone()]);
    let told = few.into_iter().find(|places| tells_apart(places));
    let told = told.unwrap_or_else(|| {
        panic!("nothing tells apart what {} does in {}: {:?}", step.event, step.state, step.given)
    });
    told.iter().map(|place| step.given[*place]).collect::<Vec<_>>().join(", ")
}

/// Events with the same condition stand together.
fn causes(events: &[Cause]) -> String {
    let mut by_condition: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Cause { event, condition } in events {
        by_condition.entry(condition).or_default().push(event);
    }
    let texts = by_condition.iter().map(|(condition, events)| match *condition {
        "" => events.join(", "),
        condition => format!("{} ({condition})", events.join(", ")),
    });
    texts.collect::<Vec<_>>().join("; ")
}

/// The next state, and what became of the failures in a row, of which there were `before`.
pub(super) fn with_failures(state: &str, before: u32, after: Option<u32>) -> String {
    match after {
        Some(after) if after > before => format!("{state} (one failure more)"),
        Some(after) if after < before => format!("{state} (failures forgotten)"),
        _ => state.to_owned(),
    }
}
