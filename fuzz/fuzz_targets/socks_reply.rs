//! Whatever a SOCKS proxy answers: no panic, no more is read than belongs to the answers, and the
//! password is only told to who has asked for it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailwicket::{
    config::{Proxy, ProxyAuth, ProxyCredentials, ProxyScheme},
    net::{
        Io,
        proxy_login::{LoginMemory, kerberos::Places},
        socks::tunnel,
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fuzz_target!(|data: &[u8]| {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (near, mut far) = duplex(data.len() + 1024);
        far.write_all(data).await.expect("there is room");
        far.shutdown().await.expect("open");
        let login = ProxyCredentials { username: "svc".to_owned(), password: "hidden".into() };
        let proxy = Proxy {
            scheme: ProxyScheme::Socks5h,
            host: "proxy".to_owned(),
            port: 1080,
            credentials: Some(login),
            auth: ProxyAuth::Auto,
        };
        let memory = LoginMemory::new(Places::of_process());
        let tunnel = tunnel(&memory, Box::new(near) as Io, &proxy, "mail", 587).await;
        if let Ok(mut io) = tunnel {
            let mut rest = Vec::new();
            io.read_to_end(&mut rest).await.expect("open");
            assert!(data.ends_with(&rest));
            assert!(data.len() - rest.len() >= 2 + 4 + 3);
        }
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.expect("open");
        let asked = data.starts_with(&[5, 2]);
        assert_eq!(told.windows(6).any(|part| part == b"hidden"), asked);
    });
});
