//! Whom a typed user name means: `user`, or `user\shared` for a mailbox that somebody else owns.
//!
//! Exchange took that form for years, and old clients still send it. Whether the user may open the
//! shared mailbox is Exchange's to judge where the token is the user's own. A token of an app opens
//! what the app may open, so there nobody gets further than with a login of the account itself.
//! Must never know passwords or tokens.

use std::sync::Arc;

use super::gate::Gate;
use crate::{
    config::{Account, Grant},
    mail::Protocol,
};

/// A user, and the mailbox meant where it is another's.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Person {
    /// Who logs in.
    pub(super) user: String,
    /// The mailbox that was typed behind the user.
    shared: Option<String>,
}

/// The user may log in, but not to that mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotTheirs;

impl Person {
    /// Understands a typed name. What an account is called as a whole is nobody's shared mailbox;
    /// nor is the `user` of `DOMAIN\user`.
    pub(super) fn of(typed: &str, gate: &Gate) -> Self {
        let alone = || Self { user: typed.to_owned(), shared: None };
        if gate.names(typed) {
            return alone();
        }
        let Some((user, shared)) = typed.split_once(['\\', '/']) else {
            return alone();
        };
        let known = user.contains('@') || gate.names(user);
        if user.is_empty() || shared.is_empty() || !known {
            return alone();
        }
        let shared = match user.rsplit_once('@') {
            Some((_, domain)) if !shared.contains('@') => format!("{shared}@{domain}"),
            _ => shared.to_owned(),
        };
        Self { user: user.to_owned(), shared: Some(shared) }
    }

    /// The name that Entra knows the user by. A short name for an old device is ours: where Entra
    /// judges the password, it is asked for the mailbox's owner.
    pub(super) fn known_as<'a>(&'a self, account: &'a Account) -> &'a str {
        let asks_entra = matches!(account.entra.grant, Grant::Password { .. });
        let owner = account.mailbox.only().filter(|_| asks_entra && !self.user.contains('@'));
        owner.unwrap_or(&self.user)
    }

    /// Whose mailbox XOAUTH2 names.
    pub(super) fn mailbox<'a>(
        &'a self,
        account: &'a Arc<Account>,
        protocol: Protocol,
        gate: &Gate,
    ) -> Result<&'a str, NotTheirs> {
        let set = account.mailbox.for_protocol(protocol);
        let own = set.unwrap_or(&self.user);
        if !account.entra.is_app_only() {
            return Ok(match self.shared.as_deref() {
                // Measured: 535 as the shared mailbox, 235 as its delegate, who then sends as it.
                Some(shared) if protocol != Protocol::Smtp => shared,
                _ => own,
            });
        }
        let meant = self.shared.as_deref().unwrap_or(own);
        let is_theirs = match set {
            Some(set) => set.eq_ignore_ascii_case(meant),
            // What Exchange makes of a mailbox `a/b` is not ours to bet an app's token on.
            None if meant.contains(['\\', '/']) => false,
            None => gate
                .account_for(&meant.to_ascii_lowercase())
                .is_some_and(|covering| Arc::ptr_eq(covering, account)),
        };
        if is_theirs { Ok(meant) } else { Err(NotTheirs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    use crate::config::{EntraApp, Limits, Mailbox, UserPattern};

    fn account(user: UserPattern, grant: Grant, imap: Option<&str>) -> Arc<Account> {
        let entra = EntraApp::sample(grant);
        let mailbox = Mailbox { imap: imap.map(str::to_owned), ..Mailbox::default() };
        Arc::new(Account { user, password_hash: None, mailbox, entra, allow: vec![] })
    }

    fn gate() -> Gate {
        let exact = |name: &str| UserPattern::Exact(name.to_owned());
        let app = || Grant::of_app("secret");
        let by_password = Grant::by_password;
        let accounts = vec![
            account(exact("ann@contoso.com"), by_password(), None),
            account(exact("max@contoso.com"), Grant::DeviceCode { credential: None }, None),
            account(exact("scan"), app(), Some("scanner@contoso.com")),
            account(exact("corp\\legacy"), app(), Some("legacy@contoso.com")),
            account(exact("ceo@contoso.com"), app(), None),
            account(
                UserPattern::Domain("devices.example".to_owned()),
                app(),
                Some("scanner@contoso.com"),
            ),
            account(UserPattern::Domain("contoso.com".to_owned()), app(), None),
        ];
        Gate::new(accounts, &Limits::default(), CancellationToken::new())
    }

    #[test]
    fn a_typed_name_is_a_user_and_perhaps_a_shared_mailbox() {
        let gate = gate();
        let rows = [
            ("ann@contoso.com", "ann@contoso.com", None),
            ("ann@contoso.com\\info@contoso.com", "ann@contoso.com", Some("info@contoso.com")),
            ("ann@contoso.com/info@contoso.com", "ann@contoso.com", Some("info@contoso.com")),
            ("ann@contoso.com\\info", "ann@contoso.com", Some("info@contoso.com")),
            ("Ann@contoso.com/info", "Ann@contoso.com", Some("info@contoso.com")),
            ("scan/info@contoso.com", "scan", Some("info@contoso.com")),
            ("CORP\\legacy", "CORP\\legacy", None),
            ("CORP\\ann", "CORP\\ann", None),
            ("CORP\\ann@contoso.com", "CORP\\ann@contoso.com", None),
            ("ann@contoso.com/", "ann@contoso.com/", None),
            ("\\info", "\\info", None),
        ];
        let mut ran = 0;
        for (typed, user, shared) in rows {
            let expected = Person { user: user.to_owned(), shared: shared.map(str::to_owned) };
            assert_eq!(Person::of(typed, &gate), expected, "{typed}");
            ran += 1;
        }
        assert_eq!(ran, 11);
    }

    #[test]
    fn entra_is_asked_for_the_owner_behind_a_short_name() {
        let set = |address: &str| Some(address.to_owned());
        let [one, two] = ["scanner@contoso.com", "b@contoso.com"];
        let (all, none) =
            (Mailbox { smtp: set(one), imap: set(one), pop3: set(one) }, Mailbox::default());
        let several = Mailbox { smtp: set(one), imap: set(two), pop3: None };
        let rows = [
            ("prn", Grant::by_password(), &all, one),
            ("prn", Grant::by_password(), &none, "prn"),
            ("prn", Grant::by_password(), &several, "prn"),
            ("a@contoso.com", Grant::by_password(), &all, "a@contoso.com"),
            ("prn", Grant::of_app("secret"), &all, "prn"),
        ];
        let mut ran = 0;
        for (typed, grant, mailbox, known_as) in rows {
            let mailbox = mailbox.clone();
            let account = Account { mailbox, ..(*account(UserPattern::Any, grant, None)).clone() };
            let person = Person { user: typed.to_owned(), shared: None };
            assert_eq!(person.known_as(&account), known_as, "{typed}");
            ran += 1;
        }
        assert_eq!(ran, 5);
    }

    #[test]
    fn an_apps_token_opens_nothing_that_the_account_itself_does_not() {
        let gate = gate();
        let rows = [
            // A user's own token: Exchange judges, and SMTP wants the delegate.
            ("ann@contoso.com/info", Protocol::Imap, Ok("info@contoso.com")),
            ("ann@contoso.com/ceo", Protocol::Pop3, Ok("ceo@contoso.com")),
            ("ann@contoso.com/info", Protocol::Smtp, Ok("ann@contoso.com")),
            ("ann@contoso.com", Protocol::Imap, Ok("ann@contoso.com")),
            // The same where the user signed in once.
            ("max@contoso.com/info", Protocol::Imap, Ok("info@contoso.com")),
            ("max@contoso.com/info", Protocol::Smtp, Ok("max@contoso.com")),
            // The app's token: what the same account covers, or is set to.
            ("bob@contoso.com/info", Protocol::Imap, Ok("info@contoso.com")),
            ("bob@contoso.com/ceo", Protocol::Imap, Err(NotTheirs)),
            ("bob@contoso.com/ann", Protocol::Imap, Err(NotTheirs)),
            ("bob@contoso.com/x@fabrikam.com", Protocol::Imap, Err(NotTheirs)),
            ("scan/Scanner@contoso.com", Protocol::Imap, Ok("Scanner@contoso.com")),
            ("scan/Scanner@contoso.com", Protocol::Pop3, Err(NotTheirs)),
            ("scan/info@contoso.com", Protocol::Pop3, Err(NotTheirs)),
            ("scan", Protocol::Imap, Ok("scanner@contoso.com")),
            // Set for one protocol, and for none of the others.
            ("a@devices.example", Protocol::Imap, Ok("scanner@contoso.com")),
            ("a@devices.example/scanner@contoso.com", Protocol::Imap, Ok("scanner@contoso.com")),
            ("a@devices.example/b", Protocol::Imap, Err(NotTheirs)),
            ("a@devices.example/scanner@contoso.com", Protocol::Smtp, Err(NotTheirs)),
            ("a@devices.example/b", Protocol::Smtp, Ok("b@devices.example")),
            // What the configuration does not write stays at home.
            ("x/y@contoso.com", Protocol::Imap, Err(NotTheirs)),
            ("CORP\\ann@contoso.com", Protocol::Imap, Err(NotTheirs)),
            ("bob@contoso.com/x/ceo", Protocol::Imap, Err(NotTheirs)),
            ("scan", Protocol::Pop3, Ok("scan")),
        ];
        let mut ran = 0;
        for (typed, protocol, expected) in rows {
            let person = Person::of(typed, &gate);
            let account = gate.account_for(&person.user.to_ascii_lowercase()).unwrap();
            assert_eq!(person.mailbox(account, protocol, &gate), expected, "{typed} {protocol}");
            ran += 1;
        }
        assert_eq!(ran, 23);
    }
}
