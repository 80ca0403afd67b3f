//! What is wrong with a configuration, in words for the operator.

use std::fmt;

/// A place in a file, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// One error: where it is, what was found there, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as the operator named it; `None` when the error is not about a text
    /// (see [`super::Config::rib`]).
    pub file: Option<String>,
    /// Where in the file; `None` when the file as a whole is wrong, or could not be read.
    pub position: Option<Position>,
    /// One line, lower case, without a full stop.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(Position { line, column }) = self.position {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// All errors of one configuration, in the order of the file. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// These errors; `None` if there are none.
    pub(super) fn new(errors: Vec<ConfigError>) -> Option<ConfigErrors> {
        (!errors.is_empty()).then_some(ConfigErrors(errors))
    }

    /// The error of a file that could not be read as a text.
    pub(super) fn of_file(file: &str, message: String) -> ConfigErrors {
        ConfigErrors(vec![ConfigError { file: Some(file.to_owned()), position: None, message }])
    }

    /// The error of a piece that stands in no file.
    pub(super) fn of_piece(message: String) -> ConfigErrors {
        ConfigErrors(vec![ConfigError { file: None, position: None, message }])
    }

    /// The errors as those of a text that nobody has written.
    pub(super) fn without_places(mut self) -> ConfigErrors {
        for error in &mut self.0 {
            (error.file, error.position) = (None, None);
        }
        self
    }

    /// The errors, each now said to be of `file`, unless it names one already.
    pub fn in_file(mut self, file: &str) -> ConfigErrors {
        for error in &mut self.0 {
            error.file.get_or_insert_with(|| file.to_owned());
        }
        self
    }

    /// The errors, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    /// One line per error, without a line feed after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_a_file_is_given_one_and_keeps_the_one_it_has() {
        let error = |file: Option<&str>, position| ConfigError {
            file: file.map(str::to_owned),
            position,
            message: "wrong".to_owned(),
        };
        let place = Some(Position { line: 3, column: 7 });
        let errors = ConfigErrors::new(vec![error(None, None), error(Some("a.toml"), place)]).unwrap();
        assert_eq!(errors.to_string(), "wrong\na.toml:3:7: wrong");
        assert_eq!(errors.in_file("b.toml").to_string(), "b.toml: wrong\na.toml:3:7: wrong");
        assert_eq!(ConfigErrors::new(Vec::new()), None);
    }
}
