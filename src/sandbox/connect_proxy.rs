//! A corporate CONNECT proxy.
use crate::sandbox::world::World;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
pub(super) struct Proxy {
    world: World,
    credentials: Option<(String, String)>,
}
impl Proxy {
    pub(super) fn new(world: World, credentials: Option<(String, String)>) -> Self {
        Self { world, credentials }
    }
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let _ = (&self.world, &self.credentials, stream);
        Ok(())
    }
}
