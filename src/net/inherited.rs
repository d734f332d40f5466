//! Listening sockets that a supervisor opened and passes on: socket activation, as systemd does it
//! (`sd_listen_fds(3)`).
//!
//! They outlive this process: while it restarts, clients wait in their queue and none is refused.
//! A socket is known by its address, so that nothing has to be named twice. Must never know who
//! listens, or why.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::listen;

/// Sockets that were passed; none is the usual case.
#[derive(Clone, Default)]
pub struct Inherited(Arc<Vec<std::net::TcpListener>>);

impl Inherited {
    /// These sockets.
    pub fn of(sockets: Vec<std::net::TcpListener>) -> Self {
        Self(Arc::new(sockets))
    }

    /// What the environment (`LISTEN_FDS`, for the process `LISTEN_PID`) says was passed. To be
    /// called once: what was taken is not there again.
    ///
    /// # Errors
    /// One of them is not a TCP listener.
    #[cfg(unix)]
    pub fn from_environment() -> io::Result<Self> {
        let mut passed = listenfd::ListenFd::from_env();
        let sockets = (0..passed.len()).map(|place| passed.take_tcp_listener(place));
        let sockets = sockets.filter_map(io::Result::transpose).collect::<io::Result<_>>()?;
        Ok(Self::of(sockets))
    }

    /// Nothing is passed here.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn from_environment() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Where they listen.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok())
    }

    /// A socket that listens at this address: the one that was passed for it, or a new one. What
    /// was passed may be taken again, after the one before was closed. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// As [`listen::bind`].
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let passed = self.0.iter().find(|socket| socket.local_addr().is_ok_and(|at| at == address));
        let Some(passed) = passed else { return listen::bind(address) };
        let socket = passed.try_clone()?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn a_passed_socket_keeps_its_clients_while_nobody_accepts() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let inherited = Inherited::of(vec![socket]);
        assert_eq!(inherited.addresses().collect::<Vec<_>>(), [address]);
        drop(inherited.listen(address).unwrap());

        let mut client = TcpStream::connect(address).await.unwrap();
        let again = inherited.listen(address).unwrap();
        let (mut served, _) = again.accept().await.unwrap();
        served.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn another_address_is_bound() {
        let inherited = Inherited::of(vec![std::net::TcpListener::bind("127.0.0.1:0").unwrap()]);
        let other = inherited.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(!inherited.addresses().any(|at| at == other.local_addr().unwrap()));
    }

    #[tokio::test]
    async fn nothing_is_inherited_where_nothing_is_passed() {
        assert_eq!(Inherited::from_environment().unwrap().addresses().count(), 0);
    }
}
