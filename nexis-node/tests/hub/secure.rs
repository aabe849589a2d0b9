//! TLS by the system's authorities, and proxies.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::command::{Desk, done};
use crate::world::{COMMIT, TOKEN, repo};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub/tls").join(name)
}

/// Speaks TLS as `hub.example`.
fn acceptor() -> TlsAcceptor {
    let certificates =
        CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    Arc::new(config).into()
}

/// A proxy that opens tunnels to one place, whatever place is asked for. Gives its address and how often it was asked.
async fn proxy(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                assert!(head.starts_with(b"CONNECT hub.example:443 "), "{}", String::from_utf8_lossy(&head));
                count.fetch_add(1, Ordering::SeqCst);
                socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut there = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut socket, &mut there).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn https_goes_through_the_proxy_and_is_checked_by_the_systems_authorities() {
    let mut desk = Desk::new().await;
    let mut small = repo(COMMIT, 1);
    small.token = Some(TOKEN.to_owned());
    desk.hub.put("maker/pickle", "main", small);
    let tls = desk.hub.over_tls(acceptor()).await;
    let (proxy, asked) = proxy(tls).await;
    let fetch = |id: &str, authorities: &Path| {
        let mut command = desk.command(&["models", "fetch", "--anyway", id]);
        command
            .env("HF_ENDPOINT", "https://hub.example")
            .env("HTTPS_PROXY", format!("http://{proxy}"))
            .env("SSL_CERT_FILE", authorities)
            .env_remove("SSL_CERT_DIR")
            .env_remove("NO_PROXY")
            .env_remove("no_proxy");
        done(command)
    };
    // Another authority than the one that signed: nothing is sent.
    let other = desk.folder.path().join("other.pem");
    fs::copy(file("server.pem"), &other).unwrap();
    let (status, _, said) = fetch("maker/pickle", &other).await;
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("certificate") && said.contains("hub.example"), "{said}");
    assert_eq!(desk.hub.seen().len(), 0);

    let (status, _, said) = fetch("maker/pickle", &file("authority.pem")).await;
    assert_eq!(status, 0, "{said}");
    assert!(asked.load(Ordering::SeqCst) > 0);

    // From https to http is no way to go.
    let (status, _, said) = fetch("maker/small", &file("authority.pem")).await;
    assert_eq!(status, 2);
    assert!(said.contains("from https to http") && !said.contains("Signature"), "{said}");
}
