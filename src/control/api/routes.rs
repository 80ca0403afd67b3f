//! What can be asked for, and what is answered. The document at `/openapi.json` is made of the same list.

use super::answer::{Changed, Ended, Fault, Overview, Problem, Status, Timeouts, Transaction};
use super::scrape;
use super::{Link, MAX_REQUEST_BYTES, PATIENCE};
use crate::config::{self, Config, MAX_FILE_BYTES, Written};
use crate::control::cause::Cause;
use crate::control::connections::{Filter, Page, Whom};
use crate::control::desired::{Edit, Key, ServiceRef};
use crate::control::desk::{Desk, How, whereabouts};
use crate::control::drains::{self, DrainRow};
use crate::control::history::Version;
use crate::control::report::Report;
use crate::control::view::{Columns, Listing, ServiceLines, ServiceRow, View, Wanted};
use crate::service::State as Phase;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Connections on a page, if nobody says how many, and at most.
const PAGE: (usize, usize) = (100, 10_000);

#[derive(OpenApi)]
#[openapi(info(
    title = "lvx",
    description = "The control socket of an lvx director. Tables have the keys of the configuration file. Services are \
        named as `tcp 192.0.2.1:80`, or by the operator's name. Requests have 1 MiB at most, whole configurations 64."
))]
struct Document;

fn paths() -> OpenApiRouter<Link> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status))
        .routes(routes!(overview))
        .routes(routes!(report))
        .routes(routes!(services))
        .routes(routes!(listing))
        .routes(routes!(timeouts, set_timeouts))
        .routes(routes!(configuration))
        .routes(routes!(versions))
        .routes(routes!(connections, end_connections))
        .routes(routes!(drains))
        .routes(routes!(edit))
        .routes(routes!(plan))
        .routes(routes!(apply))
        .routes(routes!(confirm))
        .routes(routes!(roll_back))
        .routes(routes!(reload))
        .routes(routes!(zero))
        .routes(routes!(scrape::metrics))
}

/// The document that describes the control socket.
pub fn openapi() -> utoipa::openapi::OpenApi {
    paths().split_for_parts().1
}

pub(super) fn router(link: Link) -> Router {
    let (router, document) = paths().split_for_parts();
    let document = Arc::new(document);
    let own = move || std::future::ready(Json(&*document).into_response());
    router
        .route("/openapi.json", get(own))
        .fallback(|method: Method, uri: Uri| async move {
            nothing_there(StatusCode::NOT_FOUND, &method, &uri, "/openapi.json")
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            nothing_there(StatusCode::METHOD_NOT_ALLOWED, &method, &uri, "/openapi.json")
        })
        .with_state(link)
}

/// What is said to who asks for what there is not.
pub(super) fn nothing_there(status: StatusCode, method: &Method, uri: &Uri, see: &str) -> Fault {
    Fault::of(status, format!("there is no {method} {}; see {see}", uri.path()))
}

/// A query string; what is wrong with it is a problem like others.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Asked<T>, Fault> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Asked(asked)).map_err(|error| Fault::bad(error.body_text()))
    }
}

/// A request's body, if it is no larger than `most` and arrives in time.
async fn body(request: Request, most: usize) -> Result<Bytes, Fault> {
    let collected = timeout(PATIENCE, Limited::new(request.into_body(), most).collect()).await;
    let collected = collected
        .map_err(|_| Fault::of(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time".into()))?;
    collected.map(|body| body.to_bytes()).map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => {
            Fault::of(StatusCode::PAYLOAD_TOO_LARGE, format!("the request has more than {most} bytes"))
        }
        None => Fault::bad(error),
    })
}

async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Fault> {
    let bytes = body(request, MAX_REQUEST_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|error| Fault::bad(format!("not what is wanted: {error}")))
}

/// Waits for one of few turns.
pub(super) async fn turn(turns: &Arc<Semaphore>) -> Result<tokio::sync::OwnedSemaphorePermit, Fault> {
    match timeout(PATIENCE, turns.clone().acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(Fault::busy("too many large answers wait to be read; ask again")),
    }
}

/// An answer that may be large: so many at once, until they have been read.
async fn large(
    link: &Link,
    content: &'static str,
    make: impl FnOnce(View) -> Vec<u8> + Send + 'static,
) -> Result<Response, Fault> {
    let turn = turn(&link.large).await?;
    let view = link.ask(|desk| desk.view()).await?;
    let made = tokio::task::spawn_blocking(move || make(view)).await;
    let made = made.map_err(|_| Fault::busy("the answer could not be made"))?;
    let body = Full::new(Bytes::from(made)).map_frame(move |frame| {
        let _held = &turn;
        frame
    });
    Ok(([(header::CONTENT_TYPE, content)], Body::new(body)).into_response())
}

fn to_json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

const JSON: &str = "application/json";

/// How the director is.
#[utoipa::path(get, path = "/v1/status", responses(
    (status = 200, body = Status),
    (status = "default", body = Problem),
))]
async fn status(State(link): State<Link>) -> Result<Json<Status>, Fault> {
    let view = link.ask(|desk| desk.view()).await?;
    Ok(Json(status_of(&view, &view.totals(&link.shared.table))))
}

fn status_of(view: &View, totals: &Report) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: view.uptime().as_secs(),
        file: view.file.display().to_string(),
        workers: totals.workers.len(),
        loads: totals.workers.iter().map(|worker| worker.load).collect(),
        services: view.services().len(),
        servers: view.desired.servers(),
        connections: totals.connections.current,
        max_connections: totals.connections.limit,
        forwarded: totals.forwarded,
        to_host: totals.to_host,
        dropped: totals.dropped,
        confirm_within_seconds: view.confirm_within.map(|left| left.as_secs()),
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Glance {
    /// Only services with this in their key or name, upper and lower case alike, and of others those servers that have it
    /// in their address.
    filter: String,
    /// The servers of these services, too: their keys, with commas between them, or `all`. What is not there is left out.
    open: String,
}

/// All of it at one moment, for who looks again and again: a line for each service, and the servers of some.
#[utoipa::path(get, path = "/v1/overview", params(Glance), responses(
    (status = 200, body = Overview),
    (status = "default", body = Problem),
))]
async fn overview(State(link): State<Link>, Asked(glance): Asked<Glance>) -> Result<Response, Fault> {
    let table = link.shared.table.clone();
    let wanted = Wanted::new(&glance.filter, &glance.open);
    let make = move |view: View| {
        let totals = view.totals(&table);
        to_json(&Overview { status: status_of(&view, &totals), services: view.sums(&wanted), totals })
    };
    large(&link, JSON, make).await
}

/// Everything counted: what `lvx run --report` writes.
#[utoipa::path(get, path = "/v1/report", responses(
    (status = 200, body = Report),
    (status = "default", body = Problem),
))]
async fn report(State(link): State<Link>) -> Result<Response, Fault> {
    let table = link.shared.table.clone();
    large(&link, JSON, move |view| to_json(&view.report(&table))).await
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Columned {
    /// Only this service, by its key or name.
    #[param(value_type = Option<String>)]
    service: Option<ServiceRef>,
    /// With packets and bytes.
    traffic: bool,
    /// With packets and bytes by the second, as IPVS estimates them.
    rate: bool,
    /// With how long servers took to answer.
    latency: bool,
}

/// The virtual services and their servers, with what `ipvsadm -L` shows of them.
#[utoipa::path(get, path = "/v1/services", params(Columned), responses(
    (status = 200, body = Vec<ServiceRow>),
    (status = "default", body = Problem),
))]
async fn services(State(link): State<Link>, Asked(asked): Asked<Columned>) -> Result<Response, Fault> {
    let (only, columns) = asked.meant(&link).await?;
    large(&link, JSON, move |view| to_json(&view.rows(only, columns))).await
}

/// The same in short, an array for each server: for who lists a hundred thousand of them.
#[utoipa::path(get, path = "/v1/listing", params(Columned), responses(
    (status = 200, body = Listing<ServiceLines>),
    (status = "default", body = Problem),
))]
async fn listing(State(link): State<Link>, Asked(asked): Asked<Columned>) -> Result<Response, Fault> {
    let (only, columns) = asked.meant(&link).await?;
    let max_connections = u64::from(link.shared.table.capacity());
    let make = move |view: View| to_json(&Listing { max_connections, services: view.lines(only, columns) });
    large(&link, JSON, make).await
}

impl Columned {
    async fn meant(self, link: &Link) -> Result<(Option<Key>, Columns), Fault> {
        let only = only(link, self.service).await?;
        Ok((only, Columns { traffic: self.traffic, rate: self.rate, latency: self.latency }))
    }
}

/// The key of the service that is named, if one is.
async fn only(link: &Link, service: Option<ServiceRef>) -> Result<Option<Key>, Fault> {
    let Some(service) = service else { return Ok(None) };
    link.ask(move |desk| key_of(desk, &service)).await?.map(Some)
}

fn key_of(desk: &Desk, service: &ServiceRef) -> Result<Key, Fault> {
    let found = desk.desired().meant_by(service).map(|service| Key::of(service));
    found.ok_or_else(|| {
        Fault::of(StatusCode::NOT_FOUND, format!("virtual service {:?} is unknown", service.0))
    })
}

/// How long silence may last, as `ipvsadm -L --timeout` shows.
#[utoipa::path(get, path = "/v1/timeouts", responses(
    (status = 200, body = Timeouts),
    (status = "default", body = Problem),
))]
async fn timeouts(State(link): State<Link>) -> Result<Json<Timeouts>, Fault> {
    let timeouts = link.ask(|desk| desk.desired().timeouts()).await?;
    let seconds = |state| timeouts.get(state).map_or(0, |silence| silence.as_secs());
    let [tcp, tcp_fin, udp] = [Phase::Established, Phase::FinWait, Phase::Udp].map(seconds);
    Ok(Json(Timeouts { tcp, tcp_fin, udp }))
}

/// Sets timeouts (`ipvsadm --set`); those not named stay.
#[utoipa::path(put, path = "/v1/timeouts", request_body = Written, responses(
    (status = 200, body = Changed),
    (status = "default", body = Problem),
))]
async fn set_timeouts(
    State(link): State<Link>,
    Extension(by): Extension<Cause>,
    request: Request,
) -> Result<Json<Changed>, Fault> {
    let table: Written = json(request).await?;
    change(&link, vec![Edit::SetTimeouts { table }], by.into()).await
}

/// The configuration as it is now, as a file, in which `***` stands for each secret.
#[utoipa::path(get, path = "/v1/configuration", responses(
    (status = 200, body = String, content_type = "application/toml"),
    (status = "default", body = Problem),
))]
async fn configuration(State(link): State<Link>) -> Result<Response, Fault> {
    let to_toml =
        |view: View| view.desired.config().without_secrets().to_toml().unwrap_or_default().into_bytes();
    large(&link, "application/toml", to_toml).await
}

/// The configurations that can be gone back to, the last one first.
#[utoipa::path(get, path = "/v1/versions", responses(
    (status = 200, body = Vec<Version>),
    (status = "default", body = Problem),
))]
async fn versions(State(link): State<Link>) -> Result<Json<Vec<Version>>, Fault> {
    link.ask(|desk| desk.versions()).await.map(Json)
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// CIP, CIP:cport, or a network such as 203.0.113.0/24.
    client: Option<String>,
    /// RIP, RIP:rport, or a network.
    server: Option<String>,
    /// VIP, VIP:vport, or a network.
    service: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    protocol: Option<String>,
    /// As `ipvsadm -Lc` prints it.
    state: Option<String>,
    /// The page that begins here: `next` of the page before.
    from: u32,
    /// So many at most: 100 without, and no more than 10,000.
    limit: Option<usize>,
}

impl Which {
    fn filter(&self) -> Result<Filter, Fault> {
        let [client, server, service, protocol, state] =
            [&self.client, &self.server, &self.service, &self.protocol, &self.state]
                .map(|word| word.as_deref());
        Filter::new(client, server, service, protocol, state).map_err(Fault::bad)
    }
}

/// Connections, page by page, in no order. A page may be empty and have a next one.
#[utoipa::path(get, path = "/v1/connections", params(Which), responses(
    (status = 200, body = Page),
    (status = "default", body = Problem),
))]
async fn connections(State(link): State<Link>, Asked(which): Asked<Which>) -> Result<Response, Fault> {
    let filter = which.filter()?;
    let limit = which.limit.unwrap_or(PAGE.0).min(PAGE.1);
    let connections = link.connections.clone();
    large(&link, JSON, move |view| {
        let connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        to_json(&connections.page(&filter, &whereabouts(&view), which.from, limit, view.now()))
    })
    .await
}

/// Ends connections: those that fit, and at least one word must say which.
#[utoipa::path(delete, path = "/v1/connections", params(Which), responses(
    (status = 200, body = Ended),
    (status = "default", body = Problem),
))]
async fn end_connections(
    State(link): State<Link>,
    Extension(by): Extension<Cause>,
    Asked(which): Asked<Which>,
) -> Result<Response, Fault> {
    let filter = which.filter()?;
    if filter == Filter::default() {
        return Err(Fault::bad("say which connections (allowed: client, server, service, protocol, state)"));
    }
    let connections = link.connections.clone();
    large(&link, JSON, move |view| {
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = connections.end_all(&filter, &whereabouts(&view));
        tracing::info!(%by, ended, "connections ended");
        to_json(&Ended { ended })
    })
    .await
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Drained {
    /// Only of this service, by its key or name.
    #[param(value_type = Option<String>)]
    service: Option<ServiceRef>,
    /// Only servers of this address: RIP, RIP:rport, or a network.
    server: Option<String>,
}

/// The servers that are drained, and what connections they have yet.
#[utoipa::path(get, path = "/v1/drains", params(Drained), responses(
    (status = 200, body = Vec<DrainRow>),
    (status = "default", body = Problem),
))]
async fn drains(State(link): State<Link>, Asked(asked): Asked<Drained>) -> Result<Response, Fault> {
    let only = only(&link, asked.service).await?;
    let whom = asked.server.map(|server| server.parse::<Whom>().map_err(|error| format!("server: {error}")));
    let whom = whom.transpose().map_err(Fault::bad)?;
    let is_meant =
        move |key, server| only.is_none_or(|only| only == key) && whom.is_none_or(|whom| whom.is(server));
    large(&link, JSON, move |view| to_json(&drains::rows(&view, is_meant))).await
}

/// Applies edits, together or not at all.
#[utoipa::path(post, path = "/v1/edits", request_body = Transaction, responses(
    (status = 200, body = Changed),
    (status = "default", body = Problem),
))]
async fn edit(
    State(link): State<Link>,
    Extension(cause): Extension<Cause>,
    request: Request,
) -> Result<Json<Changed>, Fault> {
    let Transaction { edits, only_plan, confirm_seconds } = json(request).await?;
    change(&link, edits, How { only_plan, confirm_within: within(confirm_seconds)?, cause }).await
}

async fn change(link: &Link, edits: Vec<Edit>, how: How) -> Result<Json<Changed>, Fault> {
    let plan = link.ask(move |desk| desk.change(&edits, how)).await??;
    Ok(Json(plan.into()))
}

fn within(seconds: Option<u64>) -> Result<Option<Duration>, Fault> {
    match seconds {
        Some(seconds) if !(1..=86_400).contains(&seconds) => {
            Err(Fault::bad(format!("{seconds} seconds to confirm are out of range (allowed: 1 to 86400)")))
        }
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Applying {
    /// What errors call the file.
    name: Option<String>,
    /// Undo it after so many seconds, unless it is confirmed.
    #[param(minimum = 1, maximum = 86400)]
    confirm_seconds: Option<u64>,
}

/// The configuration that a request holds, one at a time.
async fn whole(link: &Link, applying: &Applying, request: Request) -> Result<Config, Fault> {
    let _turn = turn(&link.whole).await?;
    let bytes = body(request, MAX_FILE_BYTES as usize).await?;
    let name = applying.name.clone().unwrap_or_else(|| "configuration".to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let text = std::str::from_utf8(&bytes).map_err(|error| Fault::bad(format!("{name}: {error}")))?;
        config::parse(&name, text).map_err(Fault::from)
    });
    read.await.map_err(|_| Fault::busy("the configuration could not be read"))?
}

/// What a configuration (TOML) would change.
#[utoipa::path(post, path = "/v1/plan", params(Applying),
    request_body(content = String, content_type = "application/toml"), responses(
    (status = 200, body = Changed),
    (status = "default", body = Problem),
))]
async fn plan(
    State(link): State<Link>,
    Asked(applying): Asked<Applying>,
    request: Request,
) -> Result<Json<Changed>, Fault> {
    let config = whole(&link, &applying, request).await?;
    let plan = link.ask(|desk| desk.replace(config, How { only_plan: true, ..How::default() })).await??;
    Ok(Json(plan.into()))
}

/// Puts a configuration (TOML) in the place of the present one.
#[utoipa::path(post, path = "/v1/apply", params(Applying),
    request_body(content = String, content_type = "application/toml"), responses(
    (status = 200, body = Changed),
    (status = "default", body = Problem),
))]
async fn apply(
    State(link): State<Link>,
    Extension(cause): Extension<Cause>,
    Asked(applying): Asked<Applying>,
    request: Request,
) -> Result<Json<Changed>, Fault> {
    let confirm_within = within(applying.confirm_seconds)?;
    let config = whole(&link, &applying, request).await?;
    let plan =
        link.ask(move |desk| desk.replace(config, How { only_plan: false, confirm_within, cause })).await??;
    Ok(Json(plan.into()))
}

/// Lets a change that waits for its confirmation stay.
#[utoipa::path(post, path = "/v1/confirm", responses((status = 204), (status = "default", body = Problem)))]
async fn confirm(State(link): State<Link>, Extension(by): Extension<Cause>) -> Result<StatusCode, Fault> {
    link.ask(move |desk| desk.confirm(by)).await??;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Steps {
    /// 1 without: the configuration that the present one replaced.
    steps: Option<usize>,
}

/// Goes back to a configuration that was replaced; a change that waits for its confirmation is undone first.
#[utoipa::path(post, path = "/v1/rollback", params(Steps), responses(
    (status = 200, body = Changed),
    (status = "default", body = Problem),
))]
async fn roll_back(
    State(link): State<Link>,
    Extension(by): Extension<Cause>,
    Asked(Steps { steps }): Asked<Steps>,
) -> Result<Json<Changed>, Fault> {
    let plan = link.ask(move |desk| desk.roll_back(steps.unwrap_or(1), by)).await??;
    Ok(Json(plan.into()))
}

/// Reads the configuration file again; a bad one changes nothing.
#[utoipa::path(post, path = "/v1/reload", responses(
    (status = 200, body = Changed),
    (status = "default", body = Problem),
))]
async fn reload(State(link): State<Link>, Extension(by): Extension<Cause>) -> Result<Json<Changed>, Fault> {
    let plan = link.ask(move |desk| desk.reload(by)).await??;
    Ok(Json(plan.into()))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct One {
    /// Only this service, by its key or name.
    #[param(value_type = Option<String>)]
    service: Option<ServiceRef>,
}

/// Counts traffic from 0 again (`ipvsadm -Z`).
#[utoipa::path(post, path = "/v1/zero", params(One), responses((status = 204), (status = "default", body = Problem)))]
async fn zero(
    State(link): State<Link>,
    Extension(by): Extension<Cause>,
    Asked(One { service }): Asked<One>,
) -> Result<StatusCode, Fault> {
    let Json(_) = change(&link, vec![Edit::Zero { service }], by.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}
