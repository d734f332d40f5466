//! What a first-time user gets wrong, and what they are told.

mod access;
mod canary;
mod entra;
mod local_tls;
mod shipped;

use std::{fs, path::Path, time::Duration};

use secrecy::ExposeSecret;

use super::*;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The day of these tests.
const TODAY: Date = Date::constant(2026, 11, 25);

/// A whole file: line 1 is `[entra.c]`, line 7 `[[listener]]`, line 11 `[[account]]`.
fn file() -> String {
    format!(
        "[entra.c]\ntenant = \"contoso.onmicrosoft.com\"\nclient_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n\
         grant = \"client_credentials\"\nclient_secret = \"S3cretValue~\"\n\n\
         [[listener]]\nprotocol = \"smtp\"\nbind = \"127.0.0.1:1587\"\n\n\
         [[account]]\nuser = \"Scanner@Contoso.com\"\npassword_hash = \"{HASH}\"\n"
    )
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "SECRET" => "from-env\n",
        "EMPTY" => "\n",
        _ => return None,
    };
    Some(value.to_owned())
}

fn check(text: &str) -> Result<Config, ConfigError> {
    parse("proxy.toml", text, Path::new("/nowhere"), &environment)
}

#[test]
fn a_short_file_has_every_default() {
    let config = check(&file()).unwrap();
    let listener = &config.listeners[0];
    assert_eq!(
        listener.upstream,
        Upstream { host: "smtp.office365.com".to_owned(), port: 587, security: Security::StartTls }
    );
    assert!(listener.allow.iter().all(|net| net.addr().is_loopback()));
    let account = &config.accounts[0];
    assert_eq!(account.user, UserPattern::Exact("scanner@contoso.com".to_owned()));
    assert_eq!(
        account.entra.token_url(),
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    );
    assert_eq!(
        account.entra.audience,
        Audience::Scope("https://outlook.office365.com/.default".to_owned())
    );
    assert_eq!(account.entra.token_expiry_margin, Duration::from_secs(600));
    assert!(config.outbound.proxies.is_empty() && config.outbound.token_proxies.is_none());
    assert_eq!(config.limits.max_sessions, 1000);
    assert_eq!(config.limits.max_sessions_per_address, 500);
    assert_eq!(config.limits.login_timeout, Duration::from_secs(60));
    assert_eq!(config.limits.shutdown_grace, Duration::from_secs(30));
    let idle = |protocol| config.limits.idle_timeout(protocol).as_secs() / 60;
    assert_eq!([Protocol::Smtp, Protocol::Imap, Protocol::Pop3].map(idle), [10, 35, 10]);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn every_protocol_has_its_own_way_to_exchange_online() {
    let rows = [
        ("smtp", "smtp.office365.com", 587, Security::StartTls),
        ("imap", "outlook.office365.com", 993, Security::Tls),
        ("pop3", "outlook.office365.com", 995, Security::Tls),
    ];
    for (protocol, host, port, security) in rows {
        let config = check(&file().replace("\"smtp\"", &format!("\"{protocol}\""))).unwrap();
        let expected = Upstream { host: host.to_owned(), port, security };
        assert_eq!(config.listeners[0].upstream, expected);
    }
}

#[test]
fn an_imap_idle_timeout_that_cuts_idle_is_warned_of() {
    let with = |idle: &str| {
        check(&format!("{}\n[limits]\nimap_idle_timeout = \"{idle}\"\n", file())).unwrap()
    };
    assert!(with("40m").warnings.is_empty());
    let warned = with("10m").warnings;
    assert!(warned[0].contains("29 minutes"), "{warned:?}");
}

#[test]
fn older_names_are_accepted() {
    let text = file()
        .replace("tenant =", "tenant-authority = \"https://login.example/\"\ntoken-expiry-margin-time = \"5m\"\ndirectory-id =")
        .replace("client_id", "client-id")
        .replace("client_secret", "secret");
    let config = check(&text).unwrap();
    let app = &config.accounts[0].entra;
    assert_eq!(
        (app.authority.as_str(), app.token_expiry_margin),
        ("https://login.example", Duration::from_secs(300))
    );
}

#[test]
fn every_mistake_is_told_with_line_key_and_remedy() {
    // What is replaced, by what, the line that is named, and words that must be there.
    let rows: &[(&str, &str, usize, &[&str])] = &[
        ("client_secret", "client_sekret", 5, &["client_sekret", "client_secret"]),
        (
            "client_secret = \"S3cretValue~\"",
            "client_secret = { env = \"NONE\" }",
            5,
            &["client_secret", "NONE", "set it"],
        ),
        (
            "client_secret = \"S3cretValue~\"",
            "client_secret = { env = \"EMPTY\" }",
            5,
            &["client_secret", "empty"],
        ),
        (
            "client_secret = \"S3cretValue~\"",
            "client_secret = { file = \"gone.txt\" }",
            5,
            &["/nowhere/gone.txt", "mend"],
        ),
        (
            "client_secret = \"S3cretValue~\"",
            "client_secret = { path = \"x\" }",
            5,
            &["entra.c.client_secret", "file = ", "env = ", "credential = "],
        ),
        ("client_secret = \"S3cretValue~\"", "", 4, &["client_secret is missing"]),
        (
            "tenant = \"contoso.onmicrosoft.com\"",
            "tenant = \"common\"",
            2,
            &["entra.c.tenant", "Directory (tenant) ID"],
        ),
        ("tenant = \"contoso.onmicrosoft.com\"", "tenant = \"a/../b\"", 2, &["entra.c.tenant"]),
        ("tenant = \"contoso.onmicrosoft.com\"", "", 4, &["entra.c.tenant is missing"]),
        (
            "01234567-89ab-cdef-0123-456789abcdef",
            "my app",
            3,
            &["client_id", "Application (client) ID"],
        ),
        (
            "\"client_credentials\"",
            "\"device_code\"",
            4,
            &["entra.c.grant", "device_code", "add a line [vault]"],
        ),
        ("\"client_credentials\"", "\"magic\"", 4, &["magic", "\"password\""]),
        ("grant =", "authority = \"http://login.example\"\ngrant =", 4, &["authority", "https"]),
        ("grant =", "authority = \"https://login.example/path\"\ngrant =", 4, &["authority"]),
        ("grant =", "token_expiry_margin = \"2h\"\ngrant =", 4, &["token_expiry_margin", "45m"]),
        (
            "grant =",
            "token_expiry_margin = \"soon\"\ngrant =",
            4,
            &["token_expiry_margin", "\"5m\""],
        ),
        ("grant =", "cloud = \"mars\"\ngrant =", 4, &["entra.c.cloud", "mars", "\"us_gov_high\""]),
        (
            "\"smtp\"",
            "\"imap\"\nupstream = { host = \"mail.example\", port = 143, security = \"starttls\" }",
            9,
            &["upstream.security", "imap", "\"tls\"", "993"],
        ),
        (
            "\"smtp\"",
            "\"pop3\"\nupstream = { security = \"starttls\" }",
            9,
            &["upstream.security", "pop3", "995"],
        ),
        ("\"smtp\"", "\"ftp\"", 8, &["ftp", "\"smtp\""]),
        ("127.0.0.1:1587", "localhost:1587", 9, &["listener.bind", "127.0.0.1:1587"]),
        ("127.0.0.1:1587", "0.0.0.0:1587", 9, &["listener.bind", "other machines", "allow ="]),
        (
            "127.0.0.1:1587\"",
            "0.0.0.0:1587\"\nallow = [\"10.0.0.0/33\"]",
            10,
            &["listener.allow", "10.20.0.0/16"],
        ),
        (
            "127.0.0.1:1587\"",
            "127.0.0.1:1587\"\nupstream = { security = \"none\" }",
            10,
            &["security", "never leaves in clear"],
        ),
        (
            "127.0.0.1:1587\"",
            "127.0.0.1:1587\"\nupstream = { host = \"a b\" }",
            10,
            &["upstream.host"],
        ),
        ("127.0.0.1:1587\"", "127.0.0.1:1587\"\nupstream = { port = 0 }", 10, &["upstream.port"]),
        (
            "127.0.0.1:1587\"",
            "127.0.0.1:1587\"\ntls = { mode = \"ssl\", self_signed = true }",
            10,
            &["listener.tls.mode", "\"ssl\"", "\"starttls\"", "\"implicit\"", "\"auto\""],
        ),
        (
            "127.0.0.1:1587\"",
            "127.0.0.1:1587\"\n[[listener]]\nprotocol = \"smtp\"\nbind = \"127.0.0.1:1587\"",
            12,
            &["twice"],
        ),
        ("Scanner@Contoso.com", "scan*@contoso.com", 12, &["account.user"]),
        ("Scanner@Contoso.com", "scanner", 12, &["account.mailbox", "mailbox = "]),
        (
            "password_hash =",
            "mailbox = \"not an address\"\npassword_hash =",
            13,
            &["account.mailbox"],
        ),
        ("password_hash =", "entra = \"other\"\npassword_hash =", 13, &["[entra.other]"]),
        (
            "password_hash = \"$argon2id",
            "password_hash = \"plain",
            13,
            &["password_hash", "hash-password"],
        ),
        ("m=19456", "m=9999999", 13, &["password_hash", "256 MiB"]),
        ("[entra.c]", "limits = { max_sessions = 0 }\n[entra.c]", 1, &["max_sessions", "from 1"]),
        (
            "[entra.c]",
            "limits = { max_sessions_per_account = 0 }\n[entra.c]",
            1,
            &["max_sessions_per_account", "from 1"],
        ),
        (
            "[entra.c]",
            "limits = { smtp_sessions_per_mailbox = 0 }\n[entra.c]",
            1,
            &["smtp_sessions_per_mailbox", "from 1"],
        ),
        (
            "[entra.c]",
            "limits = { queue_timeout = \"60s\" }\n[entra.c]",
            1,
            &["queue_timeout", "shorter than login_timeout (1m)", "write \"20s\""],
        ),
        (
            "[entra.c]",
            "limits = { login_timeout = \"10s\", queue_timeout = \"10s\" }\n[entra.c]",
            1,
            &["shorter than login_timeout (10s)", "write \"5s\""],
        ),
        ("[entra.c]", "log = { level = \"loud\" }\n[entra.c]", 1, &["log.level", "debug"]),
        ("[entra.c]", "log = { format = \"xml\" }\n[entra.c]", 1, &["log.format", "json"]),
        (
            "[entra.c]",
            "status = { bind = \"x\" }\n[entra.c]",
            1,
            &["status.bind", "\"127.0.0.1:1580\""],
        ),
        (
            "[entra.c]",
            "status = { bind = \"0.0.0.0:1580\" }\n[entra.c]",
            1,
            &["status.bind", "add allow"],
        ),
        (
            "[entra.c]",
            "status = { bind = \"127.0.0.1:1587\" }\n[entra.c]",
            1,
            &["status.bind", "a listener's"],
        ),
        ("[entra.c]", "status = { allow = [\"x\"] }\n[entra.c]", 1, &["status.allow"]),
        ("[entra.c]", "status = { port = 1 }\n[entra.c]", 1, &["unknown field `port`"]),
        (
            "[entra.c]",
            "outbound = { proxy = \"ftp://x\" }\n[entra.c]",
            1,
            &["outbound.proxy", "http://HOST:PORT"],
        ),
        (
            "[entra.c]",
            "outbound = { proxy = \"socks5://x:1\" }\n[entra.c]",
            1,
            &["outbound.proxy", "write socks5h://"],
        ),
        (
            "[entra.c]",
            "outbound = { token_proxy = [\"http://x:1\", \"http://x/wpad.dat\"] }\n[entra.c]",
            1,
            &["outbound.token_proxy", "(PAC)"],
        ),
        (
            "[entra.c]",
            "outbound = { proxy = [\"none\", \"http://x:1\"] }\n[entra.c]",
            1,
            &["outbound.proxy", "only be the last"],
        ),
        (
            "[entra.c]",
            "outbound = { proxy = [] }\n[entra.c]",
            1,
            &["outbound.proxy", "empty array"],
        ),
        ("[entra.c]", "outbound = { proxy = 7 }\n[entra.c]", 1, &["outbound.proxy", "HOST:PORT"]),
        (
            "[entra.c]",
            "outbound = { proxy = \"socks5h://u:@x:1\" }\n[entra.c]",
            0,
            &["socks5h", "255"],
        ),
        (
            "[entra.c]",
            "outbound = { proxy = \"http://x:1\", username = \"u\" }\n[entra.c]",
            1,
            &["outbound.password"],
        ),
        (
            "[entra.c]",
            "outbound = { proxy = \"http://x:1\", proxy_auth = \"kerberos\" }\n[entra.c]",
            1,
            &["outbound.proxy_auth", "negotiate"],
        ),
        (
            "[entra.c]",
            "outbound = { proxy = \"http://x:1\", proxy_auth = \"ntlm\" }\n[entra.c]",
            1,
            &["needs outbound.username"],
        ),
        ("[entra.c]", "outbound = { no_proxy = [\"a b\"] }\n[entra.c]", 1, &["no_proxy", "a b"]),
        (
            "[entra.c]",
            "outbound = { ca_file = \"gone.pem\" }\n[entra.c]",
            1,
            &["ca_file", "/nowhere/gone.pem"],
        ),
        ("[entra.c]", "[entra.c", 1, &[]),
    ];
    let mut ran = 0;
    for (what, by, line, words) in rows {
        let text = file().replacen(what, by, 1);
        assert_ne!(text, file(), "{what}");
        let error = check(&text).expect_err(by).to_string();
        let place = match line {
            0 => "proxy.toml: ".to_owned(),
            line => format!("proxy.toml:{line}: "),
        };
        assert!(error.lines().any(|told| told.starts_with(&place)), "{by}: {error}");
        for word in *words {
            assert!(error.contains(word), "{by}: no {word:?} in {error}");
        }
        assert!(!error.contains("S3cret"), "{by}: {error}");
        ran += 1;
    }
    assert_eq!(ran, 59);
}

#[test]
fn the_queue_fits_into_the_login_and_more_than_exchange_takes_is_told() {
    let limits = |text: &str| check(&format!("limits = {{ {text} }}\n{}", file())).unwrap();
    let config = limits("login_timeout = \"10s\"");
    assert_eq!(config.limits.queue_timeout, Duration::from_secs(5), "nobody wrote it");
    assert_eq!(config.limits.max_sessions_per_account, None);
    let config = limits("smtp_sessions_per_mailbox = 4, queue_timeout = \"0s\"");
    assert_eq!(config.limits.queue_timeout, Duration::ZERO);
    assert!(config.warnings.iter().any(|words| words.contains("432 4.3.2")), "{config:?}");
    assert!(limits("smtp_sessions_per_mailbox = 1").warnings.is_empty());
}

#[test]
fn who_may_look_at_the_status() {
    let status = |text: &str| check(&format!("{text}\n{}", file())).unwrap().status;
    assert_eq!(status(""), None);
    let usual = status("status = {}").unwrap();
    assert_eq!(usual.bind.to_string(), "127.0.0.1:1580");
    assert_eq!(usual.allow.len(), 2, "loopback");
    let wide = status("status = { bind = \"0.0.0.0:9\", allow = [\"10.0.0.0/8\"] }").unwrap();
    assert_eq!(wide.allow, ["10.0.0.0/8".parse().unwrap()]);
}

#[test]
fn all_mistakes_are_told_at_once_and_missing_tables_too() {
    let error = check("").unwrap_err().to_string();
    for table in ["[entra.NAME]", "[[listener]]", "[[account]]"] {
        assert!(error.contains(table), "{error}");
    }
    let text =
        file().replace("common", "").replace("127.0.0.1:1587", "x").replace("$argon2id", "plain");
    assert_eq!(check(&text).unwrap_err().to_string().lines().count(), 2);
}

#[test]
fn no_message_quotes_a_secret_that_stands_on_a_faulty_line() {
    for faulty in [
        "client_secret = \"S3cretValue~",
        "client_secret = \"S3cretValue~\" x",
        "client_secret = S3cretValue",
        "client_secret = [\"S3cretValue~\", 7]",
    ] {
        let text = file().replace("client_secret = \"S3cretValue~\"", faulty);
        let error = check(&text).unwrap_err();
        assert!(
            !error.to_string().contains("S3cret") && !format!("{error:?}").contains("S3cret"),
            "{error:?}"
        );
    }
    let config = check(&file()).unwrap();
    assert!(!format!("{config:?}").contains("S3cret"), "{config:?}");
}

#[test]
fn with_the_password_grant_entra_judges() {
    let ropc = file()
        .replace("client_credentials", "password")
        .replace("client_secret = \"S3cretValue~\"\n", "");
    let error = check(&ropc).unwrap_err().to_string();
    assert!(error.contains("remove the hash"), "{error}");
    let text = ropc.replace(&format!("password_hash = \"{HASH}\"\n"), "");
    let config = check(&text).unwrap();
    assert_eq!(
        config.accounts[0].entra.audience,
        Audience::Scope("https://outlook.office.com/.default offline_access".to_owned())
    );
    let scoped =
        text.replace("grant =", "scope = \"https://outlook.office.com/SMTP.Send\"\ngrant =");
    let config = check(&scoped).unwrap();
    assert_eq!(
        config.accounts[0].entra.audience,
        Audience::Scope("https://outlook.office.com/SMTP.Send offline_access".to_owned())
    );
    let bare = file().replace(&format!("password_hash = \"{HASH}\"\n"), "");
    assert!(check(&bare).unwrap_err().to_string().contains("password_hash is missing"));
}

#[test]
fn secrets_come_from_files_and_the_environment_without_their_line_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret.txt"), "from-file\r\n").unwrap();
    let secret = |text: &str| {
        let text = file().replace("\"S3cretValue~\"", text);
        let config = parse("proxy.toml", &text, folder.path(), &environment).unwrap();
        let grant = &config.accounts[0].entra.grant;
        let Some(Credential::Secrets(secrets)) = grant.credential() else { panic!() };
        (secrets[0].expose_secret().to_owned(), config.warnings)
    };
    assert_eq!(secret("{ env = \"SECRET\" }").0, "from-env");
    assert_eq!(secret("{ file = \"secret.txt\" }").0, "from-file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path().join("secret.txt"), fs::Permissions::from_mode(0o644))
            .unwrap();
        assert!(secret("{ file = \"secret.txt\" }").1[0].contains("chmod 600"));
        fs::set_permissions(folder.path().join("secret.txt"), fs::Permissions::from_mode(0o600))
            .unwrap();
        assert!(secret("{ file = \"secret.txt\" }").1.is_empty());
    }
    let (_, warnings) = secret("\"01234567-89ab-cdef-0123-456789abcdef\"");
    assert!(warnings[0].contains("looks like the secret's ID"), "{warnings:?}");
}

#[test]
fn the_way_out_is_written_or_comes_from_the_environment() {
    let with = |pairs: &'static [(&str, &str)], more: &str| {
        let environment = move |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        parse("proxy.toml", &format!("{}{more}", file()), Path::new("."), &environment)
    };
    let outbound = with(
        &[
            ("HTTPS_PROXY", "http://u:p%40w@proxy:3128/"),
            ("no_proxy", "localhost,.corp.example, bad entry,10.0.0.0/8"),
        ],
        "",
    )
    .unwrap()
    .outbound;
    let proxy = only(&outbound);
    assert_eq!((proxy.scheme, proxy.host.as_str(), proxy.port), (ProxyScheme::Http, "proxy", 3128));
    assert_eq!(proxy.credentials.as_ref().unwrap().password.expose_secret(), "p@w");
    assert!(
        outbound
            .no_proxy
            .contains(&NoProxy::Domain { name: "corp.example".to_owned(), port: None })
    );
    let bare = with(&[("all_proxy", "proxy:1")], "").unwrap().outbound;
    assert_eq!((only(&bare).scheme, only(&bare).port), (ProxyScheme::Http, 1));
    let socks = with(&[("ALL_PROXY", "socks5h://proxy:1080")], "").unwrap().outbound;
    assert_eq!(only(&socks).scheme, ProxyScheme::Socks5h);
    let said = with(&[("HTTPS_PROXY", "http://proxy:1")], "\n[outbound]\n").unwrap();
    assert!(said.outbound.proxies.is_empty(), "a table has said all");
    let none = "\n[outbound]\nproxy = \"none\"\n";
    let none = with(&[("HTTPS_PROXY", "http://proxy:1")], none).unwrap();
    assert!(matches!(none.outbound.proxies[..], [Way::Direct]));
    let error = with(&[("HTTPS_PROXY", "socks5://u:hidden@proxy:1")], "").unwrap_err().to_string();
    assert!(error.contains("HTTPS_PROXY") && !error.contains("hidden"), "{error}");
    let both = "\n[outbound]\nproxy = \"http://a:b@proxy:1\"\nusername = \"u\"\npassword = \"p\"\n";
    assert!(with(&[], both).unwrap_err().to_string().contains("keep one"));
}

/// The one proxy there is.
fn only(outbound: &Outbound) -> &Proxy {
    match &outbound.proxies[..] {
        [Way::Proxy(proxy)] => proxy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_login_of_the_table_is_for_every_proxy_without_its_own() {
    let text = "\n[outbound]\nproxy = [\"https://a:443\", \"socks5h://x:y@b:1080\", \"none\"]\n\
        token_proxy = \"http://c:8080\"\nusername = \"u\"\npassword = \"p\"\n\
        no_proxy = [\"10.0.0.0/8:587\", \"[2001:db8::1]:25\"]\n";
    let outbound = check(&format!("{}{text}", file())).unwrap().outbound;
    let users: Vec<_> = outbound
        .proxies
        .iter()
        .chain(outbound.token_proxies.iter().flatten())
        .map(|way| match way {
            Way::Direct => "direct",
            Way::Proxy(proxy) => proxy.credentials.as_ref().unwrap().username.as_str(),
        })
        .collect();
    assert_eq!(users, ["u", "x", "direct", "u"]);
    assert!(
        outbound.no_proxy.iter().all(|entry| matches!(entry, NoProxy::Net { port: Some(_), .. }))
    );
    let nobody =
        text.replace("\"https://a:443\", ", "").replace("token_proxy = \"http://c:8080\"\n", "");
    let error = check(&format!("{}{nobody}", file())).unwrap_err().to_string();
    assert!(error.contains("keep one"), "{error}");
    // A scheme that hides the password says nothing of SOCKS, which gets it in clear.
    for (auth, own, fine) in
        [("ntlm", "x:y@", true), ("basic", "", true), ("ntlm", "", false), ("negotiate", "", false)]
    {
        let text = format!("{}{text}proxy_auth = \"{auth}\"\n", file()).replace("x:y@", own);
        match check(&text) {
            Ok(_) => assert!(fine, "{auth}"),
            Err(error) => {
                assert!(!fine && error.to_string().contains("in that proxy's URL"), "{error}");
            }
        }
    }
}
