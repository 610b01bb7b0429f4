//! The CUDA backend: every operation as a hand-written kernel of `kernels/`.

pub mod driver;
pub mod kernels;
pub mod card;

pub use card::Card;
pub use driver::{Address, Driver, Launch};
