//! DNS: a question is answered, by UDP or TCP.

use super::connect::{Ack, connect};
use super::datagram::Datagrams;
use super::failure::said;
use super::probe::Ask;
use super::{Failure, Healthy};
use crate::service::check::{Data, Dns};
use domain::base::iana::Rcode;
use domain::base::message_builder::QuestionBuilder;
use domain::base::{Message, MessageBuilder, ParsedName, StreamTarget};
use domain::rdata::ZoneRecordData;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How many records are quoted of an answer that has not the right one.
const MAX_QUOTED: usize = 3;

/// What it takes to ask and to judge.
#[derive(Debug)]
pub(super) struct Prober {
    check: Dns,
    /// What a record of the answer must hold.
    wanted: Option<Data>,
}

type Question = QuestionBuilder<StreamTarget<Vec<u8>>>;
type Answer = Message<Vec<u8>>;

impl Prober {
    pub(super) fn of(check: &Dns) -> Result<Prober, Failure> {
        let wanted = check.answer.as_deref().map(|text| Dns::data(check.kind, text)).transpose();
        Ok(Prober { check: check.clone(), wanted: wanted.map_err(Failure::own)? })
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>) -> Result<Healthy, Failure> {
        let question = self.question()?;
        let answer =
            if self.check.is_tcp { by_tcp(ask, &question).await } else { by_udp(ask, &question).await };
        self.judge(&answer?)
    }

    fn question(&self) -> Result<Question, Failure> {
        let mut builder = MessageBuilder::new_stream_vec();
        builder.header_mut().set_id(fastrand::u16(..));
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        let pushed = builder.push((&self.check.name, self.check.kind));
        pushed.map_err(|error| Failure::own(format!("DNS question: {error}")))?;
        Ok(builder)
    }

    fn judge(&self, answer: &Answer) -> Result<Healthy, Failure> {
        let rcode = answer.header().rcode();
        if !self.check.rcodes.contains(&rcode) {
            let wanted: Vec<String> = self.check.rcodes.iter().map(Rcode::to_string).collect();
            return Err(Failure::of_server(format!("DNS: {rcode} (wanted: {})", wanted.join(", "))));
        }
        let Some(wanted) = &self.wanted else { return Ok(Healthy::default()) };
        let broken = |error| Failure::of_server(format!("DNS: the answer is broken: {error}"));
        let mut others = Vec::new();
        let records = answer.answer().map_err(broken)?;
        for record in records.limit_to_in::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>() {
            let record = record.map_err(broken)?;
            if record.data() == wanted {
                return Ok(Healthy::default());
            }
            if others.len() < MAX_QUOTED {
                others.push(said(record.data().to_string().as_bytes()));
            }
        }
        let found = match (&others[..], answer.header().tc()) {
            (_, true) => "the answer is cut short: ask by TCP".to_owned(),
            ([], _) => "there are no records".to_owned(),
            _ => format!("there is {}", others.join(", ")),
        };
        let Dns { kind, answer, .. } = &self.check;
        let wanted = said(answer.as_deref().unwrap_or_default().as_bytes());
        Err(Failure::of_server(format!("DNS: no {kind} record is {wanted}; {found}")))
    }
}

async fn by_udp(ask: &Ask<'_>, question: &Question) -> Result<Answer, Failure> {
    let socket = Datagrams::open(ask).await?;
    ask.is("waiting for the answer");
    socket.send(question.as_slice()).await?;
    // What answers no question of ours may be anyone's.
    loop {
        if let Some(answer) = answer_to(question, socket.receive().await?) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(ask: &Ask<'_>, question: &Question) -> Result<Answer, Failure> {
    let mut stream = connect(ask, Ack::AtOnce).await?;
    ask.is("waiting for the answer");
    let received = async {
        stream.write_all(question.as_target().as_stream_slice()).await?;
        let mut bytes = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut bytes).await?;
        io::Result::Ok(bytes)
    };
    let bytes = received.await.map_err(|error| Failure::of_system("DNS", &error))?;
    answer_to(question, bytes).ok_or_else(|| Failure::of_server("DNS: what was received is no answer"))
}

/// The message in `bytes`, if it answers this question. Who refuses to read a question need not repeat it.
fn answer_to(question: &Question, bytes: Vec<u8>) -> Option<Answer> {
    let answer = Message::from_octets(bytes).ok()?;
    let (header, asked) = (answer.header(), question.header());
    let is_error = header.qr() && header.id() == asked.id() && answer.header_counts().qdcount() == 0;
    (answer.is_answer(&question.as_message()) || is_error && answer.is_error()).then_some(answer)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::health::Failure;
    use crate::health::bed::{Daemon, check, listener, loopback, probe, probe_once, serve, target};
    use crate::service::check::{Check, Dns, Kind};
    use domain::base::iana::{Rcode, Rtype};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, UdpSocket};

    fn question(name: &str, kind: Rtype, answer: Option<&str>) -> Dns {
        let answer = answer.map(str::to_owned);
        Dns { name: name.parse().unwrap(), kind, answer, ..Dns::default() }
    }

    fn both_ways(at: SocketAddr, dns: &Dns) -> Result<(), String> {
        let by_udp = probe(at, Kind::Dns(dns.clone()));
        let by_tcp = probe(at, Kind::Dns(Dns { is_tcp: true, ..dns.clone() }));
        assert_eq!(by_udp, by_tcp);
        by_udp.map(drop).map_err(|failure| failure.cause)
    }

    #[test]
    fn dnsmasq_answers_by_udp_and_tcp_and_fails_when_it_hangs() {
        let at = SocketAddr::from((loopback(), 53));
        let listen = format!("--listen-address={}", at.ip());
        let dnsmasq = Daemon::start(
            at,
            "dnsmasq",
            &[
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--bind-interfaces",
                "--pid-file=",
                "--user=root",
                &listen,
                "--local=/example/",
                "--host-record=www.example,192.0.2.7,2001:db8::7",
                "--mx-host=example,mail.example,10",
                "--txt-record=example,all is well",
            ],
        );

        for (name, kind, answer) in [
            ("www.example", Rtype::A, None),
            ("www.example", Rtype::A, Some("192.0.2.7")),
            ("WWW.example.", Rtype::AAAA, Some("2001:db8:0::7")),
            ("example", Rtype::MX, Some("10 Mail.example.")),
            ("example", Rtype::TXT, Some("all is well")),
            ("www.example", Rtype::MX, None),
        ] {
            assert_eq!(both_ways(at, &question(name, kind, answer)), Ok(()), "{name} {kind}");
        }
        for (name, kind, answer, cause) in [
            ("www.example", Rtype::A, "192.0.2.70", "no A record is \"192.0.2.70\"; there is \"192.0.2.7\""),
            ("www.example", Rtype::MX, "10 a.", "no MX record is \"10 a.\"; there are no records"),
            ("no.example", Rtype::A, "192.0.2.7", "NXDOMAIN (wanted: NOERROR)"),
        ] {
            let failed = both_ways(at, &question(name, kind, Some(answer)));
            assert_eq!(failed, Err(format!("DNS: {cause}")));
        }
        // It knows no other names, and nobody to ask.
        assert_eq!(both_ways(at, &Dns::default()), Err("DNS: REFUSED (wanted: NOERROR)".to_owned()));
        let rcodes = vec![Rcode::NOERROR, Rcode::REFUSED];
        assert_eq!(both_ways(at, &Dns { rcodes, ..Dns::default() }), Ok(()));

        dnsmasq.hang();
        let ask = || probe_once(&target(at, check(Kind::Dns(Dns::default())))).unwrap_err();
        let hangs = Failure::of_server("timed out after 200ms waiting for the answer");
        assert_eq!(ask(), hangs);
        drop(dnsmasq);
        // A child of its own for TCP may hold the socket a little longer.
        let gone = std::iter::repeat_with(ask).take(50).find(|failure| *failure != hangs);
        assert_eq!(gone, Some(Failure::of_server("receive: connection refused")));
    }

    /// A server that answers with what these make of a question, one after the other, by UDP.
    fn answering(at: &str, with: Vec<fn(Vec<u8>) -> Vec<u8>>) -> SocketAddr {
        let socket = UdpSocket::bind((at, 0)).unwrap();
        let at = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            let (bytes, from) = socket.recv_from(&mut question).unwrap();
            for answer in with {
                socket.send_to(&answer(question[..bytes].to_vec()), from).unwrap();
            }
        });
        at
    }

    fn answered(mut question: Vec<u8>) -> Vec<u8> {
        question[2] |= 0x80;
        question
    }

    #[test]
    fn what_does_not_answer_the_question_is_passed_over_in_either_family() {
        let strange: Vec<fn(Vec<u8>) -> Vec<u8>> = vec![
            |_| Vec::new(),
            |_| b"garbage that is longer than a header".to_vec(),
            |question| question,
            |mut question| {
                question[0] ^= 1;
                answered(question)
            },
            |mut question| {
                // Another type.
                let at = question.len() - 3;
                question[at] ^= 1;
                answered(question)
            },
        ];
        for at in ["127.0.0.1", "::1"] {
            let dns = check(Kind::Dns(Dns::default()));
            let silent = probe_once(&target(answering(at, strange.clone()), dns)).unwrap_err().cause;
            assert_eq!(silent, "timed out after 200ms waiting for the answer");
            let late = [strange.clone(), vec![answered]].concat();
            probe(answering(at, late), Kind::Dns(Dns::default())).unwrap();
        }
    }

    #[test]
    fn broken_and_short_answers_are_said_to_be_so() {
        let dns = || Kind::Dns(question("www.example", Rtype::A, Some("192.0.2.7")));
        let broken = answering(
            "127.0.0.1",
            vec![|mut question| {
                question[7] = 1;
                answered(question)
            }],
        );
        let cause = probe(broken, dns()).unwrap_err().cause;
        assert!(cause.starts_with("DNS: the answer is broken: "), "{cause}");
        let cut = answering(
            "127.0.0.1",
            vec![|mut question| {
                question[2] |= 2;
                answered(question)
            }],
        );
        let cause = probe(cut, dns()).unwrap_err().cause;
        assert_eq!(cause, "DNS: no A record is \"192.0.2.7\"; the answer is cut short: ask by TCP");
        let mute = answering(
            "127.0.0.1",
            vec![|mut question| {
                // FORMERR, and no question.
                question.truncate(12);
                (question[3], question[5]) = (1, 0);
                answered(question)
            }],
        );
        assert_eq!(probe(mute, dns()).unwrap_err().cause, "DNS: FORMERR (wanted: NOERROR)");
    }

    #[test]
    fn a_tcp_server_that_closes_or_sends_garbage_is_not_well() {
        let cause = |answer: &'static [u8]| {
            let at = serve(listener(), move |mut stream| {
                let _ = stream.read(&mut [0; 512]);
                let _ = stream.write_all(answer);
            });
            let dns = Dns { is_tcp: true, ..Dns::default() };
            probe(at, Kind::Dns(dns)).unwrap_err().cause
        };
        assert_eq!(cause(b""), "DNS: the connection was closed");
        assert_eq!(cause(b"\xff\xffshort"), "DNS: the connection was closed");
        assert_eq!(cause(b"\0\x04none"), "DNS: what was received is no answer");
    }

    #[test]
    fn the_source_is_the_one_that_is_asked_for() {
        let server = UdpSocket::bind((loopback(), 0)).unwrap();
        let source = loopback().into();
        let from = Check { source: Some(source), ..check(Kind::Dns(Dns::default())) };
        let _ = probe_once(&target(server.local_addr().unwrap(), from));
        assert_eq!(server.recv_from(&mut [0; 512]).unwrap().1.ip(), source);
    }
}
