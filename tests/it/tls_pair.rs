//! Two ends of a TLS connection in memory: what goes in at one end comes out at the other,
//! through real records.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, crypto::ring,
};

pub(crate) struct TlsPair {
    near: ClientConnection,
    far: ServerConnection,
}

impl TlsPair {
    /// After the handshake.
    pub(crate) fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], signing_key.into())
            .unwrap();
        let near =
            ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        let mut pair = Self { near, far: ServerConnection::new(Arc::new(server)).unwrap() };
        while pair.near.is_handshaking() || pair.far.is_handshaking() {
            pair.flow_out();
            pair.flow_in();
        }
        pair
    }

    /// From the far end to the near one.
    pub(crate) fn inward(&mut self, octets: &[u8]) -> Vec<u8> {
        self.far.writer().write_all(octets).unwrap();
        self.flow_in();
        let mut out = vec![0; octets.len()];
        self.near.reader().read_exact(&mut out).unwrap();
        out
    }

    /// From the near end to the far one.
    pub(crate) fn outward(&mut self, octets: &[u8]) -> Vec<u8> {
        self.near.writer().write_all(octets).unwrap();
        self.flow_out();
        let mut out = vec![0; octets.len()];
        self.far.reader().read_exact(&mut out).unwrap();
        out
    }

    fn flow_out(&mut self) {
        let mut wire = Vec::new();
        while self.near.wants_write() {
            self.near.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            self.far.read_tls(&mut wire).unwrap();
            self.far.process_new_packets().unwrap();
        }
    }

    fn flow_in(&mut self) {
        let mut wire = Vec::new();
        while self.far.wants_write() {
            self.far.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            self.near.read_tls(&mut wire).unwrap();
            self.near.process_new_packets().unwrap();
        }
    }
}
