//! What each request carries: which scheme counts, and what its next message is.
//!
//! [`Dance::begin`] for the first request, [`Dance::asked`] after each 407. Must never know the
//! connection; that is the dance's.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{
    BY_STRENGTH, LoginError, Obstacle, Scheme, basic,
    challenge::Challenge,
    dance::{Dance, Header, Stage},
    digest,
    kerberos::KerberosError,
    negotiate, ntlm,
};
use crate::{
    config::{ProxyAuth, ProxyScheme},
    net::http_connect::Answer,
};

/// Seconds from 1601, where Windows' time begins, to 1970.
const FROM_1601_TO_1970: u64 = 11_644_473_600;

impl Dance<'_> {
    /// What the first request carries.
    pub(super) async fn begin(&mut self) -> Result<Option<Header>, LoginError> {
        // The proxy may let us through to this host without a login.
        if self.proxy.credentials.is_some() && self.known.unpaused().is_err() {
            return Ok(None);
        }
        let scheme = match (self.fixed(), self.known.right()) {
            // Digest needs the proxy's nonce first.
            (Some(Scheme::Digest), _) => None,
            (Some(scheme), _) => Some(scheme),
            (None, Some(scheme)) if scheme != Scheme::Digest => Some(scheme),
            (None, _) => None,
        };
        match scheme {
            None => Ok(None),
            Some(scheme) => match self.start(scheme, &[]).await? {
                Some(login) => Ok(Some(login)),
                None if self.fixed().is_some() => Err(self.no_way(&[])),
                None => Ok(None), // what proved right is gone, such as a ticket: choose anew
            },
        }
    }

    /// What the next request carries, after a 407.
    pub(super) async fn asked(&mut self, answer: &Answer) -> Result<Option<Header>, LoginError> {
        let challenges = &answer.challenges;
        let offers = |scheme: Scheme| challenges.iter().any(|one| one.is(&scheme.to_string()));
        let scheme = self.stage.scheme();
        if let Some(scheme) = scheme.filter(|&scheme| !offers(scheme)) {
            if self.stage == Stage::NtlmProof {
                return Err(self.refused(scheme));
            }
            return self.choose(challenges).await; // it has changed its mind since last time
        }
        match self.stage {
            Stage::Unasked => self.choose(challenges).await,
            Stage::Basic => Err(self.refused(Scheme::Basic)),
            Stage::Digest { again } => match digest::strongest(challenges) {
                Ok(asked) if asked.stale && !again => {
                    let login = self.digest(&asked)?;
                    self.stage = Stage::Digest { again: true };
                    Ok(login)
                }
                _ => Err(self.refused(Scheme::Digest)),
            },
            Stage::NtlmHello { again } => {
                let token = challenges
                    .iter()
                    .filter(|one| one.is("NTLM"))
                    .find_map(|one| one.token.as_deref());
                match token {
                    Some(token) => self.ntlm_proof(token, challenges).await,
                    None if !again && !answer.persists => {
                        self.stage = Stage::NtlmHello { again: true };
                        Ok(Some(ntlm_header(&ntlm::hello())))
                    }
                    None => {
                        let cause = "the proxy does not carry on after the first message";
                        self.obstacle(
                            Scheme::Ntlm,
                            cause.to_owned(),
                            "look at the proxy's log, or set outbound.proxy_auth to another scheme",
                        );
                        self.choose(challenges).await
                    }
                }
            }
            Stage::NtlmProof => Err(self.refused(Scheme::Ntlm)),
            Stage::Negotiate => {
                self.memory.kerberos.forget(self.proxy);
                let error = KerberosError::TicketRefused { host: self.proxy.host.clone() };
                self.obstacles.push(obstacle_of(&error));
                self.choose(challenges).await
            }
        }
    }

    /// The strongest scheme that is offered and can be had.
    async fn choose(&mut self, challenges: &[Challenge]) -> Result<Option<Header>, LoginError> {
        if self.stage != Stage::Unasked {
            self.known.forget();
        }
        self.leave = None;
        for scheme in BY_STRENGTH {
            let allowed = self.fixed().is_none_or(|fixed| fixed == scheme);
            let offered = challenges.iter().any(|one| one.is(&scheme.to_string()));
            if !allowed || !offered || self.tried.contains(&scheme) {
                continue;
            }
            if let Some(login) = self.start(scheme, challenges).await? {
                return Ok(Some(login));
            }
        }
        Err(self.no_way(challenges))
    }

    /// The first message of a scheme; none where it cannot be had, and then it is told why.
    async fn start(
        &mut self,
        scheme: Scheme,
        challenges: &[Challenge],
    ) -> Result<Option<Header>, LoginError> {
        self.tried.push(scheme);
        let credentials = self.proxy.credentials.as_ref();
        if credentials.is_some() {
            self.known.unpaused()?;
        }
        match (scheme, credentials) {
            (Scheme::Negotiate, _) => {
                // The KDC may lock the account as well as the proxy.
                let leave = match credentials {
                    Some(_) => Some(self.known.leave().await?),
                    None => None,
                };
                let token = self.memory.kerberos.ap_req(self.proxy, self.limit).await;
                if matches!(&token, Err(error) if error.is_refusal()) {
                    self.known.refused(Scheme::Negotiate);
                }
                drop(leave);
                let token = match token {
                    Ok(ap_req) => Zeroizing::new(negotiate::token(&ap_req)),
                    Err(error) if error.is_refusal() => {
                        return Err(LoginError::RefusedByKdc(error));
                    }
                    Err(error) => {
                        tracing::debug!(proxy = %self.proxy.host, %error, "no login at the proxy by Negotiate");
                        self.obstacles.push(obstacle_of(&error));
                        return Ok(None);
                    }
                };
                self.stage = Stage::Negotiate;
                Ok(Some(header("Negotiate", &token)))
            }
            (_, None) | (Scheme::Socks, _) => Ok(None),
            (Scheme::Ntlm, _) => {
                self.stage = Stage::NtlmHello { again: false };
                Ok(Some(ntlm_header(&ntlm::hello())))
            }
            (Scheme::Digest, _) => match digest::strongest(challenges) {
                Ok(asked) => {
                    let login = self.digest(&asked)?;
                    self.stage = Stage::Digest { again: false };
                    Ok(login)
                }
                Err(words) => {
                    let cause = format!("the proxy wants {words}");
                    self.obstacle(
                        Scheme::Digest,
                        cause,
                        "ask for MD5 or SHA-256 with qop=\"auth\"",
                    );
                    Ok(None)
                }
            },
            (Scheme::Basic, Some(credentials)) => {
                let stronger = self
                    .known
                    .stronger()
                    .filter(|_| self.proxy.scheme == ProxyScheme::Http && self.fixed().is_none());
                if let Some(stronger) = stronger {
                    let cause = format!(
                        "it took a login by {stronger} before, and since then the password does not go in clear"
                    );
                    self.obstacle(
                        Scheme::Basic,
                        cause,
                        "find out why the login by the stronger scheme fails now, or whether another proxy answers; to send the password in clear nevertheless set outbound.proxy_auth = \"basic\"",
                    );
                    return Ok(None);
                }
                self.stage = Stage::Basic;
                Ok(Some(basic::login(credentials)))
            }
        }
    }

    fn digest(&mut self, asked: &digest::Asked) -> Result<Option<Header>, LoginError> {
        let Some(credentials) = &self.proxy.credentials else { return Ok(None) };
        let login = digest::login(asked, credentials, self.target);
        login.map(Some).map_err(|error| self.no_random(Scheme::Digest, error))
    }

    async fn ntlm_proof(
        &mut self,
        token: &str,
        challenges: &[Challenge],
    ) -> Result<Option<Header>, LoginError> {
        let Some(credentials) = &self.proxy.credentials else {
            return Err(self.no_way(challenges));
        };
        let message = BASE64_STANDARD.decode(token).unwrap_or_default();
        let puzzle = match ntlm::read(&message) {
            Ok(puzzle) => puzzle,
            Err(words) => {
                let cause = format!("the proxy answered with {words}");
                self.obstacle(
                    Scheme::Ntlm,
                    cause,
                    "set outbound.proxy_auth to another scheme that the proxy offers",
                );
                return self.choose(challenges).await;
            }
        };
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|error| self.no_random(Scheme::Ntlm, error))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let filetime = (since.as_secs() + FROM_1601_TO_1970) * 10_000_000;
        self.stage = Stage::NtlmProof;
        Ok(Some(ntlm_header(&ntlm::proof(&puzzle, credentials, &ntlm::Moment { nonce, filetime }))))
    }

    fn refused(&self, scheme: Scheme) -> LoginError {
        self.known.refused(scheme);
        LoginError::Refused { scheme }
    }

    fn no_way(&mut self, challenges: &[Challenge]) -> LoginError {
        let mut offered: Vec<String> = Vec::new();
        for Challenge { scheme, .. } in challenges {
            if !offered.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
                offered.push(scheme.clone());
            }
        }
        let obstacles = std::mem::take(&mut self.obstacles);
        match self.fixed() {
            Some(scheme) if !challenges.is_empty() && obstacles.is_empty() => {
                LoginError::NotOffered { scheme, offered }
            }
            None if self.proxy.credentials.is_none() && obstacles.is_empty() => {
                LoginError::Wanted { offered }
            }
            _ => LoginError::NoWay { offered, obstacles },
        }
    }

    fn obstacle(&mut self, scheme: Scheme, cause: String, remedy: &str) {
        self.obstacles.push(Obstacle { scheme, cause, remedy: remedy.to_owned() });
    }

    fn no_random(&mut self, scheme: Scheme, error: getrandom::Error) -> LoginError {
        self.obstacle(scheme, format!("no random numbers: {error}"), "trying again may help");
        self.no_way(&[])
    }

    /// The scheme of the configuration, if it names one.
    fn fixed(&self) -> Option<Scheme> {
        match self.proxy.auth {
            ProxyAuth::Auto => None,
            ProxyAuth::Basic => Some(Scheme::Basic),
            ProxyAuth::Digest => Some(Scheme::Digest),
            ProxyAuth::Ntlm => Some(Scheme::Ntlm),
            ProxyAuth::Negotiate => Some(Scheme::Negotiate),
        }
    }
}

fn obstacle_of(error: &KerberosError) -> Obstacle {
    Obstacle { scheme: Scheme::Negotiate, cause: error.to_string(), remedy: error.remedy() }
}

fn ntlm_header(message: &[u8]) -> Header {
    header("NTLM", message)
}

fn header(scheme: &str, token: &[u8]) -> Header {
    let token = Zeroizing::new(BASE64_STANDARD.encode(token));
    Zeroizing::new(format!("{scheme} {}", *token))
}
