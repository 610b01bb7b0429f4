//! The CPU backends: [`mod@reference`], the specification in plain loops, and [`fast`], the one people use.

pub mod matrix;
pub mod reference;
pub mod fast;

pub use fast::Fast;
pub use matrix::Matrix;
pub use reference::Reference;
