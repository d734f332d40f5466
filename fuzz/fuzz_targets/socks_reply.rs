//! Whatever a SOCKS proxy answers: no panic, no more is read than belongs to the answers, and the
//! password is only told to who has asked for it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailwicket::{
    config::ProxyCredentials,
    net::{Io, socks::connect},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (near, mut far) = duplex(data.len() + 1024);
        far.write_all(data).await.expect("there is room");
        far.shutdown().await.expect("open");
        let login = ProxyCredentials { username: "svc".to_owned(), password: "hidden".into() };
        let mut io = Box::new(near) as Io;
        let outcome = connect(&mut io, "mail", 587, Some(&login)).await;
        let (mut rest, mut told) = (Vec::new(), Vec::new());
        io.read_to_end(&mut rest).await.expect("open");
        drop(io);
        far.read_to_end(&mut told).await.expect("open");
        assert!(data.ends_with(&rest));
        assert!(outcome.is_err() || data.len() - rest.len() >= 2 + 4 + 3);
        let asked = data.starts_with(&[5, 2]);
        assert_eq!(told.windows(6).any(|part| part == b"hidden"), asked);
    });
});
