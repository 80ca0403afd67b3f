//! `lvx ipvsadm`: ipvsadm(8) as operators and their scripts know it, spoken to this director.

#![allow(dead_code, reason = "until it speaks to the director")]

mod grammar;
mod listing;
mod names;
mod numbers;
mod options;
mod request;
mod restore;
mod table;
#[cfg(test)]
mod tests;
mod words;
