//! DNS towards a server.

use domain::base::iana::{Rcode, Rtype};
use domain::base::scan::IterScanner;
use domain::base::{Name, RecordData};
use domain::rdata::ZoneRecordData;

/// A question, and what its answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dns {
    /// Whether it is asked by TCP in UDP's place.
    pub is_tcp: bool,
    /// The name that is asked for.
    pub name: Name<Vec<u8>>,
    /// The type of its records.
    pub kind: Rtype,
    /// The response codes that are right.
    pub rcodes: Vec<Rcode>,
    /// What one record of the answer must hold, as a zone file has it.
    pub answer: Option<String>,
}

impl Default for Dns {
    /// What keepalived asks.
    fn default() -> Dns {
        Dns {
            is_tcp: false,
            name: Name::root_vec(),
            kind: Rtype::SOA,
            rcodes: vec![Rcode::NOERROR],
            answer: None,
        }
    }
}

/// What a record of one type holds.
pub type Data = ZoneRecordData<Vec<u8>, Name<Vec<u8>>>;

impl Dns {
    /// What `text` says a record of this type holds: `192.0.2.1`, or `10 mail.example.`; a TXT record has it as one
    /// string, without quotes.
    ///
    /// # Errors
    /// Why it is nothing that such a record holds.
    pub fn data(kind: Rtype, text: &str) -> Result<Data, String> {
        let words = if kind == Rtype::TXT { vec![text] } else { text.split_ascii_whitespace().collect() };
        let mut scanner = IterScanner::new(words);
        let data = Data::scan(kind, &mut scanner).map_err(|error| error.to_string())?;
        // The data of a type that this library does not know comes without it.
        if data.rtype() != kind || !scanner.is_exhausted() {
            return Err(format!("there is more in it than the data of one {kind} record"));
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_as_a_zone_file_has_it() {
        let same = |kind, one, other| Dns::data(kind, one).unwrap() == Dns::data(kind, other).unwrap();
        assert!(same(Rtype::AAAA, "2001:db8::1", "2001:0db8:0:0::1"));
        assert!(same(Rtype::MX, "10 mail.example.", "10  MAIL.example."));
        assert!(same(Rtype::CNAME, "www.example", "www.example."));
        assert!(!same(Rtype::A, "10.0.0.1", "10.0.0.11"));
        assert!(!same(Rtype::TXT, "v=spf1 -all", "v=spf1 ~all"));
        for (kind, text) in [
            (Rtype::A, "2001:db8::1"),
            (Rtype::A, "10.0.0.1 10.0.0.2"),
            (Rtype::A, ""),
            (Rtype::MX, "mail.example."),
            (Rtype::from_int(65_280), "10.0.0.1"),
        ] {
            assert!(Dns::data(kind, text).is_err(), "{kind} {text}");
        }
    }
}
