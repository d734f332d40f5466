//! The `proxy.toml` that comes with the program: whole, and true behind each hash.

use std::{collections::BTreeSet, fs, path::Path};

use super::super::*;

/// The shipped text, and a check of one in a folder that has all the files that it names.
fn shipped() -> (String, impl Fn(&str) -> Config) {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for file in ["corp-ca.pem", "app.pem", "app.key", "cert.pem", "cert.key", "federated-token"] {
        fs::write(folder.path().join(file), "").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(folder.path().join(file), mode).unwrap();
        }
    }
    let environment = |name: &str| {
        ["ENTRA_CLIENT_SECRET", "PROXY_PASSWORD"].contains(&name).then(|| "x".to_owned())
    };
    let check = move |text: &str| {
        parse("proxy.toml", text, folder.path(), &environment)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    (text, check)
}

/// What stands behind the hash, where it is a key or a table and not prose.
fn asleep(line: &str) -> Option<&str> {
    line.strip_prefix("# ").filter(|rest| {
        let word = rest.split(" = ").next().unwrap_or_default().trim();
        let is_key = word.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
        rest.starts_with('[') || (rest.contains(" = ") && is_key)
    })
}

fn woken(text: &str, wakes: impl Fn(usize) -> bool) -> String {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(at, line)| asleep(line).filter(|_| wakes(at)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn it_is_valid_as_it_is_and_with_all_of_it_awake() {
    let (text, check) = shipped();
    let config = check(&text);
    assert_eq!((config.listeners.len(), config.warnings.len()), (3, 0));
    assert_eq!(text.lines().filter_map(asleep).count(), 79);
    let config = check(&woken(&text, |_| true));
    // No limit is what holds without that key.
    let usual = Limits { max_sessions_per_account: Some(50), ..Limits::default() };
    assert_eq!(format!("{:?}", config.limits), format!("{usual:?}"), "the values are the defaults");
    assert_eq!(format!("{:?}", config.log), format!("{:?}", Log::default()));
    assert_eq!(config.listeners[2].account.as_ref().unwrap().user, "scanner@contoso.com");
    assert!(config.vault.is_some());
    assert_eq!(config.status.as_ref().unwrap().bind.to_string(), "127.0.0.1:1580");
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn each_key_and_each_table_can_be_woken_alone() {
    let (text, check) = shipped();
    let lines: Vec<_> = text.lines().collect();
    let plain = check(&text);
    let (mut keys, mut tables) = (0, 0);
    let mut in_table = false;
    for (at, line) in lines.iter().enumerate() {
        match asleep(line) {
            Some(rest) if rest.starts_with('[') => {
                in_table = true;
                let length =
                    lines[at..].iter().position(|line| line.is_empty()).unwrap_or(lines.len());
                let vault = if rest.starts_with("[entra.by_sign_in") { "\n[vault]\n" } else { "" };
                // With a second app each account says which is its own.
                let wakes =
                    |line| (at..at + length).contains(&line) || lines[line].starts_with("# entra ");
                check(&(woken(&text, wakes) + vault));
                tables += 1;
            }
            Some(_) if !in_table => {
                let config = check(&woken(&text, |line| line == at));
                // What is shown is what holds without it.
                if !["client_secret_expires", "allow"].iter().any(|key| line.contains(key)) {
                    let shown = |config: &Config| format!("{:?}", config.listeners[0].upstream);
                    assert_eq!(shown(&config), shown(&plain));
                    let app = |config: &Config| format!("{:?}", config.accounts[0].entra);
                    assert_eq!(app(&config), app(&plain), "{line}");
                }
                keys += 1;
            }
            Some(_) => {}
            None => in_table &= line.starts_with('#'),
        }
    }
    assert_eq!((keys, tables), (14, 12));
}

#[test]
fn every_key_that_can_be_written_is_shown() {
    let (text, _) = shipped();
    let mirror = include_str!("../file.rs");
    let fields = mirror.lines().filter_map(|line| {
        let rest = line.strip_prefix("    pub(super) ")?;
        rest.split_once(": ").map(|(name, _)| name)
    });
    let keys: BTreeSet<_> = fields.collect();
    let tables = ["[entra.", "[[listener]]", "[[account]]", "[outbound]", "[limits]", "[log]"];
    assert!(tables.iter().chain(&["[vault]", "[status]"]).all(|table| text.contains(table)));
    let mut seen = 0;
    for key in keys {
        if ["entra", "listener", "account", "outbound", "limits", "log", "vault", "status"]
            .contains(&key)
        {
            continue; // tables
        }
        let is_shown = text.match_indices(key).any(|(at, _)| {
            let before = text[..at].chars().next_back().is_none_or(|c| " {\n".contains(c));
            before && text[at + key.len()..].trim_start_matches(' ').starts_with("= ")
        });
        assert!(is_shown, "{key} is not in proxy.toml");
        seen += 1;
    }
    assert_eq!(seen, 56);
}
