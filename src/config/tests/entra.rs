//! Apps: each grant, credential, cloud and tenant, and what does not go together.

use std::{fs, path::Path, time::Duration};

use secrecy::ExposeSecret;

use super::{super::*, HASH, TODAY};

const IDS: &str =
    "tenant = \"contoso.example\"\nclient_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n";
const SECRET: &str = "client_secret = \"v\"\n";
const OUTLOOK: &str = "https://outlook.office.com";

/// What an environment holds.
type Pairs = [(&'static str, &'static str)];

/// A file whose only app has these lines (from line 2 on), checked where it has the files it names.
fn check_in(
    folder: &Path,
    environment: &[(&str, &str)],
    app: &str,
    protocol: &str,
) -> Result<Config, ConfigError> {
    let hash = if app.contains("\"password\"") {
        String::new()
    } else {
        format!("password_hash = \"{HASH}\"")
    };
    let text = format!(
        "[entra.c]\n{app}\n[vault]\n[[listener]]\nprotocol = \"{protocol}\"\nbind = \"127.0.0.1:1587\"\n[[account]]\nuser = \"a@contoso.example\"\n{hash}\n"
    );
    let environment = |name: &str| {
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    parse("proxy.toml", &text, folder, &environment)
}

fn check(app: &str) -> Result<Config, ConfigError> {
    check_in(scene().0.path(), &[], app, "smtp")
}

fn app(text: &str) -> Arc<EntraApp> {
    let scene = scene();
    let config =
        check_in(scene.0.path(), &[], text, "smtp").unwrap_or_else(|e| panic!("{e}\n{text}"));
    Arc::clone(&config.accounts[0].entra)
}

struct Scene(tempfile::TempDir);

/// A folder with what apps name.
fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    for file in ["app.pem", "app.key", "app.PFX", "token"] {
        fs::write(folder.path().join(file), "x\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(folder.path().join(file), mode).unwrap();
        }
    }
    Scene(folder)
}

fn with(grant: &str, more: &str) -> String {
    format!("grant = \"{grant}\"\n{IDS}{more}")
}

fn scope(scope: &str) -> Audience {
    Audience::Scope(scope.to_owned())
}

#[test]
fn each_grant_has_its_own_default_scope() {
    let standing = "offline_access openid profile";
    let rows = [
        ("client_credentials", SECRET, "https://outlook.office365.com/.default".to_owned()),
        ("password", "", format!("{OUTLOOK}/.default offline_access")),
        ("authorization_code", "", format!("{OUTLOOK}/.default {standing}")),
        ("device_code", "", format!("{OUTLOOK}/.default {standing}")),
        (
            "workload_identity",
            "token_file = \"token\"",
            "https://outlook.office365.com/.default".to_owned(),
        ),
    ];
    let mut ran = 0;
    for (grant, more, expected) in rows {
        let app = app(&with(grant, more));
        assert_eq!(app.grant.name(), grant);
        assert_eq!(app.audience, scope(&expected), "{grant}");
        ran += 1;
    }
    assert_eq!(ran, 5);
    let machine = app("grant = \"managed_identity\"");
    assert_eq!(machine.audience, Audience::Resource("https://outlook.office365.com".to_owned()));
    assert_eq!((machine.client_id.as_str(), machine.tenant.as_str()), ("", ""));
    let own = app(&with("device_code", "scope = \"https://outlook.office.com/SMTP.Send openid\""));
    assert_eq!(own.audience, scope(&format!("{OUTLOOK}/SMTP.Send openid offline_access profile")));
    let old = app(&with("password", "resource = \"https://outlook.office365.com\""));
    assert_eq!(old.token_url(), "https://login.microsoftonline.com/contoso.example/oauth2/token");
}

#[test]
fn a_cloud_sets_authority_hosts_and_scope_together() {
    let com = "https://login.microsoftonline.com";
    let us = "https://login.microsoftonline.us";
    let cn = "https://login.partner.microsoftonline.cn";
    let rows = [
        (
            "global",
            com,
            ["smtp.office365.com", "outlook.office365.com"],
            "https://outlook.office365.com",
            OUTLOOK,
        ),
        (
            "us_gov_high",
            us,
            ["smtp.office365.us", "outlook.office365.us"],
            "https://outlook.office365.us",
            "https://outlook.office365.us",
        ),
        (
            "us_gov_dod",
            us,
            ["outlook-dod.office365.us"; 2],
            "https://outlook-dod.office365.us",
            "https://outlook.office365.us",
        ),
        (
            "china",
            cn,
            ["smtp.partner.outlook.cn", "partner.outlook.cn"],
            "https://partner.outlook.cn",
            "https://partner.outlook.cn",
        ),
    ];
    let mut ran = 0;
    let scene = scene();
    for (cloud, authority, hosts, app_only, of_users) in rows {
        let own = with("client_credentials", &format!("{SECRET}cloud = \"{cloud}\""));
        for (protocol, host) in [("smtp", hosts[0]), ("imap", hosts[1]), ("pop3", hosts[1])] {
            let config = check_in(scene.0.path(), &[], &own, protocol).unwrap();
            assert_eq!(config.listeners[0].upstream.host, host, "{cloud} {protocol}");
        }
        let own = app(&own);
        assert_eq!(own.authority, authority);
        assert_eq!(own.audience, scope(&format!("{app_only}/.default")));
        let users = app(&with("device_code", &format!("cloud = \"{cloud}\"")));
        assert_eq!(
            users.audience,
            scope(&format!("{of_users}/.default offline_access openid profile"))
        );
        let over = format!(
            "{SECRET}cloud = \"{cloud}\"\nauthority = \"https://x.example\"\nscope = \"y/.default\""
        );
        let over = app(&with("client_credentials", &over));
        assert_eq!(
            (over.authority.as_str(), &over.audience),
            ("https://x.example", &scope("y/.default"))
        );
        ran += 1;
    }
    assert_eq!(ran, 4);
    let china = app(&with("password", "cloud = \"china\""));
    assert_eq!(china.audience, Audience::Resource("https://partner.outlook.cn".to_owned()));
    assert_eq!(china.token_url(), format!("{cn}/contoso.example/oauth2/token"));
    let scoped = app(&with(
        "password",
        "cloud = \"china\"\nscope = \"https://partner.outlook.cn/.default\"",
    ));
    assert_eq!(scoped.audience, scope("https://partner.outlook.cn/.default offline_access"));
}

#[test]
fn personal_accounts_sign_in_and_do_nothing_else() {
    let id = "client_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n";
    let scopes = format!(
        "{OUTLOOK}/SMTP.Send {OUTLOOK}/IMAP.AccessAsUser.All {OUTLOOK}/POP.AccessAsUser.All offline_access openid profile"
    );
    for said in ["cloud = \"personal\"", "tenant = \"consumers\""] {
        let text = format!("grant = \"device_code\"\n{id}{said}");
        let config = check(&text).unwrap();
        let app = &config.accounts[0].entra;
        assert_eq!((app.tenant.as_str(), &app.audience), ("consumers", &scope(&scopes)));
        assert_eq!(config.listeners[0].upstream.host, "smtp-mail.outlook.com");
        for grant in ["client_credentials", "password", "managed_identity", "workload_identity"] {
            let error = check(&text.replace("device_code", grant)).unwrap_err().to_string();
            let told = format!(
                "proxy.toml:2: entra.c.grant: personal accounts cannot be reached with \"{grant}\""
            );
            assert!(error.contains(&told), "{error}");
        }
    }
}

#[test]
fn each_grant_works_with_its_own_kinds_of_tenant() {
    let mut ran = 0;
    for (grant, more, refused) in [
        ("client_credentials", SECRET, &["common", "organizations", "consumers"][..]),
        (
            "workload_identity",
            "token_file = \"token\"\n",
            &["common", "organizations", "consumers"],
        ),
        ("password", "", &["common", "consumers"]),
        ("authorization_code", "", &[]),
        ("device_code", "", &[]),
    ] {
        for tenant in
            ["common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"]
        {
            let text = with(grant, more).replace("contoso.example", tenant);
            match check(&text) {
                Ok(config) => {
                    assert!(!refused.contains(&tenant), "{grant} {tenant}");
                    assert_eq!(config.accounts[0].entra.tenant, tenant);
                }
                Err(error) => assert!(refused.contains(&tenant), "{grant}: {error}"),
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 20);
}

#[test]
fn several_clouds_leave_no_default_host() {
    let two = |more: &str| {
        let second =
            with("device_code", "cloud = \"personal\"\n").replace("contoso.example", "common");
        let text = format!(
            "[entra.c]\n{}\n[entra.p]\n{second}\n[vault]\n[[listener]]\nprotocol = \"smtp\"\nbind = \"127.0.0.1:1587\"\n{more}\n[[account]]\nuser = \"a@b.example\"\npassword_hash = \"{HASH}\"\nentra = \"c\"\n",
            with("client_credentials", SECRET)
        );
        parse("proxy.toml", &text, Path::new("/nowhere"), &|_| None)
    };
    let error = two("").unwrap_err().to_string();
    for word in [
        "listener.upstream.host is missing",
        "several clouds",
        "smtp.office365.com",
        "smtp-mail.outlook.com",
    ] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(
        two("upstream = { host = \"mail.example\" }").unwrap().listeners[0].upstream.host,
        "mail.example"
    );
}

#[test]
fn a_secret_is_one_or_several_and_a_certificate_is_files() {
    let scene = scene();
    let environment =
        [("NEXT", "second\n"), ("CREDENTIALS_DIRECTORY", scene.0.path().to_str().unwrap())];
    let credential = |lines: &str| {
        let text = with("client_credentials", lines);
        let config = check_in(scene.0.path(), &environment, &text, "smtp").unwrap();
        (config.accounts[0].entra.grant.credential().unwrap().clone(), config.warnings)
    };
    let (secrets, warnings) = credential(
        "secret = [\"first\", { env = \"NEXT\" }, { credential = \"token\" }, \"01234567-89ab-cdef-0123-456789abcdef\"]",
    );
    let Credential::Secrets(secrets) = secrets else { panic!() };
    let values: Vec<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(values, ["first", "second", "x", "01234567-89ab-cdef-0123-456789abcdef"]);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("client_secret[3] looks like the secret's ID"), "{warning}");

    let (files, warnings) = credential(
        "certificate = { certificate = \"app.pem\", key = \"app.key\", password = { env = \"NEXT\" } }",
    );
    let Credential::Certificate(files) = files else { panic!() };
    assert_eq!(files.certificate, scene.0.path().join("app.pem"));
    assert_eq!(files.key, Some(scene.0.path().join("app.key")));
    assert_eq!(files.password.unwrap().expose_secret(), "second");
    assert!(warnings.is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for name in ["app.pem", "app.key", "app.PFX"] {
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(scene.0.path().join(name), mode).unwrap();
        }
        for (table, key) in [
            ("{ certificate = \"app.pem\", key = \"app.key\" }", "certificate.key: everybody"),
            ("{ certificate = \"app.pem\" }", "certificate.certificate: everybody"),
            ("{ certificate = \"app.PFX\" }", "certificate.certificate: everybody"),
        ] {
            let (_, warnings) = credential(&format!("certificate = {table}"));
            let [warning] = &warnings[..] else { panic!("{warnings:?}") };
            assert!(warning.contains(key), "{warning}");
        }
    }
}

#[test]
fn a_workload_inherits_what_the_file_leaves_out() {
    let scene = scene();
    let token = scene.0.path().join("token");
    let environment = [
        ("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap()),
        ("AZURE_TENANT_ID", "9188040d-0000-4c5b-b112-36a304b66dad"),
        ("AZURE_CLIENT_ID", "11111111-89ab-cdef-0123-456789abcdef"),
        ("AZURE_AUTHORITY_HOST", "https://login.example/"),
    ];
    let load = |text: &str| {
        check_in(scene.0.path(), &environment, text, "smtp")
            .map(|c| Arc::clone(&c.accounts[0].entra))
    };
    let app = load("grant = \"workload_identity\"").unwrap();
    assert_eq!(app.tenant, "9188040d-0000-4c5b-b112-36a304b66dad");
    assert_eq!(app.client_id, "11111111-89ab-cdef-0123-456789abcdef");
    assert_eq!(app.authority, "https://login.example");
    let Some(Credential::Federated { token_file }) = app.grant.credential() else { panic!() };
    assert_eq!(*token_file, token);
    let app = load(&with("workload_identity", "authority = \"https://mine.example\"")).unwrap();
    assert_eq!(
        (app.tenant.as_str(), app.authority.as_str()),
        ("contoso.example", "https://mine.example")
    );
    let app = load(&with("workload_identity", "cloud = \"china\"")).unwrap();
    assert_eq!(app.authority, "https://login.partner.microsoftonline.cn", "the file has said it");
    // Nobody else inherits.
    let app = load(&with("client_credentials", SECRET)).unwrap();
    assert_eq!(app.authority, "https://login.microsoftonline.com");
    assert!(load(&format!("grant = \"client_credentials\"\n{SECRET}")).is_err());
    let error = check("grant = \"workload_identity\"").unwrap_err().to_string();
    for word in [
        "entra.c.tenant is missing",
        "AZURE_TENANT_ID",
        "entra.c.client_id is missing",
        "AZURE_CLIENT_ID",
        "entra.c.token_file is missing",
        "AZURE_FEDERATED_TOKEN_FILE",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn a_managed_identity_is_asked_for_where_the_platform_says() {
    let source = |environment: &[(&str, &str)], more: &str| {
        let text = format!("grant = \"managed_identity\"\n{more}");
        let config = check_in(Path::new("/nowhere"), environment, &text, "smtp")?;
        match &config.accounts[0].entra.grant {
            Grant::ManagedIdentity { source } => {
                Ok::<_, ConfigError>((source.clone(), config.warnings))
            }
            other => panic!("{other:?}"),
        }
    };
    let imds = |found: (IdentitySource, Vec<String>)| match found.0 {
        IdentitySource::Imds(base) => base,
        IdentitySource::AppService { .. } => panic!(),
    };
    assert_eq!(imds(source(&[], "").unwrap()), "http://169.254.169.254");
    assert_eq!(
        imds(source(&[], "identity_endpoint = \"http://127.0.0.1:9/\"").unwrap()),
        "http://127.0.0.1:9"
    );
    let app_service = [
        ("IDENTITY_ENDPOINT", "http://169.254.130.2:8081/msi/token"),
        ("IDENTITY_HEADER", "S3cret"),
    ];
    let (IdentitySource::AppService { endpoint, header }, _) = source(&app_service, "").unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (endpoint.as_str(), header.expose_secret()),
        ("http://169.254.130.2:8081/msi/token", "S3cret")
    );
    assert_eq!(
        imds(source(&app_service, "identity_endpoint = \"https://x.example\"").unwrap()),
        "https://x.example"
    );
    let (_, warnings) =
        source(&[], "tenant = \"common\"\nauthority = \"https://x.example\"").unwrap();
    assert_eq!(
        warnings.iter().filter(|told| told.contains("is not used")).count(),
        2,
        "{warnings:?}"
    );
    let rows: &[(&Pairs, &str, &str)] = &[
        (&[], "identity_endpoint = \"http://10.0.0.1\"", "entra.c.identity_endpoint must be https"),
        (&[("IDENTITY_ENDPOINT", "http://localhost:1")], "", "IDENTITY_HEADER is not"),
        (&[("IDENTITY_ENDPOINT", "http://localhost:1"), ("IMDS_ENDPOINT", "x")], "", "Azure Arc"),
        (&[("IDENTITY_ENDPOINT", "nonsense"), ("IDENTITY_HEADER", "S3cret")], "", "is no URL"),
        (&[], "client_id = \"mine\"", "entra.c.client_id is no application ID"),
    ];
    for (environment, more, word) in rows {
        let error = source(environment, more).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains("S3cret"), "{error}");
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    let app_only = |more: &str| with("client_credentials", more);
    let rows: &[(String, &[&str])] = &[
        (
            app_only(&format!("{SECRET}certificate = {{ certificate = \"app.pem\" }}")),
            &["proxy.toml:6: entra.c.certificate and client_secret", "keep one"],
        ),
        (app_only("client_secret = []"), &["entra.c.client_secret", "from 1 to 4"]),
        (app_only("client_secret = [\"a\", \"b\", \"c\", \"d\", \"e\"]"), &["from 1 to 4"]),
        (app_only("client_secret = [\"a\", 5]"), &["entra.c.client_secret[1]: a secret is"]),
        (
            app_only("client_secret = { env = \"S3cret~\" }"),
            &["entra.c.client_secret", "no variable's name"],
        ),
        (
            app_only("client_secret = { credential = \"../S3cret\" }"),
            &["no file name", "LoadCredential"],
        ),
        (
            app_only("client_secret = { credential = \"name\" }"),
            &["$CREDENTIALS_DIRECTORY", "LoadCredential=name:PATH"],
        ),
        (
            app_only("certificate = { certificate = \"gone.pem\" }"),
            &["entra.c.certificate.certificate", "gone.pem", "mend the path"],
        ),
        (
            app_only("certificate = { certificate = \".\" }"),
            &["entra.c.certificate.certificate", "cannot read"],
        ),
        (
            app_only("certificate = { certificate = \"app.pem\", key = \"gone.key\" }"),
            &["entra.c.certificate.key", "gone.key"],
        ),
        (
            app_only("certificate = { certificate = \"app.PFX\", key = \"app.key\" }"),
            &["entra.c.certificate.key", "remove key"],
        ),
        (
            app_only("certificate = { certificate = \"app.pem\", password = 5 }"),
            &["entra.c.certificate.password: a secret is"],
        ),
        (app_only("certificate = \"app.pem\""), &["entra.c.certificate: must be { certificate = "]),
        (
            app_only(&format!("{SECRET}token_file = \"token\"")),
            &["entra.c.token_file does not belong to grant = \"client_credentials\""],
        ),
        (
            app_only(&format!("{SECRET}redirect_uri = \"http://localhost\"")),
            &["entra.c.redirect_uri does not belong"],
        ),
        (
            app_only(&format!("{SECRET}password_accepted_for = \"1h\"")),
            &["entra.c.password_accepted_for does not belong"],
        ),
        (
            app_only(&format!("{SECRET}identity_endpoint = \"http://localhost\"")),
            &["entra.c.identity_endpoint does not belong"],
        ),
        (
            app_only(&format!("{SECRET}scope = \"a/.default\"\nresource = \"https://a\"")),
            &["entra.c.resource and scope"],
        ),
        (
            app_only(&format!("{SECRET}resource = \"https://a/.default\"")),
            &["entra.c.resource is no resource"],
        ),
        (app_only(&format!("{SECRET}scope = \" \"")), &["entra.c.scope is empty"]),
        (
            app_only(&format!("{SECRET}client_secret_expires = \"soon\"")),
            &["entra.c.client_secret_expires is no day", "\"2027-03-01\""],
        ),
        (app_only(&format!("{SECRET}client_secret_expires = 12:00:00")), &["is no day"]),
        (
            app_only(&format!("{SECRET}client_secret_expires = 5")),
            &["entra.c.client_secret_expires: write a day"],
        ),
        (
            with("device_code", "client_secret_expires = 2027-03-01"),
            &["client_secret_expires without client_secret"],
        ),
        (with("device_code", "resource = \"https://a\""), &["entra.c.resource does not belong"]),
        (
            with("device_code", "redirect_uri = \"http://localhost\""),
            &["entra.c.redirect_uri does not belong"],
        ),
        (
            with("device_code", "cloud = \"personal\"").replace("contoso.example", "organizations"),
            &["entra.c.tenant", "leave tenant out"],
        ),
        (
            with("device_code", "cloud = \"china\"").replace("contoso.example", "consumers"),
            &["entra.c.tenant", "no personal accounts"],
        ),
        (
            with("authorization_code", "redirect_uri = \"https://localhost\""),
            &["proxy.toml:5: entra.c.redirect_uri", "http"],
        ),
        (
            with("authorization_code", "redirect_uri = \"http://[::1]\""),
            &["entra.c.redirect_uri", "IPv6"],
        ),
        (
            with("password", "password_accepted_for = \"30s\""),
            &["entra.c.password_accepted_for must be from 1m to 7days"],
        ),
        (with("password", "password_accepted_for = \"8d\""), &["from 1m to 7days"]),
        (
            with("workload_identity", "token_file = \"gone\""),
            &["entra.c.token_file", "gone", "Kubernetes"],
        ),
        (
            with("workload_identity", &format!("token_file = \"token\"\n{SECRET}")),
            &["entra.c.client_secret does not belong"],
        ),
        (with("managed_identity", SECRET), &["entra.c.client_secret does not belong"]),
        (with("managed_identity", "scope = \"a/.default\""), &["entra.c.scope does not belong"]),
    ];
    let mut ran = 0;
    for (text, words) in rows {
        let error = check(text).expect_err(text).to_string();
        for word in *words {
            assert!(error.contains(word), "{text}\nno {word:?} in {error}");
        }
        assert!(!error.contains("S3cret"), "{error}");
        ran += 1;
    }
    assert_eq!(ran, 36);
}

#[test]
fn what_works_and_looks_wrong_is_warned_of() {
    let rows = [
        ("scope = \"https://outlook.office.com/SMTP.Send\"", "ends in /.default"),
        ("scope = \"https://graph.microsoft.com/.default\"", "Microsoft Graph"),
        ("authority = \"https://login.microsoftonline.us/\"", "write cloud instead"),
    ];
    for (line, word) in rows {
        let warnings =
            check(&with("client_credentials", &format!("{SECRET}{line}"))).unwrap().warnings;
        assert!(warnings.iter().any(|told| told.contains(word)), "{line}: {warnings:?}");
    }
    let secretless = with("authorization_code", "redirect_uri = \"http://localhost:8400/back\"");
    let Grant::AuthorizationCode { redirect_uri, credential } = &app(&secretless).grant else {
        panic!()
    };
    assert_eq!((redirect_uri.as_str(), credential.is_none()), ("http://localhost:8400/back", true));
    let Grant::Password { accepted_for, .. } =
        app(&with("password", "password_accepted_for = \"7d\"")).grant
    else {
        panic!()
    };
    assert_eq!(accepted_for, Duration::from_secs(7 * 86_400));
}

#[test]
fn a_secret_that_ends_soon_or_has_ended_is_told_of() {
    let rows = [
        ("\"2026-12-26\"", None),
        ("2026-12-25", Some("expires on 2026-12-25, in 30 days")),
        ("\"2026-11-26\"", Some("expires on 2026-11-26, tomorrow")),
        ("\"2026-11-25\"", Some("expires on 2026-11-25, today")),
        ("2026-11-24T12:00:00Z", Some("has expired on 2026-11-24")),
        ("\"1999-01-01\"", Some("has expired on 1999-01-01")),
        ("\"9999-01-01\"", None),
    ];
    let mut ran = 0;
    for (day, words) in rows {
        let text = with("client_credentials", &format!("{SECRET}client_secret_expires = {day}"));
        let config = check(&text).unwrap();
        let app = &config.accounts[0].entra;
        let told = Expiry::soon(app.secret_expires.unwrap(), TODAY).map(|end| end.to_string());
        assert_eq!(told.as_deref(), words, "{day}");
        ran += 1;
    }
    assert_eq!(ran, 7);
}
