//! `[[account]]`: who may log in, and as whom.

use std::{collections::BTreeMap, sync::Arc};

use toml::Spanned;

use super::{
    super::{Account, EntraApp, Grant, Mailbox, UserPattern, file, form::is_sendable},
    Checker,
};
use crate::{mail::Protocol, secret};

impl Checker<'_> {
    /// One for each table, in their order; `None` for a table that is wrong. `pinned` are the
    /// tables that a listener without login uses; the others may be used at each of `listeners`.
    pub(super) fn accounts(
        &mut self,
        tables: &[Spanned<file::Account>],
        apps: &BTreeMap<String, Arc<EntraApp>>,
        no_apps_written: bool,
        pinned: &[usize],
        listeners: &[Spanned<file::Listener>],
    ) -> Vec<Option<Arc<Account>>> {
        if tables.is_empty() {
            self.problems.general("no [[account]]; add one with user and password_hash (see `mailwicket hash-password`)");
        }
        let spoken = spoken_after_a_login(listeners);
        let mut accounts: Vec<Option<Arc<Account>>> = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let table = table.get_ref();
            let entra = if no_apps_written { None } else { self.app_of(table, apps) };
            let user = self.user(&table.user);
            let hash = self.password_hash(table, entra.as_deref(), pinned.contains(&index));
            let mailbox = self.mailbox(table, user.as_ref(), entra.as_deref(), &spoken);
            let allow = match &table.allow {
                Some(entries) => self.networks("account.allow", entries),
                None => Some(Vec::new()),
            };
            let usable = (|| {
                let (user, password_hash) = (user?, hash?);
                Some(Account {
                    user,
                    password_hash,
                    mailbox: mailbox?,
                    entra: entra?,
                    allow: allow?,
                })
            })();
            let Some(account) = usable else {
                accounts.push(None);
                continue;
            };
            if accounts.iter().flatten().any(|other| other.user == account.user) {
                let words = format!(
                    "account.user: \"{}\" is there twice; remove one",
                    table.user.get_ref()
                );
                self.problems.at(table.user.span(), words);
            }
            accounts.push(Some(Arc::new(account)));
        }
        accounts
    }

    fn app_of(
        &mut self,
        table: &file::Account,
        apps: &BTreeMap<String, Arc<EntraApp>>,
    ) -> Option<Arc<EntraApp>> {
        let Some(name) = &table.entra else {
            if apps.len() > 1 {
                let names: Vec<_> = apps.keys().map(String::as_str).collect();
                let words = format!(
                    "account.entra is missing and there are several apps; write one of {}",
                    names.join(", ")
                );
                self.problems.at(table.user.span(), words);
                return None;
            }
            return apps.values().next().cloned();
        };
        let app = apps.get(name.get_ref()).cloned();
        if app.is_none() {
            let words = format!("account.entra: there is no usable [entra.{}]", name.get_ref());
            self.problems.at(name.span(), words);
        }
        app
    }

    fn user(&mut self, given: &Spanned<String>) -> Option<UserPattern> {
        let pattern = pattern(given.get_ref());
        if pattern.is_none() {
            let words = format!(
                "account.user: \"{}\" is no user name; write an address, \"*@contoso.com\" or \"*\"",
                given.get_ref().trim().to_ascii_lowercase()
            );
            self.problems.at(given.span(), words);
        }
        pattern
    }

    /// `Some(None)` is right where Entra judges the password.
    #[allow(clippy::option_option)] // outer: usable or not; inner: as in Account
    fn password_hash(
        &mut self,
        table: &file::Account,
        app: Option<&EntraApp>,
        is_pinned: bool,
    ) -> Option<Option<String>> {
        let by_password = matches!(app?.grant, Grant::Password { .. });
        match (&table.password_hash, by_password) {
            (None, true) => Some(None),
            (None, false) if is_pinned => Some(None), // then nobody can log in with it elsewhere
            (Some(hash), true) => {
                self.problems.at(hash.span(), "account.password_hash: with grant = \"password\" Entra judges the password; remove the hash");
                None
            }
            (None, false) => {
                self.problems.at(table.user.span(), "account.password_hash is missing: without it anybody could send as this user; make one with `mailwicket hash-password`");
                None
            }
            (Some(hash), false) => match secret::check_hash(hash.get_ref()) {
                Ok(()) => Some(Some(hash.get_ref().clone())),
                Err(why) => {
                    self.problems.at(hash.span(), format!("account.password_hash is no usable hash ({why}); make one with `mailwicket hash-password`"));
                    None
                }
            },
        }
    }

    fn mailbox(
        &mut self,
        table: &file::Account,
        user: Option<&UserPattern>,
        app: Option<&EntraApp>,
        spoken: &[Protocol],
    ) -> Option<Mailbox> {
        let mailbox = match table.mailbox.as_ref().map(Spanned::get_ref) {
            None => Mailbox::default(),
            Some(file::Mailbox::All(all)) => {
                let all = Some(all.trim().to_owned());
                Mailbox { smtp: all.clone(), imap: all.clone(), pop3: all }
            }
            Some(file::Mailbox::Each(each)) => Mailbox {
                smtp: each.smtp.clone(),
                imap: each.imap.clone(),
                pop3: each.pop3.clone(),
            },
        };
        let span = table.mailbox.as_ref().map_or(table.user.span(), Spanned::span);
        let named = [&mailbox.smtp, &mailbox.imap, &mailbox.pop3];
        if !named.into_iter().flatten().all(|name| name.contains('@') && is_sendable(name)) {
            let words = "account.mailbox is no address; write such as \"shared@contoso.com\"";
            self.problems.at(span, words);
            return None;
        }
        // Exchange knows addresses only; where Entra judges the password, it may know a short name.
        let by_password = app.is_none_or(|app| matches!(app.grant, Grant::Password { .. }));
        let is_short = matches!(user, Some(UserPattern::Exact(name)) if !name.contains('@'));
        if by_password || !is_short {
            return Some(mailbox);
        }
        if table.mailbox.is_none() {
            self.problems.at(span, "account.mailbox is missing: the user is no address, so say whose mailbox is meant, such as mailbox = \"scanner@contoso.com\"");
            return None;
        }
        let is_lacking = |protocol: &&Protocol| mailbox.for_protocol(**protocol).is_none();
        let lacking: Vec<_> = spoken.iter().filter(is_lacking).map(|it| it.name()).collect();
        if lacking.is_empty() {
            return Some(mailbox);
        }
        let keys: Vec<_> =
            lacking.iter().map(|name| format!("{name} = \"scanner@contoso.com\"")).collect();
        let words = format!(
            "account.mailbox: for {} there is a [[listener]] and no mailbox, and the user is no address; write {} into it, or one mailbox for all, such as mailbox = \"scanner@contoso.com\"",
            lacking.join(" and "),
            keys.join(", ")
        );
        self.problems.at(span, words);
        None
    }
}

/// The protocols that accounts may be used with.
fn spoken_after_a_login(listeners: &[Spanned<file::Listener>]) -> Vec<Protocol> {
    let open = || listeners.iter().map(Spanned::get_ref).filter(|table| table.account.is_none());
    let is_spoken =
        |protocol: &Protocol| open().any(|table| table.protocol.get_ref() == protocol.name());
    [Protocol::Smtp, Protocol::Imap, Protocol::Pop3].into_iter().filter(is_spoken).collect()
}

/// The table that covers a user: exact before `*@domain` before `*`.
pub(super) fn closest(tables: &[Spanned<file::Account>], user: &str) -> Option<usize> {
    let user = user.to_ascii_lowercase();
    let ranked = tables.iter().enumerate().filter_map(|(index, table)| {
        Some((pattern(table.get_ref().user.get_ref())?.rank(&user)?, index))
    });
    ranked.min().map(|(_, index)| index)
}

fn pattern(written: &str) -> Option<UserPattern> {
    let user = written.trim().to_ascii_lowercase();
    if user == "*" {
        return Some(UserPattern::Any);
    }
    let domain = user.strip_prefix("*@");
    let plain = domain.unwrap_or(&user);
    if plain.is_empty() || plain.contains('*') || !is_sendable(plain) {
        return None;
    }
    Some(domain.map_or_else(
        || UserPattern::Exact(user.clone()),
        |domain| UserPattern::Domain(domain.to_owned()),
    ))
}
