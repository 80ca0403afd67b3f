//! HTTP requests at a fixed rate, whatever becomes of them: each is due at its time, and its latency counts from then
//! on, so that a request which waits for another one's answer is not forgotten.

use crate::bed::{Bed, HTTP, Outcome, VIP};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Clients, each with every so many'th request.
const CLIENTS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(2);

/// How requests went.
#[derive(Debug, Default)]
pub struct Latencies {
    /// From the moment it was due to the last byte, of every request that was answered.
    pub answered: Vec<Duration>,
    /// What became of the others.
    pub failures: Vec<String>,
}

/// Asks for `/` at the VIP, each time on a connection of its own.
pub fn load(bed: &Bed, per_second: u32, lasting: Duration) -> Outcome<Latencies> {
    let requests = per_second * lasting.as_millis() as u32 / 1000;
    let all = Mutex::new(Latencies::default());
    bed.client.inside(|| {
        let start = Instant::now() + Duration::from_millis(20);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let all = &all;
                let due = (client..requests).step_by(CLIENTS as usize);
                let due = due.map(move |i| start + Duration::from_secs(1) * i / per_second);
                scope.spawn(move || {
                    let own = ask_at(due);
                    let mut all = all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    all.answered.extend(own.answered);
                    all.failures.extend(own.failures);
                });
            }
        });
    })?;
    Ok(all.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn ask_at(due: impl Iterator<Item = Instant>) -> Latencies {
    // Otherwise the kernel may wake a sleeper 50 µs late.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut latencies = Latencies::default();
    for due in due {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match ask() {
            Ok(()) => latencies.answered.push(due.elapsed()),
            Err(error) => latencies.failures.push(error.to_string()),
        }
    }
    latencies
}

fn ask() -> Outcome<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(VIP.into(), HTTP[0]), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello\n") {
        Ok(())
    } else {
        Err(format!("unexpected answer {answer:?}").into())
    }
}
