//! TCP: a connection is accepted.

use super::connect::{Ack, connect};
use super::probe::Ask;
use super::{Failure, Healthy};

pub(super) async fn probe(ask: &Ask<'_>) -> Result<Healthy, Failure> {
    connect(ask, Ack::Later).await.map(|_| Healthy::default())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::health::Failure;
    use crate::health::bed::{listener, loopback, probe};
    use crate::service::check::Kind;
    use std::net::{SocketAddr, TcpListener};

    #[test]
    fn who_listens_is_well_and_who_refuses_is_not_in_either_family() {
        let (four, six) = (listener(), TcpListener::bind("[::1]:0").unwrap());
        assert!(probe(four.local_addr().unwrap(), Kind::Tcp).is_ok());
        assert!(probe(six.local_addr().unwrap(), Kind::Tcp).is_ok());
        let nobody = SocketAddr::from((loopback(), 80));
        assert_eq!(probe(nobody, Kind::Tcp), Err(Failure::of_server("connect: connection refused")));
    }
}
