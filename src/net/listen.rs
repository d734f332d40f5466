//! Listening sockets: how they are bound, and which accept errors pass.
//!
//! Servers speak first in mail, so a client that is not accepted at once hangs without a word: the
//! backlog is large. Must never know who may connect.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel holds for us while all permits are taken. Kernels cut it to their
/// own limit (Linux: `net.core.somaxconn`, 4096).
const BACKLOG: i32 = 1024;

/// What to do after a failed accept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcceptError {
    /// That one connection was at fault: accept the next.
    Ignore,
    /// The process or the system is out of something: rest, then go on.
    Pause,
}

/// Binds and listens. Must be called within a tokio runtime.
///
/// # Errors
/// As the system says: the address is taken, not ours, or needs a privilege.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)] // on Windows the option would let another program take the port
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // `[::]` and `0.0.0.0` are two listeners, each as configured
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sorts an accept error. A connection that was aborted, or any network error that Linux passes on
/// from it (accept(2)), ends only itself; whatever else happens, resting cannot make it worse.
pub fn classify(error: &io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::Interrupted
        | io::ErrorKind::TimedOut => AcceptError::Ignore,
        _ => AcceptError::Pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_can_be_bound_and_is_then_taken() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let again = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn out_of_descriptors_pauses_and_an_aborted_connection_does_not() {
        for (errno, expected) in [
            (24, AcceptError::Pause),   // EMFILE
            (23, AcceptError::Pause),   // ENFILE
            (105, AcceptError::Pause),  // ENOBUFS
            (12, AcceptError::Pause),   // ENOMEM
            (103, AcceptError::Ignore), // ECONNABORTED
            (113, AcceptError::Ignore), // EHOSTUNREACH
            (4, AcceptError::Ignore),   // EINTR
        ] {
            assert_eq!(classify(&io::Error::from_raw_os_error(errno)), expected, "errno {errno}");
        }
    }
}
