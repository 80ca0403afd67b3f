//! FTP towards a server.

/// An FTP server's banner, and a login if one is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ftp {
    /// Who logs in; `None` leaves it at the banner.
    pub login: Option<Login>,
}

/// A user of a server. Neither word has a line's end in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}
