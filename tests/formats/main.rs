//! Every file format, from hand-made bytes: what must be read, and what must be refused with a clear message.

mod make;
mod valid;
mod refused;
mod sparse;
mod properties;
mod written;
mod real;
