//! TOML to [`Config`](super::Config).
