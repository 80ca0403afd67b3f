//! What a director takes while nothing comes, and how long the first packet after that takes.

use crate::bed::{Bed, ECHO, Outcome, VIP};
use lvx::lab::ProcessId;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Between two datagrams: the worker sleeps long before.
const PAUSE: Duration = Duration::from_millis(50);

/// The part of one core that all threads of a process take over a while.
pub fn share_of_a_core(process: ProcessId, lasting: Duration) -> Outcome<f64> {
    let (before, start) = (busy(process)?, Instant::now());
    std::thread::sleep(lasting);
    Ok((busy(process)? - before) as f64 / start.elapsed().as_nanos() as f64)
}

/// The time of all threads on a processor until now, in nanoseconds.
fn busy(process: ProcessId) -> Outcome<u64> {
    let mut busy = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", process.pid))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        busy += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(busy)
}

/// Datagrams to the echo behind the VIP and back, one at a time, after a pause each: how long they took.
pub fn ping_pong(bed: &Bed, datagrams: u32) -> Outcome<Vec<Duration>> {
    bed.client.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((VIP, ECHO[0]))?;
        // The first one may find a neighbour missing, and be lost.
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        if !(0..10).any(|_| ask(&socket, u32::MAX).is_ok()) {
            return Err("the echo behind the VIP does not answer".into());
        }
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        (0..datagrams)
            .map(|number| {
                std::thread::sleep(PAUSE);
                let start = Instant::now();
                ask(&socket, number).map_err(|error| format!("datagram {number}: {error}"))?;
                Ok(start.elapsed())
            })
            .collect()
    })?
}

/// Sends a datagram and waits for its echo; late ones of others do not count.
fn ask(socket: &UdpSocket, number: u32) -> std::io::Result<()> {
    let (wanted, mut answer) = ([b"echo ", &number.to_be_bytes()[..]].concat(), [0; 64]);
    socket.send(&number.to_be_bytes())?;
    loop {
        let len = socket.recv(&mut answer)?;
        if answer[..len] == wanted {
            return Ok(());
        }
    }
}
