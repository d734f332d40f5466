//! Files, good and bad, and handshakes that fail.

use std::{fs, path::Path};

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::TlsMode;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(name)
}

fn files(certificate: &Path, key: &Path) -> TlsFiles {
    let (certificate, key) = (certificate.to_owned(), key.to_owned());
    TlsFiles { certificate, key, self_signed: false }
}

/// A certificate with its key in a folder of its own.
struct Own {
    folder: tempfile::TempDir,
    files: TlsFiles,
}

impl Own {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder.path().join("cert.pem"), &folder.path().join("cert.key"));
        let own = Self { folder, files };
        own.write_another();
        own
    }

    /// Another certificate in place of the one that is there; its PEM.
    fn write_another(&self) -> String {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        // Moved into place, as a careful operator does it.
        let put = |path: &Path, text: String| {
            let beside = self.folder.path().join("new");
            fs::write(&beside, text).unwrap();
            fs::rename(beside, path).unwrap();
        };
        put(&self.files.certificate, made.cert.pem());
        put(&self.files.key, made.signing_key.serialize_pem());
        made.cert.pem()
    }
}

#[test]
fn every_form_of_key_and_a_chain_can_be_read() {
    let rows = [
        ("app.pem", "app.key"),       // RSA, PKCS#8
        ("app.pem", "app.pkcs1.key"), // RSA, PKCS#1
        ("ec.pem", "ec.key"),         // P-256, PKCS#8
        ("ec.pem", "ec.sec1.key"),    // P-256, SEC1
    ];
    let mut ran = 0;
    for (certificate, key) in rows {
        let loaded = files::load(&files(&fixture(certificate), &fixture(key)));
        assert!(loaded.is_ok(), "{certificate} {key}: {loaded:?}");
        ran += 1;
    }
    assert_eq!(ran, 4);
    let folder = tempfile::tempdir().unwrap();
    let both = folder.path().join("both.pem");
    let parts = ["ec.key", "ec.pem", "app.pem"];
    let text = parts.map(|name| fs::read_to_string(fixture(name)).unwrap()).concat();
    fs::write(&both, text).unwrap();
    assert!(files::load(&files(&both, &both)).is_ok(), "the key and a chain in one file");
}

#[test]
fn what_is_wrong_with_the_files_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let broken =
        written("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let noise =
        written("noise.key", "-----BEGIN PRIVATE KEY-----\nSECRET!\n-----END PRIVATE KEY-----\n");
    let long = written("long.pem", &"x".repeat(1024 * 1024 + 1));
    let (pem, key) = (fixture("app.pem"), fixture("app.key"));
    let gone = folder.path().join("gone");
    let rows: &[(&Path, &Path, &Path, &str, &str)] = &[
        (&gone, &key, &gone, "cannot read it", "mend the path"),
        (&pem, &gone, &gone, "cannot read it", "mend the path"),
        (&pem, folder.path(), folder.path(), "cannot read it", "mend the path"),
        (&long, &key, &long, "longer than 1 MiB", "mend the path"),
        (&key, &key, &key, "no certificate in it", "BEGIN CERTIFICATE"),
        (&fixture("app.der"), &key, &fixture("app.der"), "no certificate in it", "convert"),
        (&broken, &key, &broken, "is broken", "write it anew"),
        (&fixture("chain.pem"), &key, &fixture("chain.pem"), "cannot be used", "of version 3"),
        (&pem, &pem, &pem, "no private key in it", "BEGIN PRIVATE KEY"),
        (&pem, &noise, &noise, "not PEM", "write it anew"),
        (&pem, &fixture("app.aes256.key"), &fixture("app.aes256.key"), "encrypted", "openssl pkey"),
        (
            &pem,
            &fixture("app.proc-type.key"),
            &fixture("app.proc-type.key"),
            "encrypted",
            "openssl pkey",
        ),
        (&pem, &fixture("other.key"), &pem, "not the one of the key", "made together"),
        (&pem, &fixture("ec.key"), &pem, "not the one of the key", "made together"),
        (
            &fixture("short.pem"),
            &fixture("short.key"),
            &fixture("short.key"),
            "cannot be used",
            "2048",
        ),
    ];
    let mut ran = 0;
    for (certificate, key, at_fault, what, remedy) in rows {
        let error = files::load(&files(certificate, key)).expect_err(what);
        assert_eq!(error.path, *at_fault, "{error}");
        assert!(error.what.contains(what) && error.remedy.contains(remedy), "{what}: {error}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
        ran += 1;
    }
    assert_eq!(ran, 15);
}

fn client(roots: RootCertStore) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// What becomes of a handshake with a client that sends these octets and closes.
async fn refused(own: &Own, octets: &[u8]) -> HandshakeError {
    let terminator = Arc::new(Terminator::open(&own.files).unwrap());
    let (near, mut far) = duplex(4096);
    far.write_all(octets).await.unwrap();
    far.shutdown().await.unwrap();
    terminator.accept(BytesMut::new(), Box::new(near)).await.err().unwrap()
}

/// A `ClientHello` of this version that offers AES-CBC with RSA, as old devices have it.
fn old_hello(version: u8) -> Vec<u8> {
    let mut hello = vec![3, version];
    hello.extend([7; 32]); // random
    hello.push(0); // no session
    hello.extend([0, 4, 0x00, 0x2f, 0x00, 0x35]); // TLS_RSA_WITH_AES_128_CBC_SHA, and 256
    hello.extend([1, 0]); // no compression
    if version >= 3 {
        hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 1]); // signatures: RSA with SHA-256
    }
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn a_handshake_that_fails_says_why_and_what_to_do() {
    let own = Own::new();
    let rows: &[(&[u8], &str, &str)] = &[
        (b"EHLO client.example\r\n", "something else than TLS", "tls.mode"),
        (&old_hello(1), "no TLS later than 1.1", "TLS 1.0 and 1.1 are not spoken here"),
        (&old_hello(2), "no TLS later than 1.1", "a listener without"),
        (&old_hello(3), "no way in common", "RSA key"),
        (&old_hello(3)[..20], "closed the connection", "do not trust the certificate"),
    ];
    let mut ran = 0;
    for (octets, what, remedy) in rows {
        let error = refused(&own, octets).await;
        assert!(error.what.contains(what), "{what}: {error}");
        assert!(error.remedy.contains(remedy), "{what}: {}", error.remedy);
        ran += 1;
    }
    assert_eq!(ran, 5);
}

#[tokio::test]
async fn a_client_that_does_not_know_the_authority_is_told_of() {
    let own = Own::new();
    let terminator = Arc::new(Terminator::open(&own.files).unwrap());
    let (near, far) = duplex(4096);
    let connector = client(RootCertStore::empty());
    let (ours, theirs) = tokio::join!(
        terminator.accept(BytesMut::new(), Box::new(near)),
        connector.connect(ServerName::try_from("localhost").unwrap(), far),
    );
    assert!(theirs.is_err());
    let error = ours.err().unwrap();
    assert!(error.what.contains("does not know the authority"), "{error}");
    assert!(error.remedy.contains("trust the certificate's authority"), "{}", error.remedy);
}

/// Whether a client that trusts this certificate only can talk to us.
async fn serves(terminator: &Arc<Terminator>, pem: &str) -> bool {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let (near, far) = duplex(4096);
    let connector = client(roots);
    let ours = async {
        let Ok(mut io) = Arc::clone(terminator).accept(BytesMut::new(), Box::new(near)).await
        else {
            return false;
        };
        io.write_all(b"hello").await.is_ok() && io.flush().await.is_ok()
    };
    let theirs = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut io = connector.connect(name, far).await.ok()?;
        let mut said = [0; 5];
        io.read_exact(&mut said).await.ok()?;
        Some(said)
    };
    tokio::join!(ours, theirs) == (true, Some(*b"hello"))
}

#[tokio::test]
async fn new_files_count_at_once_and_broken_ones_never() {
    let own = Own::new();
    let first = fs::read_to_string(&own.files.certificate).unwrap();
    let terminator = Arc::new(Terminator::open(&own.files).unwrap());
    assert!(serves(&terminator, &first).await);
    assert!(terminator.refresh().is_none(), "nothing has changed");

    let second = own.write_another();
    assert!(serves(&terminator, &second).await);
    assert!(!serves(&terminator, &first).await);

    fs::write(&own.files.key, "no key").unwrap();
    let refused = terminator.refresh().unwrap().unwrap_err();
    assert!(refused.what.contains("no private key"), "{refused}");
    assert!(terminator.refresh().is_none(), "told once");
    assert!(serves(&terminator, &second).await);
    fs::remove_file(&own.files.certificate).unwrap();
    assert!(terminator.refresh().unwrap().is_err());
    assert!(serves(&terminator, &second).await);

    let third = own.write_another();
    assert!(serves(&terminator, &third).await, "and then mended");
}

fn listener(bind: &str, files: &TlsFiles) -> Arc<Listener> {
    let upstream = crate::config::Upstream {
        host: "mail.example".to_owned(),
        port: 587,
        security: crate::config::Security::StartTls,
    };
    Arc::new(Listener {
        protocol: crate::mail::Protocol::Smtp,
        bind: bind.parse().unwrap(),
        upstream,
        allow: Vec::new(),
        account: None,
        pass_tokens: false,
        tls: Some(LocalTls { mode: TlsMode::Auto, required: false, files: files.clone() }),
    })
}

#[tokio::test]
async fn a_self_signed_certificate_is_made_once_for_all_that_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        self_signed: true,
        ..files(&folder.path().join("own.pem"), &folder.path().join("own.key"))
    };
    assert!(matches!(look_at(&files), Ok(Seen::ToBeMade)));
    assert!(!files.certificate.exists());
    let listeners =
        ["0.0.0.0:1", "192.0.2.7:2", "[2001:db8::7]:3"].map(|bind| listener(bind, &files));
    let terminators = Terminators::open(&listeners).unwrap();
    assert_eq!(terminators.0.len(), 1);
    let pem = fs::read_to_string(&files.certificate).unwrap();
    let terminator = terminators.of(listeners[0].tls.as_ref().unwrap()).unwrap();
    assert!(serves(&terminator, &pem).await);

    let (_, der) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = der.parse_x509().unwrap();
    let years = certificate.validity().time_to_expiration().unwrap().whole_days() / 365;
    assert!((9..=11).contains(&years), "{years}");
    let names = certificate.subject_alternative_name().unwrap().unwrap().value;
    let names = format!("{:?}", names.general_names);
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    for name in ["localhost", &host, "[127, 0, 0, 1]", "[192, 0, 2, 7]", "32, 1, 13, 184"] {
        assert!(names.contains(name), "no {name} in {names}");
    }
    assert!(!names.contains("[0, 0, 0, 0]"), "{names}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    let key = fs::read(&files.key).unwrap();
    assert!(Terminators::open(&listeners).is_ok());
    assert_eq!(fs::read_to_string(&files.certificate).unwrap(), pem, "kept");
    assert_eq!(fs::read(&files.key).unwrap(), key, "kept");
    let Ok(Seen::Usable(ends)) = look_at(&files) else { panic!("it can be used") };
    assert!(!ends.has_ended() && ends.days_left > 3_000);

    fs::remove_file(&files.certificate).unwrap();
    let error = Terminators::open(&listeners).err().unwrap();
    assert!(error.to_string().contains("without its certificate"), "{error}");
    assert_eq!(fs::read(&files.key).unwrap(), key, "nothing is made over it");
}

#[test]
fn a_self_signed_certificate_that_cannot_be_written_is_told_of() {
    let files = TlsFiles {
        self_signed: true,
        ..files(Path::new("/nowhere/own.pem"), Path::new("/nowhere/own.key"))
    };
    let error = Terminators::open(&[listener("127.0.0.1:1", &files)]).err().unwrap();
    assert!(error.what.contains("cannot make it") && error.remedy.contains("folder"), "{error}");
}
