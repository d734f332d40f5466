//! An app with two secrets, while one takes the other's place.

use super::*;
use crate::config::Credential;

fn secrets(secrets: &[&str]) -> Credential {
    Credential::Secrets(secrets.iter().map(|secret| (*secret).into()).collect())
}

fn rotating() -> Identity {
    identity(Grant::ClientCredentials { credential: secrets(&["elder", "younger"]) }, "")
}

#[tokio::test(start_paused = true)]
async fn where_one_secret_is_refused_the_next_is_tried_at_once_and_remembered() {
    let (log, _guard) = Log::listen();
    let (entra, tokens) = Entra::new(&[REFUSED, Say::Token(3600)]);
    assert_eq!(text(tokens.get(&rotating(), None).await), "token-2");
    sleep(seconds(3 * 3600)).await;
    assert!(entra.body(1).ends_with("client_secret=elder"));
    for number in 2..=entra.asked() {
        assert!(entra.body(number).ends_with("client_secret=younger"), "request {number}");
    }
    let lines = log.lines("secret_refused");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("secret no. 1 was refused and no. 2 works"), "{lines:?}");
    assert!(lines[0].contains("7000215") && lines[0].contains("remedy="), "{lines:?}");
    assert!(!lines[0].contains("elder") && !lines[0].contains("younger"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_secret_is_tried_again_once_the_second_is_refused() {
    let (entra, tokens) = Entra::new(&[REFUSED, Say::Token(600), REFUSED, Say::Token(7200)]);
    tokens.get(&rotating(), None).await.unwrap();
    sleep(seconds(301)).await;
    assert_eq!(entra.asked(), 4);
    assert!(entra.body(3).ends_with("younger") && entra.body(4).ends_with("elder"));
    assert_eq!(text(tokens.get(&rotating(), None).await), "token-4");
}

#[tokio::test(start_paused = true)]
async fn two_refused_secrets_are_a_refusal_and_remembered() {
    let (entra, tokens) = Entra::new(&[REFUSED]);
    for _ in 0..5 {
        assert!(tokens.get(&rotating(), None).await.unwrap_err().is_refusal());
    }
    assert_eq!(entra.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_between_two_secrets_is_no_refusal() {
    let (_, tokens) = Entra::new(&[REFUSED, Say::NoWay]);
    assert!(!tokens.get(&rotating(), None).await.unwrap_err().is_refusal());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_not_tried_with_the_next_secret() {
    let (entra, tokens) = Entra::new(&[WRONG_PASSWORD]);
    let grant = Grant::Password {
        credential: Some(secrets(&["elder", "younger"])),
        accepted_for: seconds(3600),
    };
    let error = tokens.get(&identity(grant, "ann@contoso.example"), Some(&pw("x"))).await;
    assert!(error.unwrap_err().blames_the_password());
    assert_eq!(entra.asked(), 1);
}
