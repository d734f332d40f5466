//! A tunnel of a SOCKS proxy, with what is known of its login: a refused password is sent once, and
//! then not for a while ([`crate::net::proxy_login`]). Must never know how a connection is made.

use super::{SocksError, ask, choose, log_in, odd, request};
use crate::{
    config::Proxy,
    net::{
        Io, authority,
        error::Trouble,
        proxy_login::{LoginError, LoginMemory, Scheme},
    },
};

/// Why there is no tunnel.
enum Failure {
    Socks(SocksError),
    Login(LoginError),
}

impl From<SocksError> for Failure {
    fn from(error: SocksError) -> Self {
        Self::Socks(error)
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        Self::Login(error)
    }
}

/// A tunnel to `host:port` on a connection to `proxy`.
///
/// # Errors
/// [`Trouble::Login`] while a refused password is not sent, [`Trouble::Socks`] where the proxy says no,
/// [`Trouble::NoSocks`] and [`Trouble::Broken`] where it does not behave.
pub async fn tunnel(
    memory: &LoginMemory,
    mut io: Io,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<Io, Trouble> {
    let outcome = connect(memory, &mut io, proxy, host, port).await;
    let (proxy, target) = (authority(&proxy.host, proxy.port), authority(host, port));
    match outcome {
        Ok(()) => Ok(io),
        Err(Failure::Login(error)) => {
            Err(Trouble::Login { proxy, target, hint: None, error: Box::new(error) })
        }
        Err(Failure::Socks(SocksError::Io(error))) => Err(Trouble::Broken { proxy, error }),
        Err(Failure::Socks(SocksError::Odd(what))) => Err(Trouble::NoSocks { proxy, target, what }),
        Err(Failure::Socks(SocksError::Refused(refusal))) => {
            Err(Trouble::Socks { proxy, target, refusal })
        }
    }
}

async fn connect(
    memory: &LoginMemory,
    io: &mut Io,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), Failure> {
    let request =
        request(host, port).ok_or_else(|| odd("the host's name is too long for SOCKS"))?;
    let known = memory.of(proxy);
    if let Some(credentials) = choose(io, proxy.credentials.as_ref()).await? {
        let mut leave = known.leave().await?;
        leave.sends(Scheme::Socks);
        let outcome = log_in(io, credentials).await;
        leave.answered();
        match outcome {
            Ok(()) => known.proved(Scheme::Socks, true),
            Err(error) => {
                if matches!(error, SocksError::Refused(_)) {
                    known.refused(Scheme::Socks);
                }
                return Err(error.into());
            }
        }
    }
    Ok(ask(io, &request).await?)
}
