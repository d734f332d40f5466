//! The messages of Kerberos (RFC 4120) that a client of one service needs: written, and read.
//!
//! Encryption is that of `picky-krb` (RFC 3961, RFC 3962): AES with SHA-1, which every KDC has that
//! is not set to something older. Pure but for the confounders. Must never know sockets, files, or
//! passwords: keys come in.

use picky_krb::crypto::CipherSuite;
use zeroize::Zeroizing;

use super::{KerberosError, Principal, Ticket, der};

/// Types of messages, which are their application tags too (section 5.10).
const AS_REQ: u8 = 10;
const AS_REP: u8 = 11;
const TGS_REQ: u8 = 12;
const TGS_REP: u8 = 13;
const AP_REQ: u8 = 14;
const KRB_ERROR: u8 = 30;
/// Application tags of what is inside.
const AUTHENTICATOR: u8 = 2;
const ENC_AS_REP: u8 = 25;
const ENC_TGS_REP: u8 = 26;

/// Pre-authentication data (section 7.5.2).
const PA_TGS_REQ: i64 = 1;
const PA_ENC_TIMESTAMP: i64 = 2;
const PA_ETYPE_INFO2: i64 = 19;

/// What a key is used for (section 7.5.1).
pub(super) const USE_TIMESTAMP: i32 = 1;
pub(super) const USE_AS_REP: i32 = 3;
const USE_TGS_CHECKSUM: i32 = 6;
const USE_TGS_AUTHENTICATOR: i32 = 7;
pub(super) const USE_TGS_REP: i32 = 8;
const USE_AP_AUTHENTICATOR: i32 = 11;

/// `renewable-ok` and `canonicalize` (section 5.4.1, RFC 6806).
const AS_OPTIONS: u32 = 0x0000_0010;
const TGS_OPTIONS: u32 = 0x0001_0000;
/// As long as the KDC allows; Windows asks for this day too.
const TILL: &str = "20370913024805Z";
/// AES with 256 and with 128 bits (RFC 3962), the stronger first.
const ETYPES: [i64; 2] = [18, 17];
/// The checksum of GSS-API that says which of its services are wanted (RFC 4121 section 4.1.1).
const GSS_CHECKSUM: i64 = 0x8003;

/// What a key is made of, beside the password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Salt {
    pub(super) etype: i64,
    /// The KDC's, or none for the usual one.
    pub(super) salt: Option<Vec<u8>>,
}

/// A KDC's answer.
pub(super) enum Reply {
    /// Its encrypted part still is.
    Ticket(Sealed),
    Error(Refusal),
}

/// KRB-ERROR (section 5.9.1).
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) text: String,
    /// The KDC's time, in seconds since 1970.
    pub(super) time: Option<i64>,
    /// The key it wants, out of those that we have.
    pub(super) salt: Option<Salt>,
}

/// KDC-REP (section 5.4.2).
pub(super) struct Sealed {
    client: Principal,
    ticket: Vec<u8>,
    pub(super) salt: Option<Salt>,
    pub(super) etype: i64,
    cipher: Vec<u8>,
}

/// A moment, which no two messages may share.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) time: jiff::Timestamp,
    /// Random, positive.
    pub(super) nonce: u32,
}

/// AS-REQ: for a ticket-granting ticket. `stamp` is the pre-authentication of [`timestamp`].
pub(super) fn as_req(client: &Principal, now: Now, stamp: Option<Vec<u8>>) -> Vec<u8> {
    let padata = stamp.map(|stamp| pa_data(PA_ENC_TIMESTAMP, &stamp));
    let service = name(2, &["krbtgt", &client.realm]);
    let who = name(client.kind, &client.names);
    let body = req_body(AS_OPTIONS, Some(who), &client.realm, &service, now);
    kdc_req(AS_REQ, padata, &body)
}

/// PA-ENC-TIMESTAMP (section 5.2.7.2).
pub(super) fn timestamp(etype: i64, key: &[u8], now: Now) -> Result<Vec<u8>, KerberosError> {
    let (seconds, micros) = parts(now.time);
    let stamp =
        der::seq(&[der::context(0, &der::time(seconds)), der::context(1, &der::int(micros))]);
    sealed(etype, key, USE_TIMESTAMP, &stamp)
}

/// TGS-REQ: for a ticket for `service`, by a ticket for the KDC of `realm`.
pub(super) fn tgs_req(
    tgt: &Ticket,
    realm: &str,
    service: &[&str],
    now: Now,
) -> Result<Vec<u8>, KerberosError> {
    let body = req_body(TGS_OPTIONS, None, realm, &name(2, service), now);
    let suite = suite(tgt.etype)?;
    let hasher = suite.cipher().checksum_type();
    let sum = hasher.hasher().checksum(&tgt.key, USE_TGS_CHECKSUM, &body).map_err(broken)?;
    // hmac-sha1-96-aes128 and -aes256 are 15 and 16 (RFC 3962 section 7).
    let checksum = (tgt.etype - 2, sum);
    let ap_req = signed(tgt, checksum, USE_TGS_AUTHENTICATOR, now, None)?;
    Ok(kdc_req(TGS_REQ, Some(pa_data(PA_TGS_REQ, &ap_req)), &body))
}

/// AP-REQ to the service that `ticket` is for, as GSS-API wants it: without channel bindings and
/// without a proof of the service's.
pub(super) fn ap_req(ticket: &Ticket, now: Now) -> Result<Vec<u8>, KerberosError> {
    let wanted = [&16_u32.to_le_bytes()[..], &[0; 16], &0_u32.to_le_bytes()].concat();
    signed(ticket, (GSS_CHECKSUM, wanted), USE_AP_AUTHENTICATOR, now, Some(now.nonce))
}

/// Reads a KDC's answer to AS-REQ or TGS-REQ.
pub(super) fn reply(octets: &[u8]) -> Option<Reply> {
    if let Some(error) = der::message(octets, KRB_ERROR) {
        let data = der::field(error, 12).and_then(|data| der::open(data, 0x04));
        return Some(Reply::Error(Refusal {
            code: der::number(error, 6)?,
            text: printable(&der::text(error, 11).unwrap_or_default()),
            time: der::seconds(error, 4),
            salt: data.and_then(|data| salt(der::open(data, 0x30)?)),
        }));
    }
    let rep = der::message(octets, AS_REP).or_else(|| der::message(octets, TGS_REP))?;
    let (etype, cipher) = encrypted(der::field(rep, 6)?)?;
    let padata = der::field(rep, 2).and_then(|list| der::open(list, 0x30));
    Some(Reply::Ticket(Sealed {
        client: principal(der::text(rep, 3)?, der::field(rep, 4)?)?,
        ticket: der::field(rep, 5)?.to_vec(),
        salt: padata.and_then(salt),
        etype,
        cipher,
    }))
}

impl Sealed {
    /// Decrypts it. Gives the ticket and the service that it is for: another KDC, where that one
    /// knows the way.
    ///
    /// # Errors
    /// [`KerberosError::Odd`] without a realm where the key does not fit or the answer is not to this
    /// question.
    pub(super) fn open(
        self,
        key: &[u8],
        usage: i32,
        nonce: u32,
    ) -> Result<(Ticket, Vec<String>), &'static str> {
        let wrong_key = "it does not open with our key";
        let suite = suite(self.etype).map_err(|_| "an encryption that was not asked for")?;
        // What picky-krb would read beyond.
        if self.cipher.len() < 16 + 12 + 1 || key.len() != suite.cipher().key_size() {
            return Err(wrong_key);
        }
        let plain = Zeroizing::new(
            suite.cipher().decrypt(key, usage, &self.cipher).map_err(|_| wrong_key)?,
        );
        let part = der::message(&plain, ENC_AS_REP).or_else(|| der::message(&plain, ENC_TGS_REP));
        let read = part.and_then(|part| {
            let session = der::open(der::field(part, 0)?, 0x30)?;
            let server = principal(der::text(part, 9)?, der::field(part, 10)?)?;
            let ticket = Ticket {
                client: self.client,
                der: self.ticket,
                etype: der::number(session, 0)?,
                key: Zeroizing::new(der::open(der::field(session, 1)?, 0x04)?.to_vec()),
                ends: der::seconds(part, 7)?,
            };
            Some((der::number(part, 2)?, ticket, server.names))
        });
        match read {
            None => Err("its encrypted part is broken"),
            Some((theirs, ..)) if theirs != i64::from(nonce) => Err("it answers another question"),
            Some((_, ticket, service)) => Ok((ticket, service)),
        }
    }
}

/// The cipher of an encryption type, where we have it.
pub(super) fn suite(etype: i64) -> Result<CipherSuite, KerberosError> {
    let known =
        ETYPES.contains(&etype).then(|| CipherSuite::try_from(usize::try_from(etype).ok()?).ok());
    known.flatten().ok_or_else(|| KerberosError::Encryption(format!("encryption type {etype}")))
}

/// AP-REQ (section 5.5.1) with its authenticator.
fn signed(
    ticket: &Ticket,
    (kind, checksum): (i64, Vec<u8>),
    usage: i32,
    now: Now,
    sequence: Option<u32>,
) -> Result<Vec<u8>, KerberosError> {
    let (seconds, micros) = parts(now.time);
    let client = &ticket.client;
    let mut fields = vec![
        der::context(0, &der::int(5)),
        der::context(1, &der::string(&client.realm)),
        der::context(2, &name(client.kind, &client.names)),
        der::context(
            3,
            &der::seq(&[
                der::context(0, &der::int(kind)),
                der::context(1, &der::octets(&checksum)),
            ]),
        ),
        der::context(4, &der::int(micros)),
        der::context(5, &der::time(seconds)),
    ];
    fields.extend(sequence.map(|number| der::context(7, &der::int(number.into()))));
    let authenticator = der::application(AUTHENTICATOR, &der::seq(&fields));
    Ok(der::application(
        AP_REQ,
        &der::seq(&[
            der::context(0, &der::int(5)),
            der::context(1, &der::int(AP_REQ.into())),
            der::context(2, &der::flags(0)),
            der::context(3, &ticket.der),
            der::context(4, &sealed(ticket.etype, &ticket.key, usage, &authenticator)?),
        ]),
    ))
}

fn kdc_req(kind: u8, padata: Option<Vec<u8>>, body: &[u8]) -> Vec<u8> {
    let mut fields = vec![der::context(1, &der::int(5)), der::context(2, &der::int(kind.into()))];
    fields.extend(padata.map(|one| der::context(3, &der::seq(&[one]))));
    fields.push(der::context(4, body));
    der::application(kind, &der::seq(&fields))
}

fn req_body(
    options: u32,
    client: Option<Vec<u8>>,
    realm: &str,
    service: &[u8],
    now: Now,
) -> Vec<u8> {
    let mut fields = vec![der::context(0, &der::flags(options))];
    fields.extend(client.map(|client| der::context(1, &client)));
    fields.extend([
        der::context(2, &der::string(realm)),
        der::context(3, service),
        der::context(5, &der::tlv(0x18, TILL.as_bytes())),
        der::context(7, &der::int(now.nonce.into())),
        der::context(8, &der::seq(&ETYPES.map(der::int))),
    ]);
    der::seq(&fields)
}

/// PA-DATA
fn pa_data(kind: i64, value: &[u8]) -> Vec<u8> {
    der::seq(&[der::context(1, &der::int(kind)), der::context(2, &der::octets(value))])
}

/// `PrincipalName` (section 5.2.2)
fn name(kind: i64, names: &[impl AsRef<str>]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|name| der::string(name.as_ref())).collect();
    der::seq(&[der::context(0, &der::int(kind)), der::context(1, &der::seq(&names))])
}

fn principal(realm: String, name: &[u8]) -> Option<Principal> {
    let name = der::open(name, 0x30)?;
    let list = der::open(der::field(name, 1)?, 0x30)?;
    let text = |one| Some(String::from_utf8_lossy(der::open(one, 0x1b)?).into_owned());
    Some(Principal {
        kind: der::number(name, 0)?,
        realm,
        names: der::each(list).map(text).collect::<Option<_>>()?,
    })
}

/// `EncryptedData` (section 5.2.9)
fn sealed(etype: i64, key: &[u8], usage: i32, plain: &[u8]) -> Result<Vec<u8>, KerberosError> {
    let cipher = suite(etype)?.cipher();
    if key.len() != cipher.key_size() {
        return Err(KerberosError::Machine("a key of the wrong length".to_owned()));
    }
    let octets = cipher.encrypt(key, usage, plain).map_err(broken)?;
    Ok(der::seq(&[der::context(0, &der::int(etype)), der::context(2, &der::octets(&octets))]))
}

fn encrypted(data: &[u8]) -> Option<(i64, Vec<u8>)> {
    let data = der::open(data, 0x30)?;
    Some((der::number(data, 0)?, der::open(der::field(data, 2)?, 0x04)?.to_vec()))
}

/// The first of ETYPE-INFO2 (section 5.2.7.5) that we have, out of a list of PA-DATA. One that
/// asks for another count of rounds than the usual (RFC 3962 section 4) is none that we have.
fn salt(padata: &[u8]) -> Option<Salt> {
    let of_kind = |one| {
        let one = der::open(one, 0x30)?;
        (der::number(one, 1)? == PA_ETYPE_INFO2).then(|| der::open(der::field(one, 2)?, 0x04))?
    };
    let list = der::open(der::each(padata).find_map(of_kind)?, 0x30)?;
    der::each(list).find_map(|one| {
        let entry = der::open(one, 0x30)?;
        let etype = der::number(entry, 0).filter(|etype| ETYPES.contains(etype))?;
        let rounds = der::field(entry, 2).and_then(|rounds| der::open(rounds, 0x04));
        if rounds.is_some_and(|rounds| rounds != [0, 0, 0x10, 0]) {
            return None;
        }
        let salt = der::field(entry, 1).and_then(der::split).map(|(_, salt, _)| salt.to_vec());
        Some(Salt { etype, salt })
    })
}

fn parts(time: jiff::Timestamp) -> (jiff::Timestamp, i64) {
    (time, i64::from(time.subsec_microsecond()))
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

fn broken(error: impl std::fmt::Display) -> KerberosError {
    KerberosError::Machine(format!("no encryption: {error}"))
}
