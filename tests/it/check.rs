//! `mailwicket check` against the simulated Microsoft 365: what is misconfigured is named, and what
//! an administrator should run is printed with everything filled in.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mailwicket::{
    config::{
        Account, Audience, CertificateFiles, Config, Credential, EntraApp, Grant, VaultFiles,
        VaultKey,
    },
    doctor::{Finding, Verdict, Words, examine, on_paper},
    mail::Protocol,
    sandbox::{
        Profile, Sandbox,
        world::{ImapFault, Speaker, TokenFault, World, contoso},
    },
    session::sign_in::SignIn,
    token::signin::Notice,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::stage::{self, Stage, USER};

const ERP: &str = "erp@contoso.com";

/// As it is printed, more or less; nothing secret may be in it.
fn printed(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding { what, verdict, commands } in findings {
        let (mark, words) = match verdict {
            Verdict::Fine => ("ok", None),
            Verdict::Warning(words) => ("warn", Some(words)),
            Verdict::Failure(words) => ("FAIL", Some(words)),
        };
        lines.push(format!("{mark} {what}\n"));
        if let Some(Words { error, cause, remedy }) = words {
            let more = [Some(error), cause.as_ref(), remedy.as_ref()].into_iter().flatten();
            lines.extend(more.map(|line| format!("  {line}\n")));
        }
        lines.extend(commands.iter().map(|command| format!("  {command}\n")));
    }
    let text = lines.concat();
    for canary in [
        "eyJ",
        "Bearer",
        contoso::APP_SECRET,
        contoso::PASSWORD,
        stage::PASSWORD,
        "proxy-canary-password",
    ] {
        assert!(!text.contains(canary), "{canary}: {text}");
    }
    text
}

fn failed(findings: &[Finding]) -> bool {
    findings.iter().any(Finding::is_failure)
}

/// Changes the app of the first account.
fn change_app(config: &mut Config, change: impl FnOnce(&mut EntraApp)) {
    let account = Arc::make_mut(&mut config.accounts[0]);
    change(Arc::make_mut(&mut account.entra));
}

fn only(config: &mut Config, protocol: Protocol) {
    config.listeners.retain(|listener| listener.protocol == protocol);
}

/// One misconfiguration.
struct Row {
    name: &'static str,
    user: &'static str,
    profile: Profile,
    world: fn(&World),
    config: fn(&mut Config),
    /// Whether `check` fails: exit code 69.
    fails: bool,
    /// What must be said.
    says: &'static [&'static str],
    /// What must not be said.
    never: &'static [&'static str],
}

const RIGHT: Row = Row {
    name: "right",
    user: USER,
    profile: Profile::Exo2026,
    world: |_| {},
    config: |_| {},
    fails: false,
    says: &[],
    never: &[],
};

fn app(world: &World, change: impl FnOnce(&mut mailwicket::sandbox::world::App)) {
    world.directory(|directory| change(directory.app_mut(contoso::APP_ID).unwrap()));
}

/// In the order of the way: configuration, token, claims, network, login, mailbox.
const ROWS: &[Row] = &[
    Row {
        says: &[
            "ok entra.app: the token is for https://outlook.office365.com, app 1b2e6f0c-7a44-4c1d-9d35-0f8e5a6b7c81, object id 6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42",
            "ok scanner@contoso.com: logged in over smtp at smtp.office365.com:587; whether the app may send",
            "ok scanner@contoso.com: logged in over imap at outlook.office365.com:993\n",
            "ok scanner@contoso.com: logged in over pop3",
        ],
        never: &["FAIL", "warn", "PowerShell"],
        ..RIGHT
    },
    Row {
        name: "a short name that stands for no mailbox",
        user: "scan",
        says: &["FAIL scan: over imap at outlook.office365.com:993\n", "NO AUTHENTICATE failed."],
        config: |config| {
            only(config, Protocol::Imap);
            Arc::make_mut(&mut config.accounts[2]).mailbox.imap = None;
        },
        fails: true,
        never: &["ok scan"],
        ..RIGHT
    },
    Row {
        name: "no such account",
        user: "ann@fabrikam.com",
        fails: true,
        says: &["FAIL ann@fabrikam.com: over smtp", "login refused here", "add an account"],
        never: &["the token is for"],
        ..RIGHT
    },
    Row {
        name: "Entra judges the password",
        user: ERP,
        says: &["ok erp@contoso.com: reached imap", "Entra judges the password"],
        never: &["FAIL", "the token is for"],
        ..RIGHT
    },
    Row {
        name: "the secret is wrong",
        world: |world| app(world, |app| app.secrets[0].value.push('x')),
        fails: true,
        says: &["AADSTS7000215", "FAIL scanner@contoso.com: over pop3"],
        never: &["the token is for", "Connect-ExchangeOnline"],
        ..RIGHT
    },
    Row {
        name: "Entra is out of order",
        world: |world| world.arm(TokenFault::ServiceUnavailable),
        fails: true,
        says: &["no token", "503"],
        never: &["Connect-ExchangeOnline"],
        ..RIGHT
    },
    Row {
        name: "Entra does not answer",
        world: |world| world.arm(TokenFault::Hang),
        config: |config| {
            only(config, Protocol::Smtp);
            config.limits.login_timeout = Duration::from_millis(50);
        },
        fails: true,
        says: &["no verdict within 50ms; it stopped at token", "raise limits.login_timeout"],
        never: &["the token is for"],
        ..RIGHT
    },
    Row {
        name: "needs a sign-in",
        config: |config| {
            change_app(config, |app| {
                contoso::PUBLIC_APP_ID.clone_into(&mut app.client_id);
                app.grant = Grant::DeviceCode { credential: None };
            });
        },
        fails: true,
        says: &[
            "FAIL scanner@contoso.com: needs sign-in\n",
            "run `mailwicket sign-in scanner@contoso.com` on this machine",
        ],
        never: &["over smtp", "the token is for"],
        ..RIGHT
    },
    Row {
        name: "the token is for Graph",
        config: |config| {
            change_app(config, |app| {
                app.audience = Audience::Scope("https://graph.microsoft.com/.default".to_owned());
            });
        },
        fails: true,
        says: &[
            "FAIL entra.app\n  the token is for Microsoft Graph (https://graph.microsoft.com)",
            "leave scope out of [entra.app]",
            "first mend what is said above of the token",
        ],
        never: &["AccessAsApp; then"],
        ..RIGHT
    },
    Row {
        name: "no role at all",
        world: |world| app(world, |app| app.roles.clear()),
        fails: true,
        says: &[
            "it names no permission",
            "warn entra.app\n  the token has no SMTP.SendAsApp\n  right where the app is allowed by RBAC",
            "FAIL entra.app\n  the token has no IMAP.AccessAsApp\n  in Entra, API permissions",
            "FAIL entra.app\n  the token has no POP.AccessAsApp",
        ],
        ..RIGHT
    },
    Row {
        name: "RBAC for Applications",
        world: |world| {
            app(world, |app| {
                app.roles.clear();
                app.rbac_mailboxes = vec![USER.to_owned()];
            });
        },
        config: |config| only(config, Protocol::Smtp),
        says: &[
            "warn entra.app\n  the token has no SMTP.SendAsApp",
            "ok scanner@contoso.com: logged in",
        ],
        never: &["FAIL"],
        ..RIGHT
    },
    Row {
        name: "the proxy lets only 443 through",
        world: |world| world.tune(|tuning| tuning.proxy_ports = Some(vec![443])),
        fails: true,
        says: &[
            "ok entra.app: the token is for",
            "ok way to login.microsoftonline.com:443 (token endpoint): http proxy 127.0.0.1:",
            "FAIL way to smtp.office365.com:587 (mail): http proxy 127.0.0.1:",
            "403",
            "acl SSL_ports port 587; acl Safe_ports port 587; acl mailwicket_hosts dstdomain smtp.office365.com;",
            "FAIL scanner@contoso.com: over imap",
        ],
        never: &["Connect-ExchangeOnline"],
        ..RIGHT
    },
    Row {
        name: "Exchange does not know the app",
        world: |world| app(world, |app| app.known_to_exchange = false),
        fails: true,
        says: &[
            "535 5.7.3",
            "NO AUTHENTICATE failed.",
            "  Connect-ExchangeOnline\n  New-ServicePrincipal -AppId 1b2e6f0c-7a44-4c1d-9d35-0f8e5a6b7c81 -ObjectId 6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42 -DisplayName mailwicket\n  Add-MailboxPermission -Identity scanner@contoso.com -User 6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42 -AccessRights FullAccess\n  Set-CASMailbox -Identity scanner@contoso.com -ImapEnabled $true\n",
            "Set-CASMailbox -Identity scanner@contoso.com -SmtpClientAuthenticationDisabled $false",
            "Set-CASMailbox -Identity scanner@contoso.com -PopEnabled $true",
            "enterprise application, as the token says, and not of the app registration",
        ],
        never: &["first mend", "warn", "<mailbox>"],
        ..RIGHT
    },
    Row {
        name: "SMTP AUTH is off for the mailbox",
        user: "disabled@contoso.com",
        fails: true,
        says: &[
            "5.7.139",
            "  Connect-ExchangeOnline\n  Set-CASMailbox -Identity disabled@contoso.com -SmtpClientAuthenticationDisabled $false\n",
            "ok disabled@contoso.com: logged in over imap",
        ],
        never: &["New-ServicePrincipal", "Add-MailboxPermission"],
        ..RIGHT
    },
    Row {
        name: "Conditional Access",
        user: "blocked@contoso.com",
        config: |config| only(config, Protocol::Smtp),
        fails: true,
        says: &["5.7.139", "did not meet the criteria", "exclude the account from the policy"],
        never: &["Connect-ExchangeOnline"],
        ..RIGHT
    },
    Row {
        name: "no right on the mailbox, front ends of today",
        user: "norights@contoso.com",
        fails: true,
        says: &[
            "ok norights@contoso.com: logged in over smtp",
            "NO User is authenticated but not connected.",
            "  Connect-ExchangeOnline\n  Add-MailboxPermission -Identity norights@contoso.com -User 6d0b4b0e-3f52-4c6e-a9a1-7be2f1d09c42 -AccessRights FullAccess\n  Set-CASMailbox -Identity norights@contoso.com -ImapEnabled $true\n",
        ],
        ..RIGHT
    },
    Row {
        name: "the same, older front ends, which say OK to the login",
        user: "norights@contoso.com",
        profile: Profile::Exo2023,
        config: |config| only(config, Protocol::Imap),
        fails: true,
        says: &[
            "FAIL norights@contoso.com: over imap at outlook.office365.com:993\n  the server refused the login: BAD User is authenticated but not connected.",
            "the app has no permission on this mailbox",
            "Add-MailboxPermission -Identity norights@contoso.com",
        ],
        never: &["New-ServicePrincipal", "ok norights"],
        ..RIGHT
    },
    Row {
        name: "IMAP and POP3 are off",
        user: "smtponly@contoso.com",
        fails: true,
        says: &[
            "ok smtponly@contoso.com: logged in over smtp",
            "Set-CASMailbox -Identity smtponly@contoso.com -ImapEnabled $true",
            "Set-CASMailbox -Identity smtponly@contoso.com -PopEnabled $true",
        ],
        ..RIGHT
    },
    Row {
        name: "the mailbox is throttled at the first command",
        world: |world| world.arm(ImapFault::ThrottledCommand),
        config: |config| only(config, Protocol::Imap),
        fails: true,
        says: &["not available (first command): BAD Request is throttled"],
        never: &["Connect-ExchangeOnline"],
        ..RIGHT
    },
];

#[tokio::test]
async fn each_misconfiguration_is_named() {
    let mut ran = 0;
    for row in ROWS {
        let sandbox = Stage::sandbox_of(row.profile).await;
        let mut config = stage::parse(&stage::text(&sandbox, "", ""));
        (row.world)(sandbox.world());
        (row.config)(&mut config);
        let findings = examine(&config, Some(row.user)).await;
        let text = printed(&findings);
        assert_eq!(failed(&findings), row.fails, "{}: {text}", row.name);
        for words in row.says {
            assert!(text.contains(words), "{}: {words:?} is not in\n{text}", row.name);
        }
        for words in row.never {
            assert!(!text.contains(words), "{}: {words:?} is in\n{text}", row.name);
        }
        assert!(!text.contains("  \n"), "{}: {text}", row.name);
        for (place, finding) in findings.iter().enumerate() {
            assert!(!findings[..place].contains(finding), "{}: twice: {finding:?}", row.name);
        }
        ran += 1;
    }
    assert_eq!(ran, 19);
}

#[tokio::test]
async fn sessions_end_politely() {
    let sandbox = Stage::sandbox().await;
    let config = stage::parse(&stage::text(&sandbox, "", ""));
    assert!(!failed(&examine(&config, Some(USER)).await));
    let said = |who: Speaker, words: &str| {
        let lines = sandbox.world().transcript();
        lines.iter().filter(|line| line.who == who && line.text.ends_with(words)).count()
    };
    assert_eq!(said(Speaker::MailClient, "NAMESPACE"), 1);
    assert_eq!(said(Speaker::MailClient, "LOGOUT"), 1);
    assert_eq!(said(Speaker::MailClient, "QUIT"), 2, "submission and POP3");
    assert_eq!(sandbox.world().counters().tokens_issued, 1, "one token for all");
    assert!(sandbox.world().messages().is_empty());
}

#[tokio::test]
async fn without_a_user_every_account_that_names_one_is_walked() {
    let sandbox = Stage::sandbox().await;
    let config = stage::parse(&stage::text(&sandbox, "", ""));
    let findings = examine(&config, None).await;
    let text = printed(&findings);
    for words in [
        "ok scan: logged in over smtp at smtp.office365.com:587 as scanner@contoso.com",
        "ok erp@contoso.com: reached",
        "ok *@contoso.com (client_credentials): stands for many users",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!failed(&findings), "{text}");
}

#[tokio::test]
async fn a_listener_without_login_is_walked_as_its_account() {
    let sandbox = Stage::sandbox().await;
    let listener = format!("allow = [\"127.0.0.1\"]\naccount = \"{USER}\"");
    let mut config = stage::parse(&stage::text(&sandbox, &listener, ""));
    only(&mut config, Protocol::Smtp);
    let text = printed(&examine(&config, None).await);
    assert!(text.contains("ok scanner@contoso.com: logged in over smtp"), "{text}");
    assert!(!text.contains("ok scan:"), "nobody logs in there: {text}");
    let text = printed(&examine(&config, Some("scan")).await);
    assert!(text.contains("FAIL accounts\n"), "{text}");
}

/// The stage, where erp signs in by device code and the vault keeps it.
fn with_vault(sandbox: &Sandbox) -> (Config, TempDir) {
    let mut config = stage::parse(&stage::text(sandbox, "", ""));
    let folder = tempfile::tempdir().unwrap();
    let key = VaultKey::File(folder.path().join("key"));
    config.vault = Some(VaultFiles { path: folder.path().join("vault"), key });
    let hash = config.accounts[0].password_hash.clone();
    let account = &config.accounts[1];
    let scope = "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All offline_access";
    let entra = EntraApp {
        grant: Grant::DeviceCode { credential: None },
        audience: Audience::Scope(scope.to_owned()),
        ..(*account.entra).clone()
    };
    let account = Account { entra: Arc::new(entra), password_hash: hash, ..(**account).clone() };
    config.accounts[1] = Arc::new(account);
    (config, folder)
}

async fn sign_in(sandbox: &Sandbox, config: &Config) {
    sandbox.world().tune(|tuning| tuning.device_interval = 1);
    let sign_in = SignIn::prepare(config, ERP).unwrap();
    let (_paste, pasted) = mpsc::channel(1);
    let show = |notice: Notice| {
        if let Notice::Device(_) = notice {
            let code = sandbox.world().device_codes().pop().unwrap();
            assert!(sandbox.world().approve_device(&code, ERP));
        }
    };
    sign_in.run(pasted, &show).await.unwrap();
}

#[tokio::test]
async fn a_sign_in_is_found_in_the_vault_beside_a_running_daemon() {
    let sandbox = Stage::sandbox().await;
    let (config, folder) = with_vault(&sandbox);
    let vault = folder.path().join("vault");

    let findings = examine(&config, Some(ERP)).await;
    let text = printed(&findings);
    assert!(failed(&findings) && text.contains("FAIL erp@contoso.com: needs sign-in"), "{text}");
    assert!(text.contains("is not there yet"), "{text}");
    assert!(!vault.exists() && !folder.path().join("key").exists(), "check makes no vault");

    sign_in(&sandbox, &config).await;
    let stage = Stage::run(sandbox, &config);
    let findings = examine(&config, Some(ERP)).await;
    let text = printed(&findings);
    for words in [
        "ok vault:",
        "ok erp@contoso.com by entra.ropc: the token is for https://outlook.office.com, user erp@contoso.com",
        "ok erp@contoso.com: logged in over smtp at smtp.office365.com:587\n",
        "ok erp@contoso.com: logged in over imap",
        "FAIL erp@contoso.com by entra.ropc\n  the token has no POP.AccessAsUser.All\n",
        "and sign in again",
        "Set-CASMailbox -Identity erp@contoso.com -PopEnabled $true",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(failed(&findings));

    // The refresh token is revoked: only a person can help.
    stage.sandbox.world().directory(|directory| {
        directory.user_mut(ERP).unwrap().generation += 1;
        directory.app_mut(contoso::PUBLIC_APP_ID).unwrap().scopes = vec!["SMTP.Send".to_owned()];
    });
    let text = printed(&examine(&config, Some(ERP)).await);
    assert!(text.contains("logged in over smtp"), "the token still lives: {text}");
    assert_eq!(stage.ended().await, 0);
}

#[tokio::test]
async fn a_vault_that_does_not_open_is_named_and_left_alone() {
    let sandbox = Stage::sandbox().await;
    let (config, folder) = with_vault(&sandbox);
    let vault = folder.path().join("vault");
    std::fs::write(&vault, b"something else").unwrap();
    let findings = examine(&config, None).await;
    let text = printed(&findings);
    assert!(failed(&findings) && text.contains("FAIL vault\n"), "{text}");
    assert!(text.contains("erp@contoso.com: not looked at without the vault"), "{text}");
    assert!(text.contains("ok scan: logged in over imap"), "the others are: {text}");
    assert_eq!(std::fs::read(vault).unwrap(), b"something else");
}

fn certificate(file: &str, key: Option<&str>) -> Credential {
    let path = |name: &str| -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(name)
    };
    Credential::Certificate(CertificateFiles {
        certificate: path(file),
        key: key.map(path),
        password: Some("test-password".into()),
    })
}

#[tokio::test]
async fn what_proves_an_app_is_looked_at_without_the_network() {
    let sandbox = Stage::sandbox().await;
    let secret = || Credential::Secrets(vec![contoso::APP_SECRET.into()]);
    let rows: [(Credential, Option<&str>, &str, bool, &str); 11] = [
        (secret(), None, "2027-02-01", false, ""),
        (secret(), Some("2027-03-04"), "2027-02-01", false, ""),
        (
            secret(),
            Some("2027-03-03"),
            "2027-02-01",
            false,
            "warn entra.app.client_secret expires on 2027-03-03, in 30 days",
        ),
        (secret(), Some("2027-02-01"), "2027-02-01", false, "expires on 2027-02-01, today"),
        (
            secret(),
            Some("2027-01-31"),
            "2027-02-01",
            true,
            "FAIL entra.app.client_secret has expired on 2027-01-31",
        ),
        (
            certificate("app.pem", Some("app.key")),
            None,
            "2027-02-01",
            false,
            "its key is the right one",
        ),
        (
            certificate("app.pem", Some("app.key")),
            None,
            "2126-10-20",
            false,
            "app.pem expires on 2126-11-01, in 12 days",
        ),
        (certificate("modern.pfx", None), None, "2130-01-01", true, "modern.pfx has expired on 21"),
        (
            certificate("app.pem", Some("other.key")),
            None,
            "2027-02-01",
            true,
            "the certificate is not the one of the key",
        ),
        (certificate("app.pem", None), None, "2027-02-01", true, "no private key"),
        (certificate("none.pem", None), None, "2027-02-01", true, "none.pem"),
    ];
    let mut ran = 0;
    for (credential, ends, today, fails, words) in rows {
        let mut config = stage::parse(&stage::text(&sandbox, "", ""));
        config.accounts.truncate(1);
        change_app(&mut config, |app| {
            app.grant = Grant::ClientCredentials { credential };
            app.secret_expires = ends.map(|day| day.parse().unwrap());
        });
        let findings = on_paper(&config, today.parse().unwrap());
        let text = printed(&findings);
        assert_eq!(failed(&findings), fails, "row {ran}: {text}");
        assert!(text.contains(words), "row {ran}: {words}: {text}");
        assert_eq!(text.is_empty(), words.is_empty(), "row {ran}: {text}");
        ran += 1;
    }
    assert_eq!(ran, 11);
    assert!(sandbox.world().counters().connects.is_empty());
}
