//! A bare reverse proxy of hyper's: the floor under every gateway's cost.
//!
//!     cargo run --release --example reverse_proxy -- 127.0.0.1:9000 127.0.0.1:8999

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use hyper::{Request, body::Incoming, header::HOST, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (listen, upstream) = (arguments.next().unwrap(), arguments.next().unwrap());
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let listener = tokio::net::TcpListener::bind(&listen).await.unwrap();
    println!("reverse proxy listening on http://{}", listener.local_addr().unwrap());
    loop {
        let (io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap();
        let (client, upstream) = (client.clone(), upstream.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = format!("http://{upstream}{path}").parse().unwrap();
            request.headers_mut().remove(HOST);
            client.request(request)
        });
        tokio::spawn(async move {
            // A connection that breaks ends, and no other.
            let _ended =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
        });
    }
}
