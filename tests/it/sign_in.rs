//! People sign in at the simulated Entra, through the proxy, by the way of `mailwicket sign-in`.

use std::sync::{Arc, Mutex};

use mailwicket::{
    config::{
        Account, Audience, Config, EntraApp, Grant, Mailbox, UserPattern, VaultFiles, VaultKey,
    },
    net::dial::Dialer,
    sandbox::{
        Sandbox,
        world::{TokenFault, contoso},
    },
    session::{
        self,
        sign_in::{SignIn, Unfit},
    },
    token::{
        Courier, Letter, Way,
        signin::{Notice, SignInError, SignedIn},
    },
};
use reqwest::{Client, Response, header::LOCATION};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    caught::Caught,
    stage::{self, Stage},
};

const ERP: &str = "erp@contoso.com";

fn device() -> Grant {
    Grant::DeviceCode { credential: None }
}

fn browser() -> Grant {
    let redirect_uri = "http://localhost".to_owned();
    Grant::AuthorizationCode { credential: None, redirect_uri }
}

/// The stage's configuration, where the public app has this grant and erp's account is its own.
fn config(sandbox: &Sandbox, grant: &Grant) -> (Config, TempDir) {
    let mut config = stage::parse(&stage::text(sandbox, "", ""));
    let folder = tempfile::tempdir().unwrap();
    let key = VaultKey::File(folder.path().join("key"));
    config.vault = Some(VaultFiles { path: folder.path().join("vault"), key });
    for account in &mut config.accounts {
        if account.entra.client_id == contoso::PUBLIC_APP_ID {
            let scope = "https://outlook.office.com/SMTP.Send offline_access".to_owned();
            let entra = EntraApp {
                grant: grant.clone(),
                audience: Audience::Scope(scope),
                ..(*account.entra).clone()
            };
            *account = Arc::new(Account { entra: Arc::new(entra), ..(**account).clone() });
        }
    }
    (config, folder)
}

/// Signs in; `on_code` settles each user code that is shown.
async fn by_device(
    config: &Config,
    user: &str,
    on_code: impl Fn(&str) + Send + Sync,
) -> (Result<SignedIn, SignInError>, String) {
    let sign_in = SignIn::prepare(config, user).unwrap();
    assert!(!sign_in.takes_pasted());
    let shown = Mutex::new(String::new());
    let show = |notice: Notice| {
        if let Notice::Device(message) = &notice {
            on_code(message.split("the code ").nth(1).unwrap().split(' ').next().unwrap());
        }
        *shown.lock().unwrap() += &(format!("{notice:?}") + "\n");
    };
    let (_paste, pasted) = mpsc::channel(1);
    let outcome = sign_in.run(pasted, &show).await;
    (outcome, shown.into_inner().unwrap())
}

/// How a person acts on the URL that was shown.
struct Person {
    courier: Courier,
    paste: mpsc::Sender<String>,
}

impl Person {
    async fn get(&self, url: &str) -> Response {
        let request = Client::new().get(url).build().unwrap();
        (self.courier)(Letter { request, way: Way::AsConfigured }).await.unwrap()
    }

    /// Where the sign-in page sends the browser.
    async fn sent_back(&self, url: &str, how: &str) -> String {
        let answer = self.get(&format!("{url}&{how}")).await;
        assert_eq!(answer.status(), 302);
        answer.headers()[LOCATION].to_str().unwrap().to_owned()
    }
}

async fn by_browser<A>(
    config: &Config,
    user: &str,
    acts: impl AsyncFnOnce(&Person, String) -> A,
) -> (Result<SignedIn, SignInError>, A) {
    let sign_in = SignIn::prepare(config, user).unwrap();
    assert!(sign_in.takes_pasted());
    let (urls, mut url) = mpsc::unbounded_channel();
    let show = move |notice: Notice| {
        if let Notice::Browser(url) = notice {
            urls.send(url).unwrap();
        }
    };
    let (paste, pasted) = mpsc::channel(1);
    let courier = session::courier(Arc::new(Dialer::new(&config.outbound).unwrap()));
    let person = Person { courier, paste };
    let acting = async {
        let url = url.recv().await.unwrap();
        acts(&person, url).await
    };
    tokio::join!(sign_in.run(pasted, &show), acting)
}

#[tokio::test]
async fn a_device_code_signs_in_the_one_who_is_meant_even_with_mfa() {
    let sandbox = Stage::sandbox().await;
    let world = sandbox.world();
    world.tune(|tuning| tuning.device_interval = 1);
    let (mut config, _folder) = config(&sandbox, &device());
    let account = Arc::clone(&config.accounts[1]);
    let user = UserPattern::Exact("mfa@contoso.com".to_owned());
    let mailbox = Mailbox { imap: Some("info@contoso.com".to_owned()), ..Mailbox::default() };
    config.accounts.push(Arc::new(Account { user, mailbox, ..(*account).clone() }));
    world.arm_times(TokenFault::ServiceUnavailable, 1);
    let approve = |code: &str| assert!(world.approve_device(code, "MFA@contoso.com"));
    // Of a shared mailbox the delegate is meant, in whatever way it is typed.
    let (outcome, shown) = by_device(&config, "mfa@contoso.com\\info", approve).await;
    assert_eq!(outcome.unwrap().who, "mfa@contoso.com");
    assert!(shown.contains("Trouble") && shown.contains("503"), "{shown}");
    let connects = world.counters().connects;
    assert!(
        connects[0].status == 407
            && connects.len() > 1
            && connects[1..].iter().all(|connect| {
                connect.target == "login.microsoftonline.com:443" && connect.status == 200
            }),
        "through the proxy: {connects:?}"
    );
}

#[tokio::test]
async fn the_wrong_account_and_a_no_are_told() {
    let sandbox = Stage::sandbox().await;
    let world = sandbox.world();
    world.tune(|tuning| tuning.device_interval = 1);
    let (config, _folder) = config(&sandbox, &device());
    let other = |code: &str| assert!(world.approve_device(code, "scanner@contoso.com"));
    let error = by_device(&config, ERP, other).await.0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "scanner@contoso.com signed in, but erp@contoso.com was meant; nothing was stored"
    );
    let no = |code: &str| assert!(world.decline_device(code));
    let error = by_device(&config, ERP, no).await.0.unwrap_err();
    assert!(matches!(error, SignInError::Declined(_)), "{error}");
}

#[tokio::test]
async fn a_browser_comes_back_and_is_told_how_it_went() {
    let sandbox = Stage::sandbox().await;
    let (config, _folder) = config(&sandbox, &browser());
    let (outcome, page) = by_browser(&config, ERP, async |person, url| {
        let back = person.sent_back(&url, "sandbox_user=erp@contoso.com").await;
        let origin = back.split("/?").next().unwrap();
        assert_eq!(person.get(&format!("{origin}/favicon.ico")).await.status(), 404);
        let forged = person.get(&format!("{origin}/?code=1.forged&state=forged")).await;
        assert!(forged.text().await.unwrap().contains("another sign-in"));
        let page = person.get(&back).await;
        assert_eq!(page.status(), 200);
        page.text().await.unwrap()
    })
    .await;
    assert_eq!(outcome.unwrap().who, ERP);
    assert!(page.contains("erp@contoso.com is signed in."), "{page}");

    let (outcome, page) = by_browser(&config, ERP, async |person, url| {
        let back = person.sent_back(&url, "sandbox_user=scanner@contoso.com").await;
        let page = person.get(&back).await;
        assert_eq!(page.status(), 400);
        page.text().await.unwrap()
    })
    .await;
    assert!(matches!(outcome, Err(SignInError::SomebodyElse { .. })), "{outcome:?}");
    assert!(page.contains("scanner@contoso.com signed in, but"), "{page}");

    let (outcome, page) = by_browser(&config, ERP, async |person, url| {
        let back = person.sent_back(&url, "sandbox_error=1").await;
        person.get(&back).await.text().await.unwrap()
    })
    .await;
    assert!(matches!(outcome, Err(SignInError::Declined(_))), "{outcome:?}");
    assert!(page.contains("admin consent"), "{page}");
}

#[tokio::test]
async fn without_a_browser_here_the_address_is_pasted() {
    let sandbox = Stage::sandbox().await;
    let (config, _folder) = config(&sandbox, &browser());
    let (outcome, ()) = by_browser(&config, ERP, async |person, url| {
        let back = person.sent_back(&url, "sandbox_user=erp@contoso.com").await;
        person.paste.send(url).await.unwrap(); // the wrong address, as people do
        person.paste.send(back).await.unwrap();
    })
    .await;
    assert_eq!(outcome.unwrap().who, ERP);
    sandbox.world().tune(|tuning| tuning.code_life = std::time::Duration::ZERO);
    let (outcome, ()) = by_browser(&config, ERP, async |person, url| {
        let back = person.sent_back(&url, "sandbox_user=erp@contoso.com").await;
        person.paste.send(back).await.unwrap();
    })
    .await;
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("AADSTS70008"), "{error}");
}

#[tokio::test]
async fn a_sign_in_that_cannot_be_is_told_before_anybody_signs_in() {
    let sandbox = Stage::sandbox().await;
    let (mut config, _folder) = config(&sandbox, &device());
    let any = |user: UserPattern, config: &Config| {
        Arc::new(Account { user, ..(*config.accounts[1]).clone() })
    };
    let alias = any(UserPattern::Exact("copier".to_owned()), &config);
    config.accounts.push(alias);
    let rows = [
        ("nobody@fabrikam.com", true, "no [[account]] covers nobody@fabrikam.com"),
        ("scanner@contoso.com", true, "grant = \"client_credentials\""),
        ("copier", false, "no address"),
    ];
    let mut ran = 0;
    for (user, is_usage, words) in rows {
        let Err(Unfit { usage, what, remedy }) = SignIn::prepare(&config, user) else {
            panic!("{user}");
        };
        assert!(usage == is_usage && what.contains(words) && !remedy.is_empty(), "{user}: {what}");
        ran += 1;
    }
    assert_eq!(ran, 3);
    let mailbox = Mailbox { smtp: Some("scanner@contoso.com".to_owned()), ..Mailbox::default() };
    let copier = config.accounts.pop().unwrap();
    config.accounts.push(Arc::new(Account { mailbox, ..(*copier).clone() }));
    assert_eq!(SignIn::prepare(&config, "Copier").unwrap().meant(), "scanner@contoso.com");
    config.vault = None;
    let Err(unfit) = SignIn::prepare(&config, ERP) else { panic!("no vault") };
    assert!(!unfit.usage && unfit.remedy.contains("[vault]"), "{unfit:?}");
}

#[tokio::test] // one thread: the subscriber is this thread's
async fn no_secret_is_logged_or_shown() {
    let (caught, _guard) = Caught::begin();
    let sandbox = Stage::sandbox().await;
    let world = sandbox.world();
    world.tune(|tuning| tuning.device_interval = 1);
    let (by_code, _folder) = config(&sandbox, &device());
    let approve = |code: &str| assert!(world.approve_device(code, ERP));
    let (outcome, shown) = by_device(&by_code, ERP, approve).await;
    outcome.unwrap();
    let (in_browser, _folder) = config(&sandbox, &browser());
    let (outcome, (url, page)) = by_browser(&in_browser, ERP, async |person, url| {
        let back = person.sent_back(&url, "sandbox_user=erp@contoso.com").await;
        (url, person.get(&back).await.text().await.unwrap())
    })
    .await;
    outcome.unwrap();
    let log = caught.text();
    assert!(log.contains("signed_in"), "the log was caught: {log}");
    for canary in ["eyJ", "SAQ", "1.AXk", "code_verifier", "proxy-canary-password"] {
        for said in [&log, &shown, &url, &page] {
            assert!(!said.contains(canary), "{canary}: {said}");
        }
    }
}
