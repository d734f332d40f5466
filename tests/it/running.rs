//! `check --live` and `check --ready`, as a container's health check runs them: the program itself,
//! its words and its exit code.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use mailwicket::{
    config,
    doctor::running::{Question, ask},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::spawn_blocking, time::Instant};

use crate::stage::{self, Stage};

const STATUS: &str = "[status]\nbind = \"127.0.0.1:0\"\n";

/// Runs the program on this text; what it printed and its exit code.
async fn check(arguments: &'static [&str], text: String) -> (i32, String) {
    let ran = spawn_blocking(move || {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("proxy.toml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailwicket"));
        command.arg("check").args(arguments).arg("--config").arg(&file);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        stage::start(&mut command).wait_with_output().unwrap()
    });
    let output = ran.await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(printed).unwrap())
}

fn at(address: impl std::fmt::Display) -> String {
    format!("[status]\nbind = \"{address}\"\n")
}

async fn stage(change: impl FnOnce(String) -> String) -> (Stage, SocketAddr) {
    let sandbox = Stage::sandbox().await;
    let text = change(stage::text(&sandbox, "", STATUS));
    let stage = Stage::run(sandbox, &stage::parse(&text));
    let status = stage.status.expect("a status endpoint");
    (stage, status)
}

#[tokio::test]
async fn one_that_runs_says_so_whatever_else_is_in_the_file() {
    let (stage, status) = stage(|text| text).await;
    let (code, printed) = check(&["--live"], at(status)).await;
    assert_eq!((code, printed), (0, format!("ok    http://{status}/healthz: running\n")));
    let (code, printed) = check(&["--ready"], at(status)).await;
    assert_eq!(code, 0, "{printed}");
    assert!(printed.starts_with(&format!("ok    http://{status}/readyz: ready\n      ")));
    assert!(printed.contains("\n      identity app=\"app\""), "{printed}");
    let broken = "[nonsense]\n[entra.x]\nclient_secret = { file = \"/nowhere\" }\n";
    let (code, printed) = check(&["--live"], broken.to_owned() + &at(status)).await;
    assert_eq!(code, 0, "a file that is being mended: {printed}");
    stage.ended().await;
    let (code, printed) = check(&["--live"], at(status)).await;
    assert_eq!(code, 69, "{printed}");
    assert!(printed.contains("cause:  no mailwicket runs here"), "{printed}");
    assert!(printed.contains("remedy: start it"), "{printed}");
}

#[tokio::test]
async fn one_that_gets_no_token_is_alive_and_not_ready() {
    let (stage, status) =
        stage(|text| text.replace("{ env = \"SECRET\" }", "\"canary-wrong\"")).await;
    assert_eq!(check(&["--live"], at(status)).await.0, 0);
    let (code, printed) = check(&["--ready"], at(status)).await;
    assert_eq!(code, 69, "{printed}");
    for words in ["503: an identity has no token", "condition=refused", "remedy: see the remedies"]
    {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    assert!(!printed.contains("canary"), "{printed}");
    stage.ended().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_apart() {
    let (stage, status) = stage(|text| text).await;
    let rows: [(&[&str], String, i32, &str); 7] = [
        (&["--live"], at(stage.address), 69, "no HTTP answer"),
        (&["--live"], String::new(), 78, "without [status]"),
        (&["--live"], at("here"), 78, "status.bind: \"here\""),
        (&["--live"], "[status".to_owned(), 78, "proxy.toml:1"),
        (&["--ready"], at("192.0.2.1:x"), 78, "status.bind"),
        (&["--live", "--offline"], at(status), 64, "cannot be used with"),
        (&["--live", "--ready"], at(status), 64, "cannot be used with"),
    ];
    let mut ran = 0;
    for (arguments, text, expected, words) in rows {
        let (code, printed) = check(arguments, text).await;
        assert_eq!(code, expected, "{arguments:?}: {printed}");
        assert!(printed.contains(words), "{words}: {printed}");
        ran += 1;
    }
    assert_eq!(ran, 7);
    stage.ended().await;
}

#[tokio::test]
async fn an_address_of_all_is_asked_at_loopback_and_must_let_it_in() {
    let rows = [
        ("127.0.0.0/8", 0, "running"),
        ("192.0.2.0/24", 69, "127.0.0.1, from where we ask, is not in allow"),
    ];
    for (allow, expected, words) in rows {
        let sandbox = Stage::sandbox().await;
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let table = at(format_args!("0.0.0.0:{free}")) + &format!("allow = [\"{allow}\"]\n");
        let text = stage::text(&sandbox, "", &table);
        let stage = Stage::run(sandbox, &stage::parse(&text));
        let (code, printed) = check(&["--live"], table).await;
        assert_eq!(code, expected, "{printed}");
        assert!(printed.contains(words), "{printed}");
        assert!(printed.contains(&format!("http://127.0.0.1:{free}/healthz")), "{printed}");
        stage.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("proxy.toml");
    fs::write(&file, at(silent.local_addr().unwrap())).unwrap();
    let status = config::load_status(&file).unwrap().unwrap();
    let started = Instant::now();
    let finding = ask(&status, Question::Live).await;
    assert!(finding.is_failure());
    assert!(format!("{finding:?}").contains("no answer within 3 s"), "{finding:?}");
    assert_eq!(started.elapsed().as_secs(), 3);
}
