//! How a daemon stops: what it still writes, and what it does not wait for.

use std::{fs::File, time::Duration};

use mailwicket::{
    config::{Config, VaultFiles, VaultKey},
    sandbox::Sandbox,
    token::vault::Vault,
};
use tempfile::TempDir;
use tokio::{task::yield_now, time::Instant};

use crate::{
    stage::{Client, PASSWORD, Stage, USER, parse, text},
    status::get,
};

fn with_vault(sandbox: &Sandbox, more: &str) -> (Config, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        parse(&text(sandbox, "", &format!("[status]\nbind = \"127.0.0.1:0\"\n{more}")));
    let key = VaultKey::File(folder.path().join("key"));
    config.vault = Some(VaultFiles { path: folder.path().join("vault"), key });
    (config, folder)
}

/// A `mailwicket sign-in` beside it may hold the vault just then.
#[tokio::test] // one thread: what Entra granted is on its way into the vault once it is counted
async fn a_token_on_its_way_into_the_vault_arrives_there() {
    let sandbox = Stage::sandbox().await;
    let (config, folder) = with_vault(&sandbox, "");
    let mut stage = Stage::run(sandbox, &config);
    let lock = File::options().write(true).open(folder.path().join("vault.lock")).unwrap();
    lock.lock().unwrap();

    let mut client = stage.client().await;
    let granted = "mailwicket_token_requests_total{app=\"app\",outcome=\"granted\"} 1";
    let status = stage.status.unwrap();
    let stops = async {
        while !get(status, "/metrics").await.1.contains(granted) {
            yield_now().await;
        }
        stage.ask_to_stop();
    };
    let (told, ()) = tokio::join!(client.log_in(USER, PASSWORD), stops);
    assert!(told.starts_with('4'), "to come back: {told}");
    client.rest().await;
    for _ in 0..1000 {
        yield_now().await;
    }
    assert!(!stage.has_ended(), "the token is not written yet");

    lock.unlock().unwrap();
    assert_eq!(stage.ended().await, 0);
    let vault = Vault::open(config.vault.as_ref().unwrap()).unwrap();
    assert_eq!(vault.names().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stop_waits_for_nothing_that_only_watches() {
    let sandbox = Stage::sandbox().await;
    let (mut config, _folder) = with_vault(&sandbox, "[limits]\nsmtp_sessions_per_mailbox = 10\n");
    let stage = Stage::run(sandbox, &config);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(stage.address).await;
        assert!(client.log_in(USER, PASSWORD).await.starts_with("235 "));
        clients.push(client);
    }
    // By now the token has its upkeep, the status is served, and places are to be taken away that
    // sessions have.
    config.limits.max_sessions = 1;
    config.limits.shutdown_grace = Duration::ZERO;
    stage.reload(config).await.unwrap();
    let asked = Instant::now();
    assert_eq!(stage.ended().await, 3);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(5), "as long as for one that writes: {took:?}");
}
