//! What the daemon tells before anybody logs in: at its start, and with a new configuration.

use std::{sync::Arc, time::Duration};

use mailwicket::config::{Config, Date, EntraApp, Grant, VaultFiles, VaultKey};
use tokio::{task::yield_now, time::timeout};

use crate::{
    caught::Caught,
    stage::{self, Stage},
};

/// The log, once all of this is in it.
async fn log_with(caught: &Caught, words: &[&str]) -> String {
    let said = timeout(Duration::from_secs(20), async {
        while !words.iter().all(|words| caught.text().contains(words)) {
            yield_now().await;
        }
    });
    assert!(said.await.is_ok(), "{words:?}: {}", caught.text());
    caught.text()
}

fn change_app(config: &mut Config, account: usize, change: impl FnOnce(&mut EntraApp)) {
    let account = Arc::make_mut(&mut config.accounts[account]);
    change(Arc::make_mut(&mut account.entra));
}

#[tokio::test] // one thread: the subscriber is this thread's
async fn what_will_stop_mail_is_told_at_start_and_after_a_reload() {
    let (caught, _guard) = Caught::begin();
    let sandbox = Stage::sandbox().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = stage::parse(&stage::text(&sandbox, "", ""));
    let key = VaultKey::File(folder.path().join("key"));
    config.vault = Some(VaultFiles { path: folder.path().join("vault"), key });
    let hash = config.accounts[0].password_hash.clone();
    Arc::make_mut(&mut config.accounts[1]).password_hash = hash;
    change_app(&mut config, 0, |app| app.secret_expires = Some(Date::constant(2001, 1, 1)));
    change_app(&mut config, 1, |app| app.grant = Grant::DeviceCode { credential: None });
    let mut next = config.clone();
    let stage = Stage::run(sandbox, &config);

    let log = log_with(&caught, &["secret_expired", "needs_sign_in"]).await;
    assert!(log.contains("entra.app.client_secret has expired on 2001-01-01"), "{log}");
    assert!(log.contains("mailwicket sign-in erp@contoso.com"), "{log}");
    assert!(!log.contains("restart_needed"), "{log}");
    assert_eq!(stage.sandbox.world().counters().token_requests_total(), 0);

    next.log.level = "debug".to_owned();
    next.vault.as_mut().unwrap().path = folder.path().join("another");
    change_app(&mut next, 0, |app| app.secret_expires = Some(Date::constant(2002, 2, 2)));
    stage.reload(next).await.unwrap();
    let log = log_with(&caught, &["table=\"[vault]\"", "table=\"[log]\"", "2002-02-02"]).await;
    assert_eq!(log.matches("day=2001-01-01").count(), 1, "{log}");
    assert_eq!(log.matches("restart_needed").count(), 2, "{log}");
    assert_eq!(stage.ended().await, 0);
}
