//! Exchange Online's submission server.
use crate::sandbox::Profile;
use crate::sandbox::world::World;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
pub(super) struct Server {
    world: World,
    acceptor: TlsAcceptor,
    profile: Profile,
}
impl Server {
    pub(super) fn new(world: World, acceptor: TlsAcceptor, profile: Profile) -> Self {
        Self {
            world,
            acceptor,
            profile,
        }
    }
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        _peer: SocketAddr,
    ) -> io::Result<()> {
        let _ = (
            &self.world,
            self.profile,
            self.acceptor.accept(stream).await?,
        );
        Ok(())
    }
}
