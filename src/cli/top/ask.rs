//! Asks the director, on a thread of its own: keys are heard while it does not answer.

use super::model::Wanted;
use super::moment::Answer;
use crate::control::api::Transaction;
use crate::control::client::{Client, ClientError};
use crate::control::desired::Edit;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    /// How it is, in its time or in between.
    Look(Wanted, bool),
    /// To make an edit.
    Edit(Edit),
}

/// What is told.
#[derive(Debug)]
pub enum Told {
    /// How it is.
    Answer(Box<Answer>, Wanted, bool),
    /// What became of an edit, in words.
    Done(String),
    /// No answer came.
    Trouble(String),
}

/// One look at the director; times are counted from when `lvx top` began.
pub fn look(client: &Client, begun: Instant, wanted: &Wanted) -> Result<Answer, ClientError> {
    let overview = client.overview_with(&wanted.filter, &wanted.open.join(","))?;
    Ok(Answer { at: begun.elapsed(), overview })
}

/// Does what is asked, until nobody asks or listens any more.
pub fn serve(client: &Client, begun: Instant, asks: &Receiver<Ask>, tell: impl Fn(Told) -> bool) {
    while let Ok(ask) = asks.recv() {
        let told = match ask {
            Ask::Look(wanted, is_in_its_time) => match look(client, begun, &wanted) {
                Ok(answer) => Told::Answer(Box::new(answer), wanted, is_in_its_time),
                Err(error) => Told::Trouble(error.to_string()),
            },
            Ask::Edit(edit) => {
                let edits = Transaction { edits: vec![edit], ..Transaction::default() };
                let done = client.edit(&edits).map(|changed| changed.words);
                Told::Done(done.unwrap_or_else(|error| error.to_string()))
            }
        };
        if !tell(told) {
            return;
        }
    }
}
