//! The sentences about machines.
