//! The CUDA backend: every operation as a hand-written kernel of `kernels/`.

pub mod driver;
pub mod kernels;
mod context;
mod card;

pub use card::Card;
pub use context::{Description, describe_all};
pub use driver::{Address, Driver, Launch};
