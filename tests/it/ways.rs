//! The ways out: proxies of each kind, several in order, one for each leg.

use mailwicket::{
    config::Config,
    doctor::{Finding, Verdict, examine},
    sandbox::{
        Sandbox,
        world::{Connect, ProxyFault, SmtpFault},
    },
};

use crate::{
    caught::Caught,
    stage::{self, PASSWORD, Stage, USER, free_address},
};

const ENTRA: &str = "login.microsoftonline.com:443";
const MAIL: &str = "smtp.office365.com:587";

/// A place in a test's `[outbound]` stands for the sandbox's. HTTP proxies get the login unasked, so
/// that each connection is one CONNECT.
fn config(sandbox: &Sandbox, outbound: &str) -> Config {
    let usual = format!("proxy = \"http://{}\"\n", sandbox.proxy());
    let outbound = outbound
        .replace("HTTP", &sandbox.proxy().to_string())
        .replace("SECURE", &format!("localhost:{}", sandbox.secure_proxy().port()))
        .replace("SOCKS", &sandbox.socks().to_string());
    let text = stage::text(sandbox, "", "");
    assert!(text.contains(&usual));
    let unasked = if outbound.contains("http") { "proxy_auth = \"basic\"\n" } else { "" };
    stage::parse(&text.replace(&usual, &format!("{outbound}\n{unasked}")))
}

async fn stage(outbound: &str) -> Stage {
    let sandbox = Stage::sandbox().await;
    let config = config(&sandbox, outbound);
    Stage::run(sandbox, &config)
}

fn targets(connects: &[Connect]) -> Vec<(&str, u16)> {
    connects.iter().map(|connect| (connect.target.as_str(), connect.status)).collect()
}

#[tokio::test]
async fn a_proxy_of_each_kind_carries_both_legs_by_name() {
    for (outbound, by_socks) in
        [("proxy = \"https://SECURE\"", false), ("proxy = \"socks5h://SOCKS\"", true)]
    {
        let stage = stage(outbound).await;
        let world = stage.sandbox.world();
        world.arm(ProxyFault::GlueGreeting);
        let mut client = stage.client().await;
        let reply = client.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("235 "), "{outbound}: {reply}");
        assert!(client.send(USER, b"Subject: x\r\n\r\nx\r\n").await.starts_with("250 "));
        let counters = world.counters();
        let (used, unused) = if by_socks {
            (counters.socks_connects, counters.connects)
        } else {
            (counters.connects, counters.socks_connects)
        };
        let granted = if by_socks { 0 } else { 200 };
        assert_eq!(targets(&used), [(ENTRA, granted), (MAIL, granted)], "{outbound}");
        assert!(used.iter().all(|connect| connect.user.as_deref() == Some("svc-mail")));
        assert_eq!(unused, []);
    }
}

#[tokio::test]
async fn each_leg_has_its_own_proxy() {
    let stage =
        stage("proxy = \"socks5h://SOCKS\"\ntoken_proxy = [\"https://SECURE\", \"none\"]").await;
    assert!(stage.client().await.log_in(USER, PASSWORD).await.starts_with("235 "));
    let counters = stage.sandbox.world().counters();
    assert_eq!(targets(&counters.connects), [(ENTRA, 200)]);
    assert_eq!(targets(&counters.socks_connects), [(MAIL, 0)]);
}

#[tokio::test]
async fn a_dead_proxy_is_passed_over_and_the_log_says_so_once() {
    let (caught, _guard) = Caught::begin();
    let dead = free_address();
    let stage = stage(&format!("proxy = [\"http://{dead}\", \"http://HTTP\"]")).await;
    for _ in 0..3 {
        assert!(stage.client().await.log_in(USER, PASSWORD).await.starts_with("235 "));
    }
    let connects = stage.sandbox.world().counters().connects;
    assert_eq!(targets(&connects), [(ENTRA, 200), (MAIL, 200), (MAIL, 200), (MAIL, 200)]);
    let log = caught.text();
    let lost: Vec<_> = log.lines().filter(|line| line.contains("way_lost")).collect();
    assert_eq!(lost.len(), 1, "{log}");
    for words in [
        &format!("cannot connect to proxy {dead}"),
        &format!("now=\"http proxy {}\"", stage.sandbox.proxy()),
        "remedy=\"check host and port of the proxy",
    ] {
        assert!(lost[0].contains(words), "{words}: {}", lost[0]);
    }
}

#[tokio::test]
async fn an_outage_of_the_first_proxy_is_not_one_but_its_no_is_a_no() {
    let (socks_first, http_first) = (
        "proxy = [\"socks5h://SOCKS\", \"http://HTTP\"]",
        "proxy = [\"http://HTTP\", \"socks5h://SOCKS\"]",
    );
    let rows = [
        (socks_first, ProxyFault::CloseUnanswered),
        (socks_first, ProxyFault::ConnectFailed),
        (http_first, ProxyFault::CloseUnanswered),
        (http_first, ProxyFault::ConnectFailed),
        (http_first, ProxyFault::BadGateway),
    ];
    let mut ran = 0;
    for (outbound, fault) in rows {
        let stage = stage(outbound).await;
        stage.sandbox.world().arm_times(fault.clone(), 1); // it strikes the first
        let reply = stage.client().await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("235 "), "{fault:?}: {reply}");
        let counters = stage.sandbox.world().counters();
        let second =
            if outbound == http_first { counters.socks_connects } else { counters.connects };
        let asked: Vec<_> = second.iter().map(|connect| connect.target.as_str()).collect();
        assert_eq!(asked, [ENTRA, MAIL], "{fault:?}");
        ran += 1;
    }
    assert_eq!(ran, 5);

    let stage = stage(socks_first).await;
    stage.sandbox.world().tune(|tuning| tuning.proxy_ports = Some(vec![443]));
    let reply = stage.client().await.log_in(USER, PASSWORD).await;
    assert!(reply.starts_with("454 4.7.0 The proxy answered 2 (mail server)"), "{reply}");
    let counters = stage.sandbox.world().counters();
    assert_eq!(targets(&counters.socks_connects), [(ENTRA, 0), (MAIL, 2)]);
    assert_eq!(counters.connects, [], "the other proxy is not asked");
}

#[tokio::test]
async fn where_no_way_leads_each_is_named_with_its_cause() {
    let (caught, _guard) = Caught::begin();
    let (one, two) = (free_address(), free_address());
    let stage = stage(&format!("proxy = [\"https://{one}\", \"socks5h://{two}\"]")).await;
    let reply = stage.client().await.log_in(USER, PASSWORD).await;
    assert!(
        reply.starts_with("454 4.7.0 No token now: No proxy leads to the token endpoint"),
        "{reply}"
    );
    let log = caught.text();
    for words in
        [format!("(1) cannot connect to proxy {one}"), format!("(2) cannot connect to proxy {two}")]
    {
        assert!(log.contains(&words), "{words}: {log}");
    }
    assert!(!log.contains("way_lost"), "nothing better is known: {log}");
}

#[tokio::test]
async fn a_login_and_a_page_of_a_captive_portal_are_told() {
    let rows = [
        (
            "proxy = \"http://HTTP\"",
            ProxyFault::LoginPage,
            "The proxy broke off",
            "sent a web page",
        ),
        (
            "proxy = \"socks5h://u:wrong@SOCKS\"\ntoken_proxy = \"http://HTTP\"",
            ProxyFault::GlueGreeting,
            "The proxy refused the login",
            "refused user and password",
        ),
    ];
    let mut ran = 0;
    for (outbound, fault, told, logged) in rows {
        let (caught, _guard) = Caught::begin();
        let stage = stage(outbound).await;
        stage.sandbox.world().arm(fault);
        let reply = stage.client().await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("454 4.7.0 ") && reply.contains(told), "{outbound}: {reply}");
        let log = caught.text();
        assert!(log.contains(logged), "{outbound}: {log}");
        ran += 1;
    }
    assert_eq!(ran, 2);
}

#[tokio::test]
async fn check_shows_the_way_of_each_leg_and_walks_the_others() {
    let sandbox = Stage::sandbox().await;
    let dead = free_address();
    let text = format!(
        "proxy = [\"http://{dead}\", \"socks5h://SOCKS\", \"http://HTTP\"]\ntoken_proxy = \"https://SECURE\""
    );
    let findings = examine(&config(&sandbox, &text), Some(USER)).await;
    let told: Vec<_> = findings
        .iter()
        .map(|finding| match &finding.verdict {
            Verdict::Fine => finding.what.clone(),
            Verdict::Warning(words) => format!("{}: warning: {}", finding.what, words.error),
            Verdict::Failure(words) => format!("{}: failure: {}", finding.what, words.error),
        })
        .collect();
    let way = "way to smtp.office365.com:587 (mail)";
    for words in [
        format!(
            "way to login.microsoftonline.com:443 (token endpoint): https proxy localhost:{}",
            sandbox.secure_proxy().port()
        ),
        format!("{way}: http proxy {dead}: warning: mail: cannot connect to proxy {dead}: "),
        format!("{way}: socks5h proxy {}, which is taken", sandbox.socks()),
        format!("{way}: http proxy {}, in reserve", sandbox.proxy()),
        format!("{USER}: logged in over smtp"),
    ] {
        assert!(told.iter().any(|line| line.starts_with(&words)), "{words}: {told:#?}");
    }
    assert!(!findings.iter().any(Finding::is_failure), "{told:#?}");
}

#[tokio::test]
async fn without_starttls_no_token_is_sent_and_the_log_names_the_inspection() {
    let rows = [
        (SmtpFault::NoStartTls, "may have taken it out"),
        (SmtpFault::MangledStartTls, "has overwritten STARTTLS with X"),
        (SmtpFault::BytesBehindStartTls, "what came was dropped and no token sent"),
    ];
    let mut ran = 0;
    for (fault, words) in rows {
        let (caught, _guard) = Caught::begin();
        let stage = stage("proxy = \"http://HTTP\"").await;
        stage.sandbox.world().arm(fault.clone());
        let reply = stage.client().await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("454 4.7.0 the server"), "{fault:?}: {reply}");
        let counters = stage.sandbox.world().counters();
        assert_eq!((counters.auth_inline, counters.auth_two_step), (0, 0), "{fault:?}");
        assert!(caught.text().contains(words), "{fault:?}: {}", caught.text());
        ran += 1;
    }
    assert_eq!(ran, 3);
}
