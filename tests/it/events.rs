//! The names of events are a contract with those who watch the log: the table of them is whole.

use std::{collections::BTreeSet, fs, path::Path};

/// The names in the table of `src/cli/logging/mod.rs`, once each.
fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("cli/logging/mod.rs")).unwrap();
    let mut names = BTreeSet::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | `")) {
        let cell = row.split(" | ").next().unwrap();
        for name in cell.split(", ").map(|name| name.trim_matches('`')) {
            assert!(names.insert(name.to_owned()), "twice: {name}");
        }
    }
    names
}

/// The names that the sources use, and the lines whose name is none that can be read here.
fn used() -> (BTreeSet<String>, Vec<String>) {
    let (mut names, mut strange) = (BTreeSet::new(), Vec::new());
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.ends_with("tests.rs") || path.ends_with("tests");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if !is_test && path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                for line in code.lines().map(str::trim) {
                    if let Some((_, rest)) = line.split_once("event = ") {
                        match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                            Some((name, _)) => _ = names.insert(name.to_owned()),
                            None => strange.push(format!("{}: {line}", path.display())),
                        }
                    } else if line == "event," {
                        strange.push(format!("{}: {line}", path.display()));
                    }
                }
            }
        }
    }
    (names, strange)
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn every_event_is_in_the_table_and_every_row_is_used() {
    let (mut names, strange) = used();
    assert!(names.len() > 30, "only {names:?} found: the test reads nothing");
    // One line has a name that is chosen: in session/visit.rs, of these two.
    assert_eq!(strange.len(), 1, "{strange:?}");
    assert!(strange[0].contains("visit.rs"), "{strange:?}");
    names.extend(["login_refused", "login_unavailable"].map(str::to_owned));
    let listed = listed();
    let missing: Vec<_> = names.difference(&listed).collect();
    assert!(missing.is_empty(), "not in the table of src/cli/logging/mod.rs: {missing:?}");
    let unused: Vec<_> = listed.difference(&names).collect();
    assert!(unused.is_empty(), "in the table, and nowhere else: {unused:?}");
}
