//! Whatever stands in the file: the check does not panic, and nobody is told a secret.

use std::path::Path;

use proptest::prelude::*;

use super::{super::*, HASH};

/// Any three octets of it in a row give it away.
const CANARY: &str = "Zq7Zq7Zq7Zq7Zq7Zq7";

/// Every place for a (secret), and a login in a URL. `~` is where the value comes.
fn whole(values: &[String; 5]) -> String {
    let [one, two, three, four, five] = values;
    format!(
        "[entra.c]\ntenant = \"contoso.example\"\nclient_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n\
         grant = \"client_credentials\"\nclient_secret = {one}\n\
         [entra.d]\ntenant = \"contoso.example\"\nclient_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n\
         grant = \"client_credentials\"\ncertificate = {{ certificate = \"/dev/null\", password = {two} }}\n\
         [vault]\nkey = {three}\n\
         [outbound]\nproxy = {five}\nusername = \"u\"\npassword = {four}\n\
         [[listener]]\nprotocol = \"smtp\"\nbind = \"127.0.0.1:1587\"\n\
         [[account]]\nuser = \"a@contoso.example\"\nentra = \"c\"\npassword_hash = \"{HASH}\"\n"
    )
}

/// All that anybody is told of a file.
fn told(text: &str) -> String {
    let environment =
        |name: &str| ["SET", "HTTPS_PROXY"].contains(&name).then(|| CANARY.to_owned());
    match parse("proxy.toml", text, Path::new("/nowhere"), &environment) {
        Ok(config) => format!("{config:?}"),
        Err(error) => format!("{error}\n{error:?}"),
    }
}

fn keeps_the_secret(text: &str) -> bool {
    !told(text).contains("Zq7")
}

#[test]
fn no_form_of_a_secret_is_told_from_any_place() {
    let forms = [
        "\"~\"",
        "'~'",
        "\"\"\"~\"\"\"",
        "\"~",
        "~",
        "\"~\" x",
        "\"~\"\"~\"",
        "[\"~\"]",
        "[\"~\", 5]",
        "[[\"~\"]]",
        "{ env = \"SET\" }",
        "{ env = \"~!\" }",
        "{ path = \"~\" }",
        "{ file = \"x\", env = \"~\" }",
        "{ env = [\"~\"] }",
        "{ env = \"~\"",
        "{ \"~\" = 1 }",
        "\"\\~\"",
        "\"\\u~\"",
        "\"~\u{0}\"",
        "{}",
        "{ value = \"~\" }",
        "\"~\" = 1",
        "[\"~\"",
        "{ credential = \"../~\" }",
        "\"http://u:~@\"",
        "\"socks5://u:~@x:1\"",
        "\"http://u:~@x:1\"",
    ];
    let usual = ["\"a\"", "\"a\"", "{ file = \"k\" }", "\"a\"", "\"http://x:1\""];
    let mut ran = 0;
    for form in forms {
        for place in 0..usual.len() {
            let mut values = usual.map(str::to_owned);
            values[place] = form.replace('~', CANARY);
            let text = whole(&values);
            assert!(keeps_the_secret(&text), "{form} at {place}: {}", told(&text));
            ran += 1;
        }
    }
    assert_eq!(ran, 140);
    // Numbers, which a wrong type would quote.
    for key in ["client_secret", "password_hash", "tenant"] {
        let text = whole(&usual.map(str::to_owned));
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        let told = told(&text.replace(line, &format!("{key} = 73317331")));
        assert!(told.contains(key) && !told.contains("7331"), "{told}");
    }
    assert!(
        !keeps_the_secret(&whole(&usual.map(str::to_owned)).replace("\"smtp\"", "\"Zq7\"")),
        "the check can fail"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in "\\PC*") {
        told(&text);
    }

    #[test]
    fn no_mangled_file_makes_the_check_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, "[\\[\\]{}\"'=,.#\n a-z0-9-]{0,6}"), 1..4)
    ) {
        let mut text: Vec<char> = include_str!("../../../proxy.toml").replace("\n# ", "\n").chars().collect();
        for (at, length, by) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, by.chars());
        }
        told(&text.into_iter().collect::<String>());
    }

    /// A slip of the pen within the value tells nothing of it.
    #[test]
    fn no_slip_within_a_secret_tells_it(
        place in 0..5_usize,
        form in prop::sample::select(vec!["\"~\"", "'~'", "{ value = \"~\" }", "[\"~\", \"~\"]", "\"http://u:~@x:1\""]),
        slips in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec!['"', '\'', '\\', '[', ']', '{', '}', ',', '#', ' ', '@', ':', '/'])), 1..5),
    ) {
        let mut value: Vec<char> = form.replace('~', CANARY).chars().collect();
        for (at, by) in slips {
            value.insert(at.index(value.len() + 1), by);
        }
        let mut values = ["\"a\"", "\"a\"", "{ file = \"k\" }", "\"a\"", "\"http://x:1\""].map(str::to_owned);
        values[place] = value.into_iter().collect();
        let text = whole(&values);
        prop_assert!(keeps_the_secret(&text), "{}", told(&text));
    }
}
