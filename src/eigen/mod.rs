//! Symmetric eigenproblems: all of a full matrix, by the library `faer`, and the leading part of a large one.

mod dense;
mod full;
mod lanczos;

pub use dense::{Leading, bytes_of_leading, leading_of_full};
pub use full::{bytes_of_eigen, eigen, generalised_eigenvalues};
pub use lanczos::{BLOCK, Eigenpairs, Symmetric, columns_held, leading};
