//! Every short history on eight frames.
