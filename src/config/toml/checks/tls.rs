//! `tls`: `true`, or a table that says more. A check of type `tls` has the table's keys itself.

use crate::config::toml::section::{Item, Section};
use crate::config::toml::value::{boolean, duration, host_name, name, path, wrong_type};
use crate::service::check::Tls;
use ::toml::Spanned;

/// What `tls` says; `None` if there is to be none, which cannot be for a protocol that `has_tls`.
pub(super) fn within(section: &mut Section<'_>, has_tls: bool) -> Option<Tls> {
    match section.item("tls") {
        None => has_tls.then(Tls::default),
        Some(Item::Long(mut table)) => {
            let tls = tls(&mut table);
            table.finish();
            Some(tls)
        }
        Some(Item::Short(value)) => {
            let error = match value.get_ref().as_bool() {
                Some(is_on) if is_on || !has_tls => return is_on.then(Tls::default),
                Some(_) => {
                    "false is not for a check that is made in TLS (allowed: true or a table)".to_owned()
                }
                None => wrong_type(value.get_ref(), "true, false or a table"),
            };
            section.error(value.span().start, &format!("tls {error}"));
            None
        }
    }
}

/// The keys of TLS.
pub(super) fn tls(section: &mut Section<'_>) -> Tls {
    let server_name = section.optional("server_name", host_name).map(Spanned::into_inner);
    let ca = section.optional("ca", path);
    let verify = section.optional("verify", boolean).map_or(ca.is_some(), Spanned::into_inner);
    if let Some(ca) = ca.as_ref().filter(|_| !verify) {
        section
            .error(ca.span().start, "ca is for certificates that are verified (allowed: with verify = true)");
    }
    Tls {
        server_name,
        verify,
        ca: ca.map(Spanned::into_inner),
        alpn: section.list("alpn", "protocols", name).into_iter().map(Spanned::into_inner).collect(),
        valid_for: section.optional("valid_for", duration).map(Spanned::into_inner),
    }
}
