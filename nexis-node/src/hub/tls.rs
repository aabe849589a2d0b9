//! Connections: direct ones, and through a proxy where the environment names one; TLS by the system's authorities.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{HubError, HubErrorKind, HubSettings, Result};

/// Makes connections to the hub and to where it sends us.
pub(super) type Connector = HttpsConnector<Proxied>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(super) fn connector(settings: &HubSettings) -> Result<Connector> {
    let local = |what: String| HubError::new(HubErrorKind::Local, what);
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if authorities.is_empty() && settings.endpoint.scheme() == "https" {
        let what = "this machine has no certificates of authorities to check the hub's by; install ca-certificates, \
                    or name a file in SSL_CERT_FILE";
        return Err(local(what.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| local(format!("TLS: {e}")))?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    direct.set_nodelay(true);
    direct.set_connect_timeout(Some(settings.connect_timeout));
    let proxied = Proxied { direct, proxies: Arc::clone(&settings.proxies) };
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(proxied))
}

/// Connects to an address; where a proxy is named for it, through a tunnel that the proxy opens. Only `https` goes
/// through a proxy: what TLS does not cover would be the proxy's to read.
#[derive(Clone)]
pub(super) struct Proxied {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Proxied {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let https = to.scheme_str() == Some("https");
        let Some(proxy) = self.proxies.intercept(&to).filter(|_| https) else {
            let connecting = self.direct.call(to);
            return Box::pin(async move { connecting.await.map_err(Into::into) });
        };
        if proxy.uri().scheme_str() != Some("http") {
            let why = "the proxy's own address has to begin with http://";
            return Box::pin(std::future::ready(Err(why.into())));
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(name) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(name.clone());
        }
        let connecting = tunnel.call(to);
        Box::pin(async move { connecting.await.map_err(|e| format!("through the proxy: {e}").into()) })
    }
}
