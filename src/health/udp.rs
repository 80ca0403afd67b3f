//! UDP: a datagram is replied to; or, if the operator takes silence for well, it is not refused.

use super::datagram::Datagrams;
use super::probe::Ask;
use super::{Failure, Healthy};
use crate::service::check::Udp;
use tokio::time::timeout;

pub(super) async fn probe(ask: &Ask<'_>, udp: &Udp) -> Result<Healthy, Failure> {
    let socket = Datagrams::open(ask).await?;
    ask.is("waiting for the reply");
    socket.send(&udp.send).await?;
    // Silence must be over before the probe's time is.
    let patience = ask.target.check.pace.timeout * 9 / 10;
    if !udp.may_be_silent {
        socket.receive().await?;
    } else if let Ok(reply) = timeout(patience, socket.receive()).await {
        reply?;
    }
    Ok(Healthy::default())
}
