//! A server that speaks TLS lets in whom it should.

use integration_tests::{Builder, Server, Tls};
use redis::{Client, RedisResult, TlsCertificates};

async fn ping(server: &Server, certificates: TlsCertificates) -> RedisResult<String> {
    let client = Client::build_with_tls(server.url(), certificates)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async(&mut connection).await
}

fn without_client(tls: &Tls) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        ..tls.certificates()
    }
}

#[tokio::test]
async fn clients_need_no_certificate_unless_asked_for_one() {
    let (tls, foreign) = (Tls::new(), Tls::new());
    for builder in Builder::each_way().await {
        let server = builder.tls(&tls).start().await;
        assert!(server.url().starts_with("rediss://127.0.0.1:"));
        assert_eq!(ping(&server, without_client(&tls)).await.unwrap(), "PONG");
        assert_eq!(ping(&server, tls.certificates()).await.unwrap(), "PONG");
        let error = ping(&server, without_client(&foreign)).await.unwrap_err();
        assert!(
            error.to_string().contains("invalid peer certificate"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn mutual_tls_lets_in_only_clients_of_the_same_authority() {
    let (tls, foreign) = (Tls::new(), Tls::new());
    for builder in Builder::each_way().await {
        let server = builder.mutual_tls(&tls).start().await;
        assert_eq!(ping(&server, tls.certificates()).await.unwrap(), "PONG");
        let wrong_client = TlsCertificates {
            root_cert: tls.certificates().root_cert,
            ..foreign.certificates()
        };
        for certificates in [without_client(&tls), wrong_client] {
            let error = ping(&server, certificates).await.unwrap_err();
            assert!(
                error.is_io_error() || error.is_connection_dropped(),
                "{error:?}"
            );
        }
    }
}
