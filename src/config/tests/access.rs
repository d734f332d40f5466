//! Who may come in, the vault, and the limits of guessing.

use std::{fs, time::Duration};

use secrecy::ExposeSecret;

use super::{super::*, HASH, check, environment, file};

/// The usual file with a listener that pins, behind it.
fn pinned(listener: &str) -> String {
    format!("{}\n[[listener]]\nprotocol = \"smtp\"\nbind = \"0.0.0.0:1588\"\n{listener}\n", file())
}

#[test]
fn a_listener_may_be_one_account_without_a_login() {
    let text = pinned("allow = [\"192.0.2.7\"]\naccount = \"Scanner@contoso.com\"");
    let config = check(&text).unwrap();
    assert!(config.listeners[0].account.is_none() && !config.listeners[0].pass_tokens);
    let pin = config.listeners[1].account.clone().unwrap();
    assert_eq!(pin.user, "Scanner@contoso.com");
    assert!(Arc::ptr_eq(&pin.account, &config.accounts[0]));

    // Only what such a listener uses may go without a hash.
    let no_hash = format!("password_hash = \"{HASH}\"\n");
    let config = check(&text.replace(&no_hash, "")).unwrap();
    assert_eq!(config.accounts[0].password_hash, None);
    let other = text.replace("Scanner@contoso.com", "copier@contoso.com").replace(&no_hash, "");
    assert!(check(&other).is_err(), "the pinned account is another");
    let wide = other + "\n[[account]]\nuser = \"*@contoso.com\"\n";
    let error = check(&wide).unwrap_err().to_string();
    let [one] = error.lines().collect::<Vec<_>>()[..] else { panic!("{error}") };
    assert!(one.contains(":12: account.password_hash is missing"), "{error}");
}

#[test]
fn a_pinned_listener_is_refused_where_it_would_let_too_much_in() {
    let rows: &[(&str, &[&str])] = &[
        ("account = \"scanner@contoso.com\"", &["add allow = ", "without a login"]),
        ("allow = [\"0.0.0.0/0\"]\naccount = \"scanner@contoso.com\"", &["every address"]),
        ("allow = [\"::/0\"]\naccount = \"scanner@contoso.com\"", &["every address"]),
        ("allow = []\naccount = \"scanner@contoso.com\"", &["listener.allow is empty"]),
        ("allow = [\"192.0.2.7\"]\naccount = \"nobody@contoso.com\"", &["no [[account]] covers"]),
        ("allow = [\"192.0.2.7\"]\naccount = \"*@contoso.com\"", &["is no user"]),
        ("allow = [\"192.0.2.7\"]\naccount = 7", &["listener.account: must be a string"]),
        (
            "allow = [\"192.0.2.7\"]\naccount = \"scanner@contoso.com\"\npass_tokens = true",
            &["pass_tokens", "keep one"],
        ),
        ("allow = [\"192.0.2.7\"]\npass_tokens = \"yes\"", &["pass_tokens: must be a boolean"]),
    ];
    let mut ran = 0;
    for (listener, words) in rows {
        let error = check(&pinned(listener)).expect_err(listener).to_string();
        for word in *words {
            assert!(error.contains(word), "{listener}: no {word:?} in {error}");
        }
        ran += 1;
    }
    assert_eq!(ran, 9);
    let good = "allow = [\"192.0.2.7\"]\naccount = \"scanner@contoso.com\"";
    let imap = pinned(good).replace("\"smtp\"\nbind = \"0.0.0.0", "\"imap\"\nbind = \"0.0.0.0");
    let error = check(&imap).unwrap_err().to_string();
    assert!(error.contains("proxy.toml:19: listener.account: only protocol = \"smtp\""), "{error}");
    let by_password = pinned(good)
        .replace("client_credentials", "password")
        .replace(&format!("password_hash = \"{HASH}\"\n"), "");
    let error = check(&by_password).unwrap_err().to_string();
    assert!(error.contains("listener.account: with grant = \"password\""), "{error}");
    let short = pinned("allow = [\"192.0.2.7\"]\naccount = \"scanner\"")
        .replace("Scanner@Contoso.com", "*");
    let error = check(&short).unwrap_err().to_string();
    assert!(error.contains("scanner is no address"), "{error}");
}

#[test]
fn a_short_name_has_a_mailbox_for_each_protocol_that_is_spoken() {
    let listener = |protocol: &str, port| {
        format!("[[listener]]\nprotocol = \"{protocol}\"\nbind = \"127.0.0.1:{port}\"\n")
    };
    let (imap, pop3) = (listener("imap", 1143), listener("pop3", 1110));
    let both = imap.clone() + &pop3;
    let pins = "allow = [\"127.0.0.1\"]\naccount = \"scanner@contoso.com\"\n";
    let pinned = listener("smtp", 1588) + pins;
    let (app, person) = ("client_credentials", "device_code");
    // Grant, user, mailbox, the listeners beside the first, and what lacks a mailbox.
    let rows: &[(&str, &str, &str, &str, &[&str])] = &[
        (app, "scanner", "{}", "", &["smtp"]),
        (app, "scanner", "{ imap = \"a@contoso.com\" }", &imap, &["smtp"]),
        (app, "scanner", "{ imap = \"a@contoso.com\" }", &both, &["smtp", "pop3"]),
        (app, "scanner", "{ smtp = \"a@contoso.com\" }", "", &[]),
        (app, "scanner", "{ smtp = \"a@contoso.com\", pop3 = \"a@contoso.com\" }", &pop3, &[]),
        (app, "scanner", "\"a@contoso.com\"", &both, &[]),
        (app, "ann@contoso.com", "{}", &both, &[]),
        (app, "*", "{}", &both, &[]),
        (person, "scanner", "{}", "", &["smtp"]),
        ("password", "scanner", "{}", &both, &[]),
    ];
    let mut ran = 0;
    for (grant, user, mailbox, more, lacking) in rows {
        let with = file()
            .replace("client_credentials", grant)
            .replace("Scanner@Contoso.com", user)
            .replace("password_hash", &format!("mailbox = {mailbox}\npassword_hash"));
        let with = match *grant {
            "password" => with.replace(&format!("password_hash = \"{HASH}\"\n"), ""),
            "device_code" => {
                format!("vault = {{}}\n{with}").replace("client_secret = \"S3cretValue~\"\n", "")
            }
            _ => with,
        };
        match check(&(with + more)) {
            Ok(_) => assert!(lacking.is_empty(), "row {ran}"),
            Err(error) => {
                let error = error.to_string();
                let [one] = error.lines().collect::<Vec<_>>()[..] else { panic!("{error}") };
                assert!(!lacking.is_empty(), "row {ran}: {error}");
                let names = format!("account.mailbox: for {} there is", lacking.join(" and "));
                assert!(one.contains(&names), "row {ran}: {error}");
                for name in *lacking {
                    assert!(one.contains(&format!("{name} = \"scanner@contoso.com\"")), "{error}");
                }
            }
        }
        ran += 1;
    }
    assert_eq!(ran, 10);

    // A listener that asks for no login is of its own account only.
    let short = "[[account]]\nuser = \"erp\"\nmailbox = { imap = \"a@contoso.com\" }\n";
    let text = file().replacen("\"smtp\"", "\"imap\"", 1) + short;
    let text = format!("{text}password_hash = \"{HASH}\"\n{pinned}");
    check(&text).unwrap();
}

#[test]
fn an_account_may_be_used_from_its_networks_only() {
    assert!(check(&file()).unwrap().accounts[0].allow.is_empty());
    let with = |allow: &str| check(&format!("{}allow = {allow}\n", file()));
    let nets = with("[\"10.0.0.0/8\", \"::1\"]").unwrap().accounts[0].allow.clone();
    assert_eq!(nets, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse::<IpNet>().unwrap()]);
    let error = with("[\"ten\"]").unwrap_err().to_string();
    assert!(error.contains("proxy.toml:14: account.allow: \"ten\" is no address"), "{error}");
    assert!(with("[]").unwrap_err().to_string().contains("account.allow is empty"));
    let config = check(&file().replace("bind =", "pass_tokens = true\nbind =")).unwrap();
    assert!(config.listeners[0].pass_tokens);
}

#[test]
fn lockouts_can_be_adjusted_but_not_switched_off() {
    let limits = check(&file()).unwrap().limits;
    assert_eq!((limits.lockout_after, limits.lockout_time), (10, Duration::from_secs(300)));
    let with = |lines: &str| check(&format!("{}\n[limits]\n{lines}\n", file()));
    let limits = with("lockout_after = 3\nlockout_time = \"1h\"").unwrap().limits;
    assert_eq!((limits.lockout_after, limits.lockout_time), (3, Duration::from_secs(3600)));
    for (line, word) in [
        ("lockout_after = 0", "limits.lockout_after must be from 1"),
        ("lockout_after = -1", "limits.lockout_after: must be a whole number"),
        ("lockout_time = \"0s\"", "limits.lockout_time must be from 1s"),
        ("lockout_time = 300", "limits.lockout_time: must be a string, and not integer"),
    ] {
        let error = with(line).unwrap_err().to_string();
        assert!(error.contains(word), "{line}: {error}");
    }
}

#[test]
fn the_vault_has_a_key_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |lines: &str| {
        let text = format!("{}\n[vault]\n{lines}\n", file());
        parse("proxy.toml", &text, folder.path(), &environment)
    };
    let config = in_folder("").unwrap();
    let vault = config.vault.unwrap();
    assert_eq!(vault.path, folder.path().join("mailwicket.vault"));
    let VaultKey::File(file) = vault.key else { panic!() };
    assert_eq!(file, folder.path().join("mailwicket.vault.key"));
    assert!(!file.exists(), "it is made at first use");
    let elsewhere = in_folder("path = \"kept\"").unwrap().vault.unwrap();
    let VaultKey::File(file) = elsewhere.key else { panic!() };
    assert_eq!(file, folder.path().join("kept.key"), "beside the vault, which can be written");
    assert_eq!(config.warnings, Vec::<String>::new());
    assert!(check(&super::file()).unwrap().vault.is_none());

    let octets = format!("{}=", "A".repeat(43));
    for key in [octets.as_str(), octets.trim_end_matches('=')] {
        let vault = in_folder(&format!("key = \"{key}\"")).unwrap().vault.unwrap();
        let VaultKey::Value(value) = vault.key else { panic!() };
        assert_eq!(value.expose_secret(), octets);
    }
    let url_safe = format!("key = \"{}\"", "-_".repeat(21) + "8");
    let VaultKey::Value(value) = in_folder(&url_safe).unwrap().vault.unwrap().key else { panic!() };
    assert_eq!(value.expose_secret(), "+/".repeat(21) + "8=");

    let rows = [
        ("key = \"S3cret\"", "32 octets in base64"),
        ("key = \"S3cretAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\"", "32 octets in base64"),
        ("key = { env = \"SECRET\" }", "openssl rand"),
        ("key = { env = \"NONE\" }", "the environment has no variable NONE"),
        ("key = 7", "vault.key: a secret is a string"),
        ("key = { file = \"mailwicket.vault\" }", "a file of its own"),
        ("path = \"\"", "vault.path is no file"),
        ("path = \"..\"", "vault.path is no file"),
        ("file = \"x\"", "unknown field `file`"),
    ];
    let mut ran = 0;
    for (lines, word) in rows {
        let error = in_folder(lines).expect_err(lines).to_string();
        assert!(error.contains(word) && !error.contains("S3cret"), "{lines}: {error}");
        ran += 1;
    }
    assert_eq!(ran, 9);
    let warnings = in_folder("path = \"later/v\"").unwrap().warnings;
    assert!(warnings[0].contains("vault.path: there is no folder"), "{warnings:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for name in ["mailwicket.vault", "mailwicket.vault.key"] {
            fs::write(folder.path().join(name), "").unwrap();
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(folder.path().join(name), mode).unwrap();
        }
        let warnings = in_folder("").unwrap().warnings;
        assert!(warnings.iter().all(|told| told.contains("chmod 600")), "{warnings:?}");
        assert_eq!(warnings.len(), 2);
    }
}

#[test]
fn the_closest_account_says_whose_tokens_come_from_an_app() {
    let app = |name: &str| {
        let mut app = (*EntraApp::sample(Grant::by_password())).clone();
        app.name = name.to_owned();
        Arc::new(app)
    };
    let account = |user, name: &str, mailbox| {
        let entra = app(name);
        Arc::new(Account { user, password_hash: None, mailbox, entra, allow: Vec::new() })
    };
    let owner = Some("owner@fabrikam.example".to_owned());
    let short = Mailbox { smtp: owner, imap: None, pop3: None };
    let domain = UserPattern::Domain("contoso.example".to_owned());
    let mut config = check(&file()).unwrap();
    config.accounts = vec![
        account(domain, "domain", Mailbox::default()),
        account(UserPattern::Exact("ann@contoso.example".to_owned()), "exact", Mailbox::default()),
        account(UserPattern::Exact("prn".to_owned()), "short", short),
    ];
    let rows = [
        ("ann@contoso.example", "exact", true),
        ("Ann@Contoso.example", "exact", true),
        ("ann@contoso.example", "domain", false),
        ("bob@contoso.example", "domain", true),
        ("bob@contoso.example", "exact", false),
        ("bob@fabrikam.example", "domain", false),
        ("Owner@fabrikam.example", "short", true),
    ];
    let mut ran = 0;
    for (user, name, covered) in rows {
        assert_eq!(config.covers(&app(name), user), covered, "{user} {name}");
        ran += 1;
    }
    assert_eq!(ran, 7);
}
