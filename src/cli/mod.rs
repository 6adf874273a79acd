//! The command line: one file per command.
pub mod caption_view;
pub mod command;
pub mod demo;
pub mod doctor;
pub mod fault;
pub mod health;
pub mod migrate;
pub mod screen;
pub mod serve;
pub mod signals;
pub mod simulate;
pub mod translate;
