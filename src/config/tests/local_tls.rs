//! `listener.tls`.

use std::{fs, path::Path};

use super::{super::*, check, environment, file};

/// The usual file, with this TLS.
fn with_tls(tls: &str) -> String {
    file().replace("127.0.0.1:1587\"", &format!("127.0.0.1:1587\"\ntls = {tls}"))
}

/// Checked in a folder with `cert.pem` and `cert.key`, which the check does not read.
fn in_folder(tls: &str) -> (Config, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["cert.pem", "cert.key"] {
        let path = folder.path().join(name);
        fs::write(&path, "").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    let text = with_tls(tls);
    let config = parse("proxy.toml", &text, folder.path(), &environment).unwrap();
    (config, folder)
}

#[test]
fn a_listener_may_have_tls_in_three_ways() {
    assert!(check(&file()).unwrap().listeners[0].tls.is_none(), "only where it is written");
    let rows = [
        ("mode = \"starttls\"", TlsMode::StartTls, false),
        ("mode = \"starttls\", required = true", TlsMode::StartTls, true),
        ("mode = \"implicit\"", TlsMode::Implicit, false),
        ("mode = \"auto\", required = false", TlsMode::Auto, false),
    ];
    let mut ran = 0;
    for (tls, mode, required) in rows {
        let tls = format!("{{ {tls}, certificate = \"cert.pem\", key = \"cert.key\" }}");
        let (config, folder) = in_folder(&tls);
        let local = config.listeners[0].tls.clone().unwrap();
        assert_eq!((local.mode, local.required), (mode, required));
        let at = |name: &str| folder.path().join(name);
        let (certificate, key) = (at("cert.pem"), at("cert.key"));
        assert_eq!(local.files, TlsFiles { certificate, key, self_signed: false });
        assert_eq!(config.warnings, Vec::<String>::new());
        ran += 1;
    }
    assert_eq!(ran, 4);
}

#[test]
fn the_key_may_be_in_the_certificates_file() {
    let (config, folder) = in_folder("{ mode = \"auto\", certificate = \"cert.key\" }");
    let files = config.listeners[0].tls.clone().unwrap().files;
    assert_eq!((&files.certificate, &files.key), (&folder.path().join("cert.key"), &files.key));
    assert_eq!(files.certificate, files.key);
}

#[test]
fn a_self_signed_certificate_is_kept_beside_the_file_or_where_it_is_told() {
    let (config, folder) = in_folder("{ mode = \"implicit\", self_signed = true }");
    let files = config.listeners[0].tls.clone().unwrap().files;
    let at = |name: &str| folder.path().join(name);
    let (certificate, key) = (at("mailwicket-tls.pem"), at("mailwicket-tls.key"));
    assert_eq!(files, TlsFiles { certificate, key, self_signed: true });
    assert!(!files.certificate.exists(), "the check makes nothing");

    let named =
        "{ mode = \"auto\", self_signed = true, certificate = \"a.pem\", key = \"/b/b.key\" }";
    let (config, folder) = in_folder(named);
    let files = config.listeners[0].tls.clone().unwrap().files;
    assert_eq!(files.certificate, folder.path().join("a.pem"));
    assert_eq!(files.key, Path::new("/b/b.key"));
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.contains("no folder /b"), "{warning}");
}

#[test]
#[cfg(unix)]
fn a_key_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let tls = "{ mode = \"auto\", certificate = \"cert.pem\", key = \"cert.key\" }";
    let (_, folder) = in_folder(tls);
    for name in ["cert.pem", "cert.key"] {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(folder.path().join(name), mode).unwrap();
    }
    let config = parse("proxy.toml", &with_tls(tls), folder.path(), &environment);
    let warnings = config.unwrap().warnings;
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("listener.tls.key") && warning.contains("chmod 600"), "{warning}");
}

#[test]
fn what_is_wrong_with_tls_is_told_with_what_to_write() {
    let rows: &[(&str, &[&str])] = &[
        ("{ self_signed = true }", &[":10: listener.tls.mode is missing", "\"starttls\""]),
        ("{ mode = \"tls\", self_signed = true }", &["listener.tls.mode: \"tls\" is none"]),
        ("{ mode = \"auto\" }", &["listener.tls.certificate is missing", "self_signed = true"]),
        ("{ mode = \"auto\", self_signed = false }", &["listener.tls.certificate is missing"]),
        (
            "{ mode = \"auto\", certificate = \"gone.pem\" }",
            &["listener.tls.certificate: cannot read /nowhere/gone.pem", "mend"],
        ),
        (
            "{ mode = \"auto\", certificate = \"/dev/null\", key = \"gone.key\" }",
            &["listener.tls.key: cannot read /nowhere/gone.key", "mend"],
        ),
        (
            "{ mode = \"auto\", self_signed = true, certificate = \"a\", key = \"a\" }",
            &["must be two files"],
        ),
        ("{ mode = \"auto\", cert = \"a\" }", &["cert", "certificate"]),
        ("true", &["listener", "mode = \"starttls\""]),
    ];
    let mut ran = 0;
    for (tls, words) in rows {
        let error = check(&with_tls(tls)).expect_err(tls).to_string();
        for word in *words {
            assert!(error.contains(word), "{tls}: no {word:?} in {error}");
        }
        ran += 1;
    }
    assert_eq!(ran, 9);
}
