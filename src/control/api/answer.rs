//! What requests and answers look like.

use crate::config::{ConfigErrors, Written};
use crate::control::desired::{Edit, EditErrors, Plan};
use crate::control::desk::Refusal;
use crate::control::report::Report;
use crate::control::view::ServiceSum;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the director is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of lvx.
    pub version: String,
    /// The director's process.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// The configuration file.
    pub file: String,
    /// Workers, one per core and queue.
    pub workers: usize,
    /// The share of its time that packets took each worker lately, 0 to 1.
    #[serde(default)]
    pub loads: Vec<f64>,
    /// Virtual services.
    pub services: usize,
    /// Their real servers.
    pub servers: usize,
    /// Connections now.
    pub connections: u64,
    /// Connections at most.
    pub max_connections: u64,
    /// Packets sent on.
    pub forwarded: u64,
    /// Packets handed to the kernel.
    pub to_host: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// How long the last change yet waits for its confirmation, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_seconds: Option<u64>,
}

/// All of it at one moment, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview<T = Written> {
    /// How the director is.
    pub status: Status,
    /// What the report has of all services together: its `services` are empty.
    pub totals: Report,
    /// The services that are asked for, in the operator's order.
    pub services: Vec<ServiceSum<T>>,
}

/// How long silence may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeouts {
    /// TCP in ESTABLISHED, in seconds.
    pub tcp: u64,
    /// TCP in FIN_WAIT, in seconds.
    pub tcp_fin: u64,
    /// UDP, in seconds.
    pub udp: u64,
}

/// Edits that are applied together or not at all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// In their order: objects whose `edit` is add_service, edit_service, delete_service, add_server, edit_server,
    /// delete_server, set_weight, drain, undrain, set_timeouts, clear or zero, with `service`, `server`, `weight`,
    /// `deadline_seconds`, `at_deadline` (reset, drop or keep) and `table` (keys of the configuration file) as it needs
    /// them.
    #[schema(value_type = Vec<Object>)]
    pub edits: Vec<Edit>,
    /// Only tell what they would do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_plan: bool,
    /// Undo them after so many seconds, unless they are confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub confirm_seconds: Option<u64>,
}

/// What changed, or would.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// Service by service.
    pub plan: Plan,
    /// The same in words.
    pub words: String,
}

impl From<Plan> for Changed {
    fn from(plan: Plan) -> Changed {
        Changed { words: plan.to_string(), plan }
    }
}

/// How many connections were ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    /// Connections.
    pub ended: u64,
}

/// Why something was not done. Everything is as it was, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// All of it, a line for each error.
    pub error: String,
    /// Each error with its place.
    #[serde(default)]
    pub found: Vec<Found>,
}

/// An error and its place: an edit of a transaction, or a place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// What is wrong.
    pub message: String,
    /// Which edit, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<usize>,
    /// In which file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// On which line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// At which character of the line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// A problem and its status.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    status: StatusCode,
    problem: Problem,
}

impl Fault {
    /// A line, with this status.
    pub(super) fn of(status: StatusCode, error: String) -> Fault {
        Fault { status, problem: Problem { error, found: Vec::new() } }
    }

    /// Not now.
    pub(super) fn busy(error: &str) -> Fault {
        Fault::of(StatusCode::SERVICE_UNAVAILABLE, error.to_owned())
    }

    /// What was asked makes no sense.
    pub(super) fn bad(error: impl std::fmt::Display) -> Fault {
        Fault::of(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

impl From<EditErrors> for Fault {
    fn from(errors: EditErrors) -> Fault {
        let error = errors.to_string();
        let found = errors.0.into_iter();
        let found =
            found.map(|error| Found { message: error.message, edit: Some(error.edit), ..Found::default() });
        Fault { status: StatusCode::UNPROCESSABLE_ENTITY, problem: Problem { error, found: found.collect() } }
    }
}

impl From<ConfigErrors> for Fault {
    fn from(errors: ConfigErrors) -> Fault {
        let found = errors.iter().map(|error| Found {
            message: error.message.clone(),
            edit: None,
            file: error.file.clone(),
            line: error.position.map(|place| place.line),
            column: error.position.map(|place| place.column),
        });
        let problem = Problem { found: found.collect(), error: errors.to_string() };
        Fault { status: StatusCode::UNPROCESSABLE_ENTITY, problem }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::Edits(errors) => errors.into(),
            Refusal::Config(errors) => errors.into(),
            Refusal::Servers(_) | Refusal::Unfit(_) => {
                Fault::of(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string())
            }
            Refusal::Waiting(_) | Refusal::NothingToConfirm => {
                Fault::of(StatusCode::CONFLICT, refusal.to_string())
            }
            Refusal::NotKept(..) => Fault::of(StatusCode::NOT_FOUND, refusal.to_string()),
        }
    }
}
