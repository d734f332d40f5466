//! Entra's token endpoint.
use crate::sandbox::world::World;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
pub(super) struct Endpoint {
    world: World,
    acceptor: TlsAcceptor,
}
impl Endpoint {
    pub(super) fn new(world: World, acceptor: TlsAcceptor) -> Self {
        Self { world, acceptor }
    }
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let _ = (&self.world, self.acceptor.accept(stream).await?);
        Ok(())
    }
}
