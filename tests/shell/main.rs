//! The program as people meet it: whole command lines, their exit codes, what they print and what they leave behind.

mod sandbox;
mod cli;
mod commands;
mod cache;
mod features;
mod generate;
mod resume;
mod bad_input;
mod odd_data;
mod memory;
mod model_file;
mod validate;
mod no_gpu;
mod reproduce;
