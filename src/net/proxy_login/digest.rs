//! Digest (RFC 7616): the proxy sees a hash of the password, its own nonce and what is asked for.
//!
//! Of several challenges the one with the strongest algorithm that is known here counts. A nonce
//! is used once: the next tunnel asks for a new one, on the same connection. Pure but for
//! [`login`], which makes the client's nonce. Must never know sockets.

use std::fmt::Write;

use md5::Md5;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::challenge::{Challenge, quoted};
use crate::config::ProxyCredentials;

/// A challenge that can be answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Option<Algorithm>,
    /// Whether `qop=auth` is offered; without it the form of RFC 2069 is meant.
    auth: bool,
    userhash: bool,
    /// Whether the answer before this was right but for its nonce.
    pub(super) stale: bool,
}

/// In order of strength. A challenge that names none means MD5.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Algorithm {
    Md5,
    Md5Sess,
    Sha256,
    Sha256Sess,
}

impl Algorithm {
    fn of(name: &str) -> Option<Self> {
        let all = [Self::Md5, Self::Md5Sess, Self::Sha256, Self::Sha256Sess];
        all.into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    fn hash(self, text: &str) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::Md5 | Self::Md5Sess => hex(&Md5::digest(text)),
            Self::Sha256 | Self::Sha256Sess => hex(&Sha256::digest(text)),
        })
    }
}

/// The strongest of the Digest challenges.
///
/// # Errors
/// In words, where there are some but none can be answered.
pub(super) fn strongest(challenges: &[Challenge]) -> Result<Asked, String> {
    let mut odd = "no Digest challenge".to_owned();
    let readable = challenges
        .iter()
        .filter(|one| one.is("Digest"))
        .filter_map(|one| read(one).map_err(|words| odd = words).ok());
    readable.max_by_key(|asked| asked.algorithm).ok_or(odd)
}

fn read(challenge: &Challenge) -> Result<Asked, String> {
    let algorithm = challenge.parameter("algorithm").map(|name| {
        Algorithm::of(name)
            .ok_or_else(|| format!("the algorithm {:.40}", name.escape_debug().to_string()))
    });
    let qop = challenge.parameter("qop");
    let auth =
        qop.is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")));
    if qop.is_some() && !auth {
        return Err("a quality of protection other than auth".to_owned());
    }
    let says = |name: &str| {
        challenge.parameter(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    };
    Ok(Asked {
        realm: challenge.parameter("realm").unwrap_or_default().to_owned(),
        nonce: challenge.parameter("nonce").ok_or("no nonce")?.to_owned(),
        opaque: challenge.parameter("opaque").map(str::to_owned),
        algorithm: algorithm.transpose()?,
        auth,
        userhash: says("userhash"),
        stale: says("stale"),
    })
}

/// The value of `Proxy-Authorization` for CONNECT to `target`.
pub(super) fn login(
    asked: &Asked,
    credentials: &ProxyCredentials,
    target: &str,
) -> Result<Zeroizing<String>, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(answer(asked, credentials, "CONNECT", target, &hex(&random)))
}

/// RFC 7616 section 3.4. `uri` is the request's target as it stands in the request line.
fn answer(
    asked: &Asked,
    credentials: &ProxyCredentials,
    method: &str,
    uri: &str,
    cnonce: &str,
) -> Zeroizing<String> {
    let Asked { realm, nonce, .. } = asked;
    let algorithm = asked.algorithm.unwrap_or(Algorithm::Md5);
    let hash = |text: &str| algorithm.hash(text);
    let user = &credentials.username;
    let secret = Zeroizing::new(format!("{user}:{realm}:{}", credentials.password.expose_secret()));
    let mut a1 = hash(&secret);
    if matches!(algorithm, Algorithm::Md5Sess | Algorithm::Sha256Sess) {
        a1 = hash(&Zeroizing::new(format!("{}:{nonce}:{cnonce}", *a1)));
    }
    let a2 = hash(&format!("{method}:{uri}"));
    let middle = if asked.auth { format!("00000001:{cnonce}:auth:") } else { String::new() };
    let response = hash(&Zeroizing::new(format!("{}:{nonce}:{middle}{}", *a1, *a2)));

    // Section 3.4.4: a name outside ASCII goes in the extended notation of RFC 8187.
    let user = if asked.userhash {
        format!("username={}", quoted(&hash(&format!("{user}:{realm}"))))
    } else if user.is_ascii() {
        format!("username={}", quoted(user))
    } else {
        format!("username*=UTF-8''{}", percent(user))
    };
    let mut text = Zeroizing::new(format!(
        "Digest {user}, realm={}, nonce={}, uri={}, response=\"{}\"",
        quoted(realm),
        quoted(nonce),
        quoted(uri),
        *response
    ));
    let mut add = |more: String| text.push_str(&more);
    if let Some(algorithm) = asked.algorithm {
        add(format!(", algorithm={}", algorithm.name()));
    }
    if let Some(opaque) = &asked.opaque {
        add(format!(", opaque={}", quoted(opaque)));
    }
    if asked.auth {
        add(format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\""));
    } else if matches!(algorithm, Algorithm::Md5Sess | Algorithm::Sha256Sess) {
        add(format!(", cnonce=\"{cnonce}\""));
    }
    if asked.userhash {
        add(", userhash=true".to_owned());
    }
    text
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            all.push(octet.into());
        } else {
            let _ = write!(all, "%{octet:02X}"); // a String takes everything
        }
        all
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut all, octet| {
        let _ = write!(all, "{octet:02x}"); // a String takes everything
        all
    })
}

#[cfg(test)]
mod tests {
    use super::{super::challenge::challenges, *};

    fn asked(text: &str) -> Asked {
        strongest(&challenges(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn user(name: &str, password: &str) -> ProxyCredentials {
        ProxyCredentials { username: name.to_owned(), password: password.into() }
    }

    /// RFC 7616 section 3.9.1, in both algorithms.
    #[test]
    fn the_examples_of_the_rfc_come_out() {
        let rows = [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ];
        for (algorithm, response) in rows {
            let challenge = asked(&format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            ));
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let said = answer(
                &challenge,
                &user("Mufasa", "Circle of Life"),
                "GET",
                "/dir/index.html",
                cnonce,
            );
            assert!(said.contains(&format!("response=\"{response}\"")), "{}", *said);
            let wanted = format!(
                "algorithm={algorithm}, opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\", \
                 qop=auth, nc=00000001, cnonce=\"{cnonce}\""
            );
            assert!(said.ends_with(&wanted), "{}", *said);
        }
    }

    /// RFC 2069's example, as corrected by its erratum 749; it has no qop.
    #[test]
    fn the_form_without_qop_is_that_of_rfc_2069() {
        let challenge = asked(
            "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        );
        let said =
            answer(&challenge, &user("Mufasa", "CircleOfLife"), "GET", "/dir/index.html", "x");
        assert!(said.contains("response=\"1949323746fe6a43ef61f9606e7febea\""), "{}", *said);
        assert!(!said.contains("qop") && !said.contains("cnonce") && !said.contains("algorithm"));
    }

    #[test]
    fn a_session_key_hashes_the_nonces_too() {
        let challenge = asked("Digest realm=r, nonce=n, qop=auth, algorithm=MD5-sess");
        let said = answer(&challenge, &user("u", "p"), "CONNECT", "mail:587", "c");
        let md5 = |text: &str| hex(&Md5::digest(text));
        let a1 = md5(&format!("{}:n:c", md5("u:r:p")));
        let wanted = md5(&format!("{a1}:n:00000001:c:auth:{}", md5("CONNECT:mail:587")));
        assert!(said.contains(&format!("response=\"{wanted}\"")), "{}", *said);
    }

    #[test]
    fn names_are_quoted_hashed_or_extended() {
        let plain = asked("Digest realm=r, nonce=n");
        let said = answer(&plain, &user("DOMAIN\\us\"er", "p"), "CONNECT", "mail:587", "c");
        assert!(
            said.starts_with("Digest username=\"DOMAIN\\\\us\\\"er\", realm=\"r\""),
            "{}",
            *said
        );
        let said = answer(&plain, &user("Jäsøn", "p"), "CONNECT", "mail:587", "c");
        assert!(said.starts_with("Digest username*=UTF-8''J%C3%A4s%C3%B8n, "), "{}", *said);
        let hashed = asked("Digest realm=r, nonce=n, userhash=true, charset=UTF-8");
        let said = answer(&hashed, &user("u", "p"), "CONNECT", "mail:587", "c");
        let name = hex(&Md5::digest("u:r"));
        assert!(said.contains(&format!("username=\"{name}\"")) && said.ends_with("userhash=true"));
    }

    #[test]
    fn the_strongest_that_can_be_answered_counts() {
        let rows = [
            ("Digest realm=a, nonce=n, Digest realm=b, nonce=n, algorithm=SHA-256", Ok("b")),
            ("Digest realm=a, nonce=n, algorithm=SHA-512-256, Digest realm=b, nonce=n", Ok("b")),
            ("Digest realm=a, nonce=n, algorithm=SHA-512-256", Err("SHA-512-256")),
            ("Digest realm=a, nonce=n, qop=\"auth-int\"", Err("quality")),
            ("Digest realm=a", Err("no nonce")),
            ("Basic realm=a", Err("no Digest")),
        ];
        for (text, wanted) in rows {
            match (strongest(&challenges(text)), wanted) {
                (Ok(asked), Ok(realm)) => assert_eq!(asked.realm, realm, "{text}"),
                (Err(said), Err(words)) => assert!(said.contains(words), "{said}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
        assert!(asked("Digest realm=a, nonce=n, stale=TRUE").stale);
    }
}
