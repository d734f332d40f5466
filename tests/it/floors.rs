//! Holds the floors of the house: imports go down only, and some rooms never know some crates.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Floor of each room; a room is a folder or a file directly under `src`.
const FLOORS: [(&str, u8); 14] = [
    ("mail", 1),
    ("advice", 1),
    ("secret", 1),
    ("stats", 1),
    ("config", 2),
    ("token", 3),
    ("net", 3),
    ("session", 4),
    ("daemon", 5),
    ("sandbox", 5),
    ("doctor", 5),
    ("cli", 6),
    ("lib", 7),
    ("main", 8),
];

/// Crates that a room must never know.
const STRANGERS: [(&str, &[&str]); 6] = [
    (
        "mail",
        &["tokio", "tokio_util", "tokio_rustls", "tracing", "reqwest", "std::time", "std::net"],
    ),
    ("advice", &["tokio", "tracing", "reqwest"]),
    ("secret", &["tokio", "tracing", "std::time"]),
    ("stats", &["tokio", "tracing", "reqwest", "hyper", "secrecy"]),
    ("config", &["tokio", "tracing", "reqwest", "rustls"]),
    ("token", &["tokio_rustls", "rustls", "hyper"]),
];

/// The files that may look at a secret: where one leaves the program, is hashed, or is checked.
const EXITS: [&str; 21] = [
    "cli/mod.rs",                      // hash-password: empty or not
    "config/check/outbound.rs",        // control characters, length
    "config/check/secret.rs",          // the trailing line end, a GUID in place of a secret, base64
    "mail/sasl.rs",                    // XOAUTH2
    "net/proxy_login/basic.rs",        // Proxy-Authorization
    "net/proxy_login/digest.rs",       // its hash
    "net/proxy_login/kerberos/mod.rs", // its key
    "net/proxy_login/ntlm.rs",         // its hash
    "net/socks/mod.rs",                // RFC 1929
    "secret/argon2id.rs",              // the hash of a password
    "secret/mod.rs",                   // keyed hashes
    "token/claims.rs",                 // what a token says of itself
    "token/entra.rs",                  // empty or not, printable or not
    "token/grant/certificate.rs",      // what a key file is encrypted with
    "token/grant/managed.rs",          // X-IDENTITY-HEADER
    "token/grant/mod.rs",              // the form
    "token/signin/browser.rs",         // the challenge of the verifier
    "token/signin/errand.rs",          // the form
    "token/signin/who.rs",             // the claims of the id token
    "token/vault/key.rs",              // the vault's key
    "token/vault/seal.rs",             // what is encrypted
];

struct Source {
    room: String,
    path: PathBuf,
    /// Without comments.
    code: String,
}

#[test]
fn imports_go_down_only() {
    let floors: BTreeMap<_, _> = FLOORS.into();
    let (mut edges, mut wrong) = (0, Vec::new());
    for source in sources() {
        let Some(floor) = floors.get(source.room.as_str()) else {
            panic!("{}: a room without a floor; give it one in FLOORS", source.path.display());
        };
        for import in imports(&source.code) {
            edges += 1;
            if import == source.room {
                continue;
            }
            match floors.get(import.as_str()) {
                None => wrong.push(format!(
                    "{}: crate::{import} is no room: import by module path",
                    source.path.display()
                )),
                Some(other) if other >= floor => {
                    wrong.push(format!(
                        "{}: {} (floor {floor}) imports {import} (floor {other})",
                        source.path.display(),
                        source.room
                    ));
                }
                Some(_) => {}
            }
        }
    }
    assert!(edges > 40, "only {edges} imports found: the test reads nothing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_do_not_know_strangers() {
    let mut looked = 0;
    for source in sources() {
        for (room, strangers) in STRANGERS {
            if source.room != room || is_test(&source.path) {
                continue;
            }
            looked += 1;
            let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
            for stranger in strangers {
                let found = ["use ", " ", "(", "&", "<", "\n"]
                    .iter()
                    .any(|before| code.contains(&format!("{before}{stranger}::")));
                assert!(!found, "{}: {room} must never know {stranger}", source.path.display());
            }
        }
    }
    assert!(looked > 10, "only {looked} files looked at");
}

#[test]
fn secrets_have_few_exits() {
    let mut exits: Vec<_> = sources()
        .into_iter()
        .filter(|source| {
            let code = source.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            code.contains("expose_secret") && !is_test(&source.path)
        })
        .map(|source| {
            source.path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
        })
        .collect();
    exits.sort();
    assert_eq!(exits, EXITS, "a new exit for secrets needs a reason in EXITS");
}

#[test]
fn files_stay_small() {
    let mut looked = 0;
    for source in sources() {
        looked += 1;
        let text = fs::read_to_string(&source.path).unwrap();
        let code =
            text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        assert!(
            is_test(&source.path) || code <= 400,
            "{}: {code} lines without tests",
            source.path.display()
        );
    }
    assert!(looked > 20, "only {looked} files looked at");
}

#[test]
fn the_import_reader_reads_every_form() {
    let code = "use crate::mail::Step;\nuse crate::{\n    config::{Config, Limits},\n    net,\n};\nfn f() { crate::token::get(); }";
    assert_eq!(imports(code), ["mail", "config", "net", "token"]);
}

/// The first segment behind every `crate::`, whether alone or in braces.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(name(rest));
            continue;
        };
        let (mut depth, mut fresh) = (1, true);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => fresh = true,
                _ if fresh && depth == 1 && !letter.is_whitespace() => {
                    found.push(name(&group[at..]));
                    fresh = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn name(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// `tests.rs`, or a file in a folder of that name.
fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.parent().is_some_and(|folder| folder.ends_with("tests"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut folders = vec![root()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let below = path.strip_prefix(root()).unwrap();
                let room = below.components().next().unwrap().as_os_str().to_string_lossy();
                let room = room.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).unwrap();
                let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
                let code = code.collect::<Vec<_>>().join("\n");
                sources.push(Source { room, path, code });
            }
        }
    }
    sources
}
