//! Pieces of a configuration that come one by one, as edits do: read by the reader of whole files, so that what a
//! file may say an edit may say, and nothing else.

use super::findings::Findings;
use super::section::Section;
use super::{services, timeouts};
use crate::config::{ConfigErrors, Real, Service, Written};
use crate::service::Timeouts;
use ::toml::de::DeTable;
use serde_json::{Map, Value};

/// The service of this `[[virtual_service]]`.
///
/// # Errors
/// What is wrong with it; the errors have no place, but name it.
pub fn read_service(written: &Written) -> Result<Service, ConfigErrors> {
    let root = table("virtual_service", Value::Array(vec![Value::Object(written.0.clone())]));
    let mut services = read(root, services::services)?;
    services.pop().ok_or_else(|| ConfigErrors::of_piece("virtual service: nothing is written".to_owned()))
}

/// The server of this `[[virtual_service.real_server]]`, which is of `service`.
///
/// # Errors
/// As [`read_service`].
pub fn read_server(written: &Written, service: &Service) -> Result<Real, ConfigErrors> {
    // Beside the others it would be compared with them again and again.
    let alone = Service { reals: Vec::new(), ..service.clone() };
    let mut around = Written::from(&alone);
    let servers = Value::Array(vec![Value::Object(written.0.clone())]);
    around.0.insert("real_server".to_owned(), servers);
    let mut service = read_service(&around)?;
    service.reals.pop().ok_or_else(|| ConfigErrors::of_piece("real server: nothing is written".to_owned()))
}

/// The timeouts of this `[director.timeouts]`.
///
/// # Errors
/// As [`read_service`].
pub fn read_timeouts(written: &Written) -> Result<Timeouts, ConfigErrors> {
    read(table("timeouts", Value::Object(written.0.clone())), timeouts::timeouts)
}

fn table(key: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), value)])
}

fn read<T>(root: Map<String, Value>, by: impl FnOnce(&mut Section<'_>) -> T) -> Result<T, ConfigErrors> {
    let failed =
        |error: &dyn std::fmt::Display| ConfigErrors::of_piece(format!("cannot be written as TOML: {error}"));
    let mut root = Value::Object(root);
    without_nulls(&mut root);
    let text = ::toml::to_string(&root).map_err(|error| failed(&error))?;
    let tree = DeTable::parse(&text).map_err(|error| failed(&error))?;
    let findings = Findings::new(&text);
    let mut section = Section::root(&findings, tree.get_ref());
    let piece = by(&mut section);
    section.finish();
    match findings.into_errors("", &text) {
        Some(errors) => Err(errors.without_places()),
        None => Ok(piece),
    }
}

/// TOML has no null: what is null is not there.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(values) => {
            values.retain(|inner| !inner.is_null());
            values.iter_mut().for_each(without_nulls);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::State;
    use serde_json::json;

    fn written(value: Value) -> Written {
        serde_json::from_value(value).unwrap()
    }

    fn web() -> Service {
        read_service(&written(json!({ "name": "web", "address": "192.0.2.100:80" }))).unwrap()
    }

    #[test]
    fn a_piece_is_read_as_a_file_would_be_and_refused_in_its_words() {
        let service = read_service(&written(json!({
            "address": "192.0.2.100:80", "scheduler": "rr", "no_server": null,
            "real_server": [{ "address": "10.0.0.11", "forward": "masq", "weight": 3 }]
        })));
        let text = "interface = [{ name = \"a\" }]\n[[virtual_service]]\naddress = \"192.0.2.100:80\"\n\
             scheduler = \"rr\"\nreal_server = [{ address = \"10.0.0.11\", forward = \"nat\", weight = 3 }]";
        assert_eq!(service.unwrap(), crate::config::parse("f", text).unwrap().services[0]);

        let wrong =
            written(json!({ "name": "web", "address": "192.0.2.100:80", "scheduler": "wcl", "weigth": 1 }));
        let errors = read_service(&wrong).unwrap_err().to_string();
        assert!(
            errors.contains("virtual service \"web\": scheduler \"wcl\" is unknown; did you mean \"wlc\"?"),
            "{errors}"
        );
        assert!(errors.contains("key \"weigth\" is unknown"), "{errors}");
    }

    #[test]
    fn a_server_is_read_beside_its_service() {
        let server = |value| read_server(&written(value), &web());
        assert_eq!(server(json!({ "address": "10.0.0.11" })).unwrap().endpoint.port, 80);
        let error = server(json!({ "address": "10.0.0.11:8080" })).unwrap_err().to_string();
        assert!(
            error.starts_with("virtual service \"web\": real server 10.0.0.11:8080: address has port 8080"),
            "{error}"
        );
        assert!(server(json!({ "address": { "a": [null, { "b": 1 }] } })).is_err());
        assert!(server(json!({})).is_err());
    }

    #[test]
    fn timeouts_are_read_alone() {
        let timeouts = read_timeouts(&written(json!({ "tcp": "15m", "udp": 7 }))).unwrap();
        let seconds = |state| timeouts.get(state).map(|silence| silence.as_secs());
        assert_eq!([State::Established, State::Udp, State::Close].map(seconds), [Some(900), Some(7), None]);
        let error = read_timeouts(&written(json!({ "tcp": 0 }))).unwrap_err().to_string();
        assert!(error.starts_with("timeouts: tcp 0 is out of range"), "{error}");
    }
}
