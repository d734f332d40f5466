//! Tickets for a proxy: by user and password from the KDC, or by a ticket that is there already.
//!
//! The straight line is `Kerberos::ap_req`: whose ticket, is there one in memory, else ask. A
//! ticket for the proxy is kept until shortly before its end, so that a tunnel costs no question.
//! The messages are in `message`, their encoding in `der`; `places` and `ccache` read what the
//! machine has, `kdc` asks. The crate `sspi` would do all of it, but pulls some 190 crates, three of them
//! pre-releases. Not done: encryption other than AES with SHA-1, KDCs named in DNS, keytabs, caches
//! that are no file. Must never know HTTP.

mod ccache;
pub(super) mod der;
mod error;
mod kdc;
mod message;
mod places;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::ExposeSecret;
use tokio::{
    fs,
    task::spawn_blocking,
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

pub use self::{error::KerberosError, places::Places};
use self::{
    message::{Now, Refusal, Reply, Salt},
    places::Conf,
};
use crate::config::{Proxy, ProxyCredentials};

/// The longest that is asked for one ticket; less where the tunnel has less, because another scheme
/// may have to take over within its time.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a realm whose KDCs did not answer is not asked again: each tunnel would wait for them.
const UNREACHABLE: Duration = Duration::from_secs(60);
/// How long before its end a ticket is no longer used, in seconds.
const MARGIN: i64 = 60;
/// The most realms on the way to the proxy's.
const REFERRALS: usize = 5;
/// The kind of a user's name (RFC 4120 section 6.2).
const NT_PRINCIPAL: i64 = 1;

/// A name in a realm.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Principal {
    kind: i64,
    realm: String,
    names: Vec<String>,
}

/// A ticket and the key that goes with it.
struct Ticket {
    client: Principal,
    /// As it came.
    der: Vec<u8>,
    etype: i64,
    key: Zeroizing<Vec<u8>>,
    /// In seconds since 1970.
    ends: i64,
}

/// Gets tickets and keeps those for proxies.
pub(super) struct Kerberos {
    places: Places,
    kept: Mutex<HashMap<String, Arc<Ticket>>>,
    /// Realms of which no KDC has answered, since when, and what was tried.
    silent: Mutex<HashMap<String, (Instant, String)>>,
}

/// By what a first ticket is had.
enum Source<'a> {
    Password(Principal, &'a ProxyCredentials),
    Cache(ccache::Cache),
}

impl Kerberos {
    pub(super) fn new(places: Places) -> Self {
        Self { places, kept: Mutex::default(), silent: Mutex::default() }
    }

    /// A message for the service `HTTP` on the proxy's host that proves who we are, within `limit`.
    pub(super) async fn ap_req(
        &self,
        proxy: &Proxy,
        limit: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, KerberosError> {
        let places = self.places.clone();
        let mut conf = spawn_blocking(move || places.read()).await.unwrap_or_default();
        let source = self.source(proxy, &conf).await?;
        let owner = match &source {
            Source::Password(owner, _) => owner,
            Source::Cache(cache) => &cache.owner,
        };
        let host = proxy.host.trim_end_matches('.').to_ascii_lowercase();
        let name = format!("{}@{} HTTP/{host}", owner.names.join("/"), owner.realm);
        let kept = self.kept().get(&name).filter(|ticket| lives(ticket)).cloned();
        if let Some(ticket) = kept {
            return message::ap_req(&ticket, now()?).map(Zeroizing::new);
        }
        let realm = owner.realm.clone();
        self.is_silent(&realm)?;
        let limit = limit.min(LIMIT);
        let fetched = timeout(limit, fetch(source, &mut conf, &host, limit)).await;
        let fetched = fetched.unwrap_or_else(|_| {
            let tried = format!("not within {:.1} s", limit.as_secs_f32());
            Err(KerberosError::Unreachable { realm, tried })
        });
        if let Err(KerberosError::Unreachable { realm, tried }) = &fetched {
            self.silent().insert(realm.clone(), (Instant::now(), tried.clone()));
        }
        let ticket = Arc::new(fetched?);
        self.kept().insert(name, Arc::clone(&ticket));
        message::ap_req(&ticket, now()?).map(Zeroizing::new)
    }

    /// The proxy does not take its ticket: it may have a new key.
    pub(super) fn forget(&self, proxy: &Proxy) {
        let host = proxy.host.trim_end_matches('.').to_ascii_lowercase();
        self.kept().retain(|name, _| !name.ends_with(&format!(" HTTP/{host}")));
    }

    async fn source<'a>(&self, proxy: &'a Proxy, conf: &Conf) -> Result<Source<'a>, KerberosError> {
        if let Some(credentials) = &proxy.credentials {
            return Ok(Source::Password(user(&credentials.username, conf)?, credentials));
        }
        let path = conf.cache(&self.places).map_err(KerberosError::NoTicket)?;
        let said = |words: String| KerberosError::NoTicket(format!("{}: {words}", path.display()));
        let octets = fs::read(&path).await.map_err(|error| said(error.to_string()))?;
        let octets = Zeroizing::new(octets);
        ccache::read(&octets).map(Source::Cache).map_err(|words| said(words.to_owned()))
    }

    /// # Errors
    /// Where no KDC of the realm has answered a moment ago.
    fn is_silent(&self, realm: &str) -> Result<(), KerberosError> {
        let known = self.silent().get(realm).cloned();
        match known.filter(|(since, _)| since.elapsed() < UNREACHABLE) {
            None => Ok(()),
            Some((since, tried)) => {
                let tried = format!("{tried} ({} s ago)", since.elapsed().as_secs());
                Err(KerberosError::Unreachable { realm: realm.to_owned(), tried })
            }
        }
    }

    fn silent(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, String)>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Ticket>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `user@REALM`, `DOMAIN\user`, `user`. A short domain name says nothing of the realm.
fn user(username: &str, conf: &Conf) -> Result<Principal, KerberosError> {
    let (realm, name) = if let Some((name, realm)) = username.rsplit_once('@') {
        (Some(realm.to_ascii_uppercase()), name)
    } else if let Some((domain, name)) = username.split_once('\\') {
        let long = domain.contains('.').then(|| domain.to_ascii_uppercase());
        (long.or_else(|| conf.default_realm.clone()), name)
    } else {
        (conf.default_realm.clone(), username)
    };
    let realm = realm.ok_or_else(|| KerberosError::NoRealm { user: username.to_owned() })?;
    let names = name.split('/').map(str::to_owned).collect();
    Ok(Principal { kind: NT_PRINCIPAL, realm, names })
}

/// A ticket for the proxy, through as many realms as the KDCs refer to.
async fn fetch(
    source: Source<'_>,
    conf: &mut Conf,
    host: &str,
    limit: Duration,
) -> Result<Ticket, KerberosError> {
    let service = ["HTTP", host];
    let (mut tgt, mut realm) = match source {
        Source::Password(user, credentials) => {
            let tgt = log_in(&user, credentials, conf, limit).await?;
            (tgt, user.realm)
        }
        Source::Cache(cache) => {
            let owner = cache.owner.clone();
            let tgt = cache.take(&["krbtgt", &owner.realm]).filter(lives).ok_or_else(|| {
                let who = format!("{}@{}", owner.names.join("/"), owner.realm);
                KerberosError::NoTicket(format!("the cache holds none of {who} that has not ended"))
            })?;
            (tgt, owner.realm)
        }
    };
    for _ in 0..REFERRALS {
        let now = now()?;
        let question = message::tgs_req(&tgt, &realm, &service, now)?;
        let answer = ask(conf, &realm, &question, limit).await?;
        let sealed = match message::reply(&answer) {
            Some(Reply::Ticket(sealed)) => sealed,
            // It is the ticket that is no good here; the password has been left behind.
            Some(Reply::Error(Refusal { code: 24 | 31, .. })) => {
                let words = "the KDC does not take the ticket-granting ticket; run kinit again";
                return Err(KerberosError::NoTicket(words.to_owned()));
            }
            Some(Reply::Error(refusal)) => return Err(refused(refusal, &realm, &tgt.client, host)),
            None => return Err(odd(&realm, "it is no message of Kerberos")),
        };
        let opened = sealed.open(&tgt.key, message::USE_TGS_REP, now.nonce);
        let (ticket, granted) = opened.map_err(|what| odd(&realm, what))?;
        match granted.as_slice() {
            [krbtgt, next] if krbtgt == "krbtgt" => {
                realm.clone_from(next);
                tgt = ticket;
            }
            _ => return Ok(ticket),
        }
    }
    Err(odd(&realm, "the realms refer to each other without end"))
}

/// One question to the KDCs of a realm. The one that answers is asked first the next time, so that a
/// dead one takes its share of the time once.
async fn ask(
    conf: &mut Conf,
    realm: &str,
    question: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, KerberosError> {
    let (answer, at) = kdc::ask(&conf.kdcs(realm), realm, question, limit).await?;
    conf.prefer(realm, at);
    Ok(answer)
}

/// A ticket-granting ticket by user and password. Asked once without a proof, because only the KDC
/// knows the salt; the password is used once.
async fn log_in(
    user: &Principal,
    credentials: &ProxyCredentials,
    conf: &mut Conf,
    limit: Duration,
) -> Result<Ticket, KerberosError> {
    let realm = &user.realm;
    let mut key: Option<(i64, Zeroizing<Vec<u8>>)> = None;
    for _ in 0..2 {
        let now = now()?;
        let stamp = match &key {
            Some((etype, key)) => Some(message::timestamp(*etype, key, now)?),
            None => None,
        };
        let first = stamp.is_none();
        let answer = ask(conf, realm, &message::as_req(user, now, stamp), limit).await?;
        match message::reply(&answer) {
            Some(Reply::Ticket(sealed)) => {
                let (etype, salt) = (sealed.etype, sealed.salt.clone());
                let key = match key {
                    Some((known, key)) if known == etype => key,
                    _ => {
                        let fits = salt.filter(|salt| salt.etype == etype);
                        derive(fits.unwrap_or(Salt { etype, salt: None }), user, credentials)
                            .await?
                    }
                };
                let opened = sealed.open(&key, message::USE_AS_REP, now.nonce);
                return match opened {
                    Ok((ticket, _)) => Ok(ticket),
                    // Without a proof it is here that a wrong password shows.
                    Err(_) if first => Err(KerberosError::Password {
                        realm: realm.clone(),
                        user: user.names.join("/"),
                    }),
                    Err(what) => Err(odd(realm, what)),
                };
            }
            // KDC_ERR_PREAUTH_REQUIRED
            Some(Reply::Error(Refusal { code: 25, salt, .. })) if first => {
                let salt =
                    salt.ok_or_else(|| KerberosError::Encryption(format!("the KDC of {realm}")))?;
                key = Some((salt.etype, derive(salt, user, credentials).await?));
            }
            Some(Reply::Error(refusal)) => return Err(refused(refusal, realm, user, "")),
            None => return Err(odd(realm, "it is no message of Kerberos")),
        }
    }
    Err(odd(realm, "it asks for a proof again and again"))
}

/// The key of a password (RFC 3962 section 4). Thousands of hashes, so not among the sockets.
async fn derive(
    Salt { etype, salt }: Salt,
    user: &Principal,
    credentials: &ProxyCredentials,
) -> Result<Zeroizing<Vec<u8>>, KerberosError> {
    // RFC 4120 section 4: the usual salt is realm and name.
    let salt =
        salt.unwrap_or_else(|| format!("{}{}", user.realm, user.names.concat()).into_bytes());
    let suite = message::suite(etype)?;
    let password = credentials.password.clone();
    let hashed = spawn_blocking(move || {
        suite.cipher().generate_key_from_password(password.expose_secret().as_bytes(), &salt)
    });
    match hashed.await {
        Ok(Ok(key)) => Ok(Zeroizing::new(key)),
        Ok(Err(error)) => Err(KerberosError::Machine(format!("no key: {error}"))),
        Err(_) => Err(KerberosError::Machine("no key: shutting down".to_owned())),
    }
}

/// RFC 4120 section 7.5.9.
fn refused(refusal: Refusal, realm: &str, client: &Principal, host: &str) -> KerberosError {
    let (realm, user) = (realm.to_owned(), client.names.join("/"));
    match refusal.code {
        6 => KerberosError::UserUnknown { realm, user },
        7 => KerberosError::ServiceUnknown { realm, host: host.to_owned() },
        14 => KerberosError::Encryption(format!("the KDC of {realm}")),
        code @ (1 | 18 | 23) => KerberosError::Revoked { realm, user, code },
        24 | 31 => KerberosError::Password { realm, user },
        32 => KerberosError::NoTicket("the KDC says that it has ended".to_owned()),
        37 => {
            let ours = jiff::Timestamp::now().as_second();
            let seconds = refusal.time.map_or(0, |theirs| theirs.abs_diff(ours));
            KerberosError::Skew { realm, seconds }
        }
        code => KerberosError::Kdc { realm, code, text: refusal.text },
    }
}

fn lives(ticket: &Ticket) -> bool {
    ticket.ends > jiff::Timestamp::now().as_second() + MARGIN
}

fn now() -> Result<Now, KerberosError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)
        .map_err(|error| KerberosError::Machine(format!("no random numbers: {error}")))?;
    // Thirty bits: positive for every KDC, and never zero.
    Ok(Now { time: jiff::Timestamp::now(), nonce: u32::from_be_bytes(random) >> 2 | 1 })
}

fn odd(realm: &str, what: &'static str) -> KerberosError {
    KerberosError::Odd { realm: realm.to_owned(), what }
}
