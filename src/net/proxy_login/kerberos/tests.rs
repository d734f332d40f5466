//! A client of Kerberos against a KDC that is played here, on the cipher of `picky-krb`.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use picky_krb::crypto::CipherSuite;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::task::TaskTracker;

use super::{
    message::{USE_AS_REP, USE_TGS_REP, USE_TIMESTAMP},
    *,
};
use crate::config::{ProxyAuth, ProxyScheme};

const SALT: &[u8] = b"EXAMPLE.TESTsalt";
const SERVICE_KEY: [u8; 32] = [9; 32];

/// What a KDC does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    Good,
    /// It asks for no proof in advance.
    Trusting,
    /// It answers the first, or the second, or the third question with this error.
    Fails(usize, i64),
    /// It refers to another realm, which is itself.
    Refers,
    /// It refers without end.
    Circles,
    /// Its answers are to another question.
    WrongNonce,
    Garbage,
}

struct Kdc {
    habit: Habit,
    address: SocketAddr,
    /// The types of the questions.
    asked: Mutex<Vec<u8>>,
}

impl Kdc {
    async fn start(habit: Habit) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kdc = Arc::new(Self { habit, address, asked: Mutex::default() });
        let played = Arc::clone(&kdc);
        TaskTracker::new().spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut question = vec![0; tcp.read_u32().await.unwrap() as usize];
                tcp.read_exact(&mut question).await.unwrap();
                let answer = played.answer(&question);
                let length = u32::try_from(answer.len()).unwrap();
                tcp.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await.unwrap();
            }
        });
        kdc
    }

    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let (tag, ..) = der::split(question).unwrap();
        let kind = tag & 0x1f;
        let count = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(kind);
            asked.len()
        };
        let question = der::message(question, kind).unwrap();
        let body = der::open(der::field(question, 4).unwrap(), 0x30).unwrap();
        let nonce = der::number(body, 7).unwrap() + i64::from(self.habit == Habit::WrongNonce);
        let padata = der::field(question, 3).map(|list| der::open(list, 0x30).unwrap());
        let data = padata.map(|list| {
            let one = der::open(list, 0x30).unwrap();
            (
                der::number(one, 1).unwrap(),
                der::open(der::field(one, 2).unwrap(), 0x04).unwrap().to_vec(),
            )
        });
        if self.habit == Habit::Garbage {
            return b"garbage".to_vec();
        }
        if let Habit::Fails(at, code) = self.habit
            && at == count
        {
            return error(code, &[]);
        }
        let key = password_key("right");
        match (kind, data) {
            (10, None) if self.habit != Habit::Trusting => {
                let entry = der::seq(&[
                    der::context(0, &der::int(18)),
                    der::context(1, &der::tlv(0x1b, SALT)),
                ]);
                let info = der::seq(&[
                    der::context(1, &der::int(19)),
                    der::context(2, &der::octets(&der::seq(&[entry]))),
                ]);
                error(25, &der::seq(&[info]))
            }
            (10, data) => {
                if let Some((kind, stamp)) = data {
                    assert_eq!(kind, 2);
                    if decrypted(&stamp, &key, USE_TIMESTAMP).is_none() {
                        return error(24, &[]);
                    }
                }
                reply(11, &key, USE_AS_REP, nonce, [1; 32], &["krbtgt", "EXAMPLE.TEST"])
            }
            (12, Some((1, ap_req))) => {
                let ap_req = der::message(&ap_req, 14).unwrap();
                let authenticator = decrypted(der::field(ap_req, 4).unwrap(), &[1; 32], 7).unwrap();
                let authenticator = der::message(&authenticator, 2).unwrap();
                let checksum = der::open(der::field(authenticator, 3).unwrap(), 0x30).unwrap();
                let sum = der::open(der::field(checksum, 1).unwrap(), 0x04).unwrap();
                let hasher = CipherSuite::Aes256CtsHmacSha196.cipher().checksum_type().hasher();
                let body = der::field(question, 4).unwrap();
                assert_eq!(
                    (der::number(checksum, 0), sum),
                    (Some(16), &hasher.checksum(&[1; 32], 6, body).unwrap()[..])
                );
                let refers =
                    self.habit == Habit::Circles || (self.habit == Habit::Refers && count == 3);
                let service =
                    if refers { ["krbtgt", "OTHER.TEST"] } else { ["HTTP", "proxy.test"] };
                reply(13, &[1; 32], USE_TGS_REP, nonce, [1; 32], &service)
            }
            other => panic!("{other:?}"),
        }
    }

    fn kerberos(&self, folder: &tempfile::TempDir) -> Kerberos {
        let path = folder.path().join("krb5.conf");
        let realm = |name| format!("{name} = {{\n kdc = {}\n}}\n", self.address);
        let text = format!(
            "[libdefaults]\ndefault_realm = EXAMPLE.TEST\n[realms]\n{}{}",
            realm("EXAMPLE.TEST"),
            realm("OTHER.TEST")
        );
        fs::write(&path, text).unwrap();
        Kerberos::new(Places { configs: vec![path], cache: None })
    }
}

fn password_key(password: &str) -> Vec<u8> {
    let cipher = CipherSuite::Aes256CtsHmacSha196.cipher();
    cipher.generate_key_from_password(password.as_bytes(), SALT).unwrap()
}

fn encrypted(key: &[u8], usage: i32, plain: &[u8]) -> Vec<u8> {
    let octets = CipherSuite::Aes256CtsHmacSha196.cipher().encrypt(key, usage, plain).unwrap();
    der::seq(&[der::context(0, &der::int(18)), der::context(2, &der::octets(&octets))])
}

fn decrypted(data: &[u8], key: &[u8], usage: i32) -> Option<Vec<u8>> {
    let data = der::open(data, 0x30)?;
    let octets = der::open(der::field(data, 2)?, 0x04)?;
    CipherSuite::Aes256CtsHmacSha196.cipher().decrypt(key, usage, octets).ok()
}

fn name(names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|name| der::string(name)).collect();
    der::seq(&[der::context(0, &der::int(1)), der::context(1, &der::seq(&names))])
}

fn reply(
    kind: u8,
    key: &[u8],
    usage: i32,
    nonce: i64,
    session: [u8; 32],
    service: &[&str],
) -> Vec<u8> {
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let part = der::application(
        if kind == 11 { 25 } else { 26 },
        &der::seq(&[
            der::context(
                0,
                &der::seq(&[
                    der::context(0, &der::int(18)),
                    der::context(1, &der::octets(&session)),
                ]),
            ),
            der::context(2, &der::int(nonce)),
            der::context(7, &der::time(ends)),
            der::context(9, &der::string("EXAMPLE.TEST")),
            der::context(10, &name(service)),
        ]),
    );
    let salt = der::seq(&[der::context(0, &der::int(18)), der::context(1, &der::tlv(0x1b, SALT))]);
    let info = der::seq(&[
        der::context(1, &der::int(19)),
        der::context(2, &der::octets(&der::seq(&[salt]))),
    ]);
    let ticket = der::application(1, &encrypted(&SERVICE_KEY, 2, b"ticket"));
    der::application(
        kind,
        &der::seq(&[
            der::context(0, &der::int(5)),
            der::context(1, &der::int(kind.into())),
            der::context(2, &der::seq(&[info])),
            der::context(3, &der::string("EXAMPLE.TEST")),
            der::context(4, &name(&["svc"])),
            der::context(5, &ticket),
            der::context(6, &encrypted(key, usage, &part)),
        ]),
    )
}

/// An error that says the client's microseconds too, as MIT's KDC does.
fn error(code: i64, data: &[u8]) -> Vec<u8> {
    let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let mut fields = vec![
        der::context(0, &der::int(5)),
        der::context(1, &der::int(30)),
        der::context(3, &der::int(5)),
        der::context(4, &der::time(time)),
        der::context(6, &der::int(code)),
        der::context(11, &der::string("WORDS\r\n")),
    ];
    if !data.is_empty() {
        fields.push(der::context(12, &der::octets(data)));
    }
    der::application(30, &der::seq(&fields))
}

fn proxy(username: &str, password: &str) -> Proxy {
    let credentials = ProxyCredentials { username: username.to_owned(), password: password.into() };
    Proxy {
        scheme: ProxyScheme::Http,
        host: "Proxy.TEST.".to_owned(),
        port: 8080,
        credentials: Some(credentials),
        auth: ProxyAuth::Negotiate,
    }
}

#[tokio::test]
async fn a_ticket_for_the_proxy_is_had_and_kept() {
    // The KDC's habit, the user, and the types of the questions: AS-REQ is 10, TGS-REQ 12.
    let rows: [(Habit, &str, &[u8]); 4] = [
        (Habit::Good, "svc", &[10, 10, 12]),
        (Habit::Good, "svc@example.test", &[10, 10, 12]),
        (Habit::Trusting, "EXAMPLE.TEST\\svc", &[10, 12]),
        (Habit::Refers, "CORP\\svc", &[10, 10, 12, 12]),
    ];
    let mut ran = 0;
    for (habit, user, asked) in rows {
        let (kdc, folder) = (Kdc::start(habit).await, tempfile::tempdir().unwrap());
        let (kerberos, proxy) = (kdc.kerberos(&folder), proxy(user, "right"));
        for _ in 0..2 {
            let message = kerberos
                .ap_req(&proxy, LIMIT)
                .await
                .unwrap_or_else(|error| panic!("{habit:?}: {error}"));
            let ap_req = der::message(&message, 14).unwrap();
            let ticket = der::open(der::field(ap_req, 3).unwrap(), 0x61).unwrap();
            assert_eq!(decrypted(ticket, &SERVICE_KEY, 2).unwrap(), b"ticket");
            let authenticator = decrypted(der::field(ap_req, 4).unwrap(), &[1; 32], 11).unwrap();
            let authenticator = der::message(&authenticator, 2).unwrap();
            assert_eq!(der::text(authenticator, 1).unwrap(), "EXAMPLE.TEST");
            let checksum = der::open(der::field(authenticator, 3).unwrap(), 0x30).unwrap();
            assert_eq!(der::number(checksum, 0), Some(0x8003));
        }
        assert_eq!(*kdc.asked.lock().unwrap(), asked, "{habit:?}, and once for both");
        kerberos.forget(&proxy);
        kerberos.ap_req(&proxy, LIMIT).await.unwrap();
        assert!(kdc.asked.lock().unwrap().len() > asked.len(), "forgotten");
        ran += 1;
    }
    assert_eq!(ran, 4);
}

#[tokio::test]
async fn every_failure_is_told_apart() {
    use Habit::{Circles, Fails, Garbage, Good, WrongNonce};
    let rows: [(Habit, &str, &str, &str, bool); 18] = [
        (Good, "svc", "wrong", "does not accept the password of svc", true),
        (Habit::Trusting, "svc", "wrong", "does not accept the password of svc", true),
        (Fails(1, 18), "svc", "right", "disabled, locked or expired (error 18)", true),
        (Fails(2, 23), "svc", "right", "disabled, locked or expired (error 23)", true),
        (Fails(1, 6), "svc", "right", "does not know svc", false),
        (Fails(3, 7), "svc", "right", "knows no service HTTP/proxy.test", false),
        (Fails(1, 14), "svc", "right", "no common encryption", false),
        (Fails(2, 37), "svc", "right", "differ by 36", false),
        (Fails(3, 32), "svc", "right", "it has ended", false),
        (Fails(3, 24), "svc", "right", "does not take the ticket-granting ticket", false),
        (Fails(3, 31), "svc", "right", "run kinit again", false),
        (Fails(3, 60), "svc", "right", "refused with error 60 (WORDS)", false),
        (Fails(2, 25), "svc", "right", "refused with error 25", false),
        (WrongNonce, "svc", "right", "it answers another question", false),
        (Garbage, "svc", "right", "it is no message of Kerberos", false),
        (Circles, "svc", "right", "refer to each other without end", false),
        (
            Good,
            "svc@NO SUCH REALM",
            "right",
            "no KDC of NO SUCH REALM answers: no such realm:88: ",
            false,
        ),
        (Good, "CORP/admin@EXAMPLE.TEST", "wrong", "the password of CORP/admin", true),
    ];
    let mut ran = 0;
    for (habit, user, password, said, refusal) in rows {
        let (kdc, folder) = (Kdc::start(habit).await, tempfile::tempdir().unwrap());
        let outcome = kdc.kerberos(&folder).ap_req(&proxy(user, password), LIMIT).await;
        let Err(error) = outcome else { panic!("{habit:?}") };
        let text = error.to_string();
        assert!(text.contains(said), "{habit:?}: {text}");
        assert_eq!(error.is_refusal(), refusal, "{text}");
        assert!(!error.remedy().is_empty() && !text.contains(['\r', '\n']));
        ran += 1;
    }
    assert_eq!(ran, 18);
    let nowhere = Kerberos::new(Places::default());
    let Err(error) = nowhere.ap_req(&proxy("CORP\\svc", "right"), LIMIT).await else { panic!() };
    assert!(error.to_string().contains("realm of CORP\\svc is not known"), "{error}");
}

/// The queue of a socket that nobody empties takes connections and answers nothing.
#[tokio::test]
async fn a_silent_kdc_costs_its_share_once_and_the_next_one_has_the_rest() {
    let holes = [TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0")];
    let mut silent = Vec::new();
    for hole in holes {
        silent.push(hole.await.unwrap());
    }
    let hole = silent[0].local_addr().unwrap();
    let (kdc, folder) = (Kdc::start(Habit::Good).await, tempfile::tempdir().unwrap());
    let path = folder.path().join("krb5.conf");
    let kerberos = |kdcs: &[SocketAddr]| {
        let kdcs: Vec<_> = kdcs.iter().map(|kdc| format!(" kdc = {kdc}\n")).collect();
        let kdcs = kdcs.concat();
        let realm = format!("[realms]\nEXAMPLE.TEST = {{\n{kdcs}}}\n");
        fs::write(&path, format!("[libdefaults]\ndefault_realm = EXAMPLE.TEST\n{realm}")).unwrap();
        Kerberos::new(Places { configs: vec![path.clone()], cache: None })
    };
    let proxy = proxy("svc", "right");
    let limit = Duration::from_secs(2);
    // Three questions: with its share for each, the silent one would leave nothing.
    assert!(kerberos(&[hole, kdc.address]).ap_req(&proxy, limit).await.is_ok());
    let nobody = kerberos(&[hole]);
    let ask = async |limit| nobody.ap_req(&proxy, limit).await.unwrap_err().to_string();
    let told = ask(Duration::from_millis(50)).await;
    assert!(told.contains("no KDC of EXAMPLE.TEST answers"), "{told}");
    let before = Instant::now();
    let told = ask(LIMIT).await;
    assert!(told.contains("s ago)") && before.elapsed() < LIMIT / 2, "{told}");
}
