//! The OpenAPI document against what is answered.

use crate::office::Office;
use lvx::control::client::{Client, ClientError, Load};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One request: how, where, with what, and the status that is to come.
type Ask = (&'static str, &'static str, &'static str, Load, u16);

fn asks(office: &Office) -> Vec<Ask> {
    let toml = || {
        let text = std::fs::read_to_string(&office.file).unwrap();
        Load::Toml((text + "[[virtual_service]]\naddress = \"192.0.2.9:80\"").into_bytes())
    };
    let edit = json!({ "edits": [{ "edit": "set_weight", "service": "web", "server": "10.0.0.1:8080", "weight": 7 }] });
    let drain = json!({ "edits": [{ "edit": "drain", "server": "10.0.0.1", "deadline_seconds": 60 }] });
    let maintain = json!({ "edits": [{ "edit": "maintain", "server": "10.0.0.2", "reason": "new disks" }] });
    let wrong = json!({ "edits": [{ "edit": "delete_service", "service": "nobody" }] });
    let json = |value: &Value| Load::Json(value.to_string().into_bytes());
    vec![
        ("get", "/v1/status", "", Load::None, 200),
        ("get", "/v1/overview", "", Load::None, 200),
        ("get", "/v1/overview", "?filter=WEB&open=tcp%20192.0.2.1:80,nobody", Load::None, 200),
        ("get", "/v1/overview", "?shut=all", Load::None, 400),
        ("get", "/v1/report", "", Load::None, 200),
        ("get", "/v1/services", "?traffic=true&rate=true&latency=true", Load::None, 200),
        ("get", "/v1/services", "", Load::None, 200),
        ("get", "/v1/services", "?service=web", Load::None, 200),
        ("get", "/v1/services", "?service=nobody", Load::None, 404),
        ("get", "/v1/services", "?colour=red", Load::None, 400),
        ("get", "/v1/listing", "?traffic=true", Load::None, 200),
        ("get", "/v1/listing", "?service=web&rate=true", Load::None, 200),
        ("get", "/v1/listing", "?service=nobody", Load::None, 404),
        ("get", "/v1/timeouts", "", Load::None, 200),
        ("put", "/v1/timeouts", "", json(&json!({ "udp": "1h" })), 200),
        ("put", "/v1/timeouts", "", json(&json!({ "udp": 0 })), 422),
        ("get", "/v1/connections", "?limit=2", Load::None, 200),
        ("get", "/v1/connections", "?state=open", Load::None, 400),
        ("delete", "/v1/connections", "?client=203.0.113.144:1024", Load::None, 200),
        ("delete", "/v1/connections", "", Load::None, 400),
        ("post", "/v1/edits", "", json(&edit), 200),
        ("post", "/v1/edits", "", json(&drain), 200),
        ("post", "/v1/edits", "", json(&maintain), 200),
        ("get", "/v1/drains", "", Load::None, 200),
        ("get", "/v1/drains", "?server=10.0.0.1&service=web", Load::None, 200),
        ("get", "/v1/drains", "?server=nowhere", Load::None, 400),
        ("get", "/v1/services", "?service=web", Load::None, 200),
        ("get", "/v1/report", "", Load::None, 200),
        ("post", "/v1/edits", "", json(&wrong), 422),
        ("post", "/v1/edits", "", Load::Json(b"{ \"edits\": ".to_vec()), 400),
        ("post", "/v1/confirm", "", Load::None, 409),
        ("post", "/v1/zero", "", Load::None, 204),
        ("post", "/v1/plan", "?name=new.toml", toml(), 200),
        ("post", "/v1/plan", "?name=new.toml", Load::Toml(b"interface = 3".to_vec()), 422),
        ("post", "/v1/apply", "?confirm_seconds=60", toml(), 200),
        ("post", "/v1/apply", "?confirm_seconds=0", toml(), 400),
        ("post", "/v1/reload", "", Load::None, 409),
        ("post", "/v1/confirm", "", Load::None, 204),
        ("get", "/v1/versions", "", Load::None, 200),
        ("post", "/v1/rollback", "", Load::None, 200),
        ("post", "/v1/rollback", "?steps=9", Load::None, 404),
        ("post", "/v1/reload", "", Load::None, 200),
        ("get", "/v1/configuration", "", Load::None, 200),
        ("get", "/metrics", "", Load::None, 200),
    ]
}

fn send(client: &Client, method: &str, path: &str, load: Load) -> (u16, Value) {
    let method = method.to_uppercase().parse().unwrap();
    let body = match client.send(method, path, load) {
        Ok(bytes) if bytes.is_empty() => return (204, Value::Null),
        Ok(bytes) => (200, bytes),
        Err(ClientError::Refused(status, problem)) => {
            return (status, serde_json::to_value(problem).unwrap());
        }
        Err(error) => panic!("{path}: {error}"),
    };
    let text = String::from_utf8(body.1.to_vec()).unwrap();
    (body.0, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The schema of an answer; the document around it is what its references lead into.
fn schema_of(document: &Value, method: &str, path: &str, status: u16) -> Option<Value> {
    let responses = &document["paths"][path][method]["responses"];
    let response = responses.get(status.to_string()).or_else(|| responses.get("default")).unwrap();
    let (_, content) = response.get("content")?.as_object()?.iter().next()?;
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    Some(schema)
}

#[test]
fn every_path_of_the_document_answers_as_the_document_says() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.1:8080", 5);
    let document: Value = office.client.get("/openapi.json").unwrap();
    assert_eq!(document, serde_json::to_value(lvx::control::api::openapi()).unwrap());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);

    let mut asked = BTreeSet::new();
    for (method, path, query, load, wanted) in asks(&office) {
        let (status, answer) = send(&office.client, method, &format!("{path}{query}"), load);
        assert_eq!(status, wanted, "{method} {path}{query}: {answer}");
        asked.insert((path.to_owned(), method.to_owned()));
        let Some(schema) = schema_of(&document, method, path, status) else {
            assert_eq!(answer, Value::Null, "{method} {path} answers what the document does not know");
            continue;
        };
        let validator = jsonschema::validator_for(&schema).unwrap();
        let wrong: Vec<String> = validator.iter_errors(&answer).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{method} {path}: {wrong:?}\n{answer}");
    }
    let paths = document["paths"].as_object().unwrap();
    let in_document: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(asked, in_document, "each of the document, and nothing else");
}

#[test]
fn the_schemas_refuse_what_is_not_like_them() {
    let document = serde_json::to_value(lvx::control::api::openapi()).unwrap();
    for (path, wrong) in [
        ("/v1/status", json!({ "version": "0.1.0" })),
        ("/v1/timeouts", json!({ "tcp": "900", "tcp_fin": 1, "udp": 1 })),
        ("/v1/services", json!([{ "service": "web", "table": {}, "servers": [{ "table": {} }] }])),
    ] {
        let schema = schema_of(&document, "get", path, 200).unwrap();
        assert!(!jsonschema::validator_for(&schema).unwrap().is_valid(&wrong), "{path}");
    }
}

#[test]
fn what_is_not_in_the_document_is_a_problem_that_points_to_it() {
    let office = Office::new();
    for (method, path, status) in
        [("get", "/v2/status", 404), ("post", "/v1/status", 405), ("get", "/v1/edits", 405)]
    {
        let (found, problem) = send(&office.client, method, path, Load::None);
        assert_eq!(found, status);
        assert!(problem["error"].as_str().unwrap().ends_with("see /openapi.json"), "{problem}");
    }
}
